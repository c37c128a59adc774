/* The contract tier: what a program tells of itself by its probes (include/memtrace/probes.h). One program for all probes: the cookie
 * says which one was hit, and what to read. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/contract_record.h"
#include "bpf/program_probes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* By slot: the mask of the sample that a process's objects are heard of by (mt_in_sample). Apart from contract_processes, as user space writes it
 * while an exec may write there. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} contract_samples SEC(".maps");

static __always_inline int mt_left_out(__u64 object, mt_process_key key) {
    __u32 slot = MT_PROCESS_SLOT(key);
    __u32* mask = bpf_map_lookup_elem(&contract_samples, &slot);
    return mask && !mt_in_sample(object, *mask);
}

SEC("usdt")
int contract_probe(struct pt_regs* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_contract_process* process = mt_contract_process(task);
    struct mt_contract_thread* thread;
    struct mt_contract_record_buffer* record;
    __u64 cookie;
    __u32 arguments, strings, text;

    if (!process) {
        return 0;
    }
    MT_CONTRACT_COUNT(process->key, contract_hits);
    thread = bpf_task_storage_get(&contract_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_CONTRACT_COUNT(process->key, contract_state_lost);
        return 0;
    }
    record = &thread->record;
    cookie = bpf_usdt_cookie(ctx);
    arguments = cookie >> 8 & 0xff;
    strings = cookie >> 16 & 0xff;
    record->head = (struct mt_contract_record){.kind = cookie & 0xff,
                                               .key = process->key,
                                               .tid = (__u32)bpf_get_current_pid_tgid(),
                                               .object = cookie >> 32,
                                               .time_ns = bpf_ktime_get_ns()};
    for (__u32 i = 0; i < MT_CONTRACT_MAX_ARGUMENTS && i < arguments; i++) {
        long value = 0;
        if (bpf_usdt_arg(ctx, i, &value)) {
            MT_CONTRACT_COUNT(process->key, contract_unreadable);
        }
        record->body[i] = value;
        if (i == 0 && cookie >> 24 & 1 && mt_left_out(value, process->key)) {
            MT_CONTRACT_COUNT(process->key, contract_sampled_out);
            return 0;
        }
    }
    text = 8 * (arguments & 7);
    for (__u32 i = 0; i < MT_CONTRACT_MAX_ARGUMENTS; i++) {
        long size = 0;
        if (!(strings >> i & 1)) {
            continue;
        }
        if (text > MT_CONTRACT_BODY_BYTES - MT_CONTRACT_STRING_BYTES) {
            break; /* never: no probe has so many */
        }
        if (record->body[i]) {
            size = bpf_probe_read_user_str((char*)record->body + text, MT_CONTRACT_STRING_BYTES, (void*)record->body[i]);
            if (size < 0) {
                MT_CONTRACT_COUNT(process->key, contract_unreadable);
                size = 0;
            }
        }
        size = size > MT_CONTRACT_STRING_BYTES ? MT_CONTRACT_STRING_BYTES : size;
        record->body[i] = size;
        text += size;
    }
    mt_contract_stack(ctx, thread);
    if (text <= MT_CONTRACT_BODY_BYTES) {
        mt_contract_send(&record->head, sizeof(record->head) + text);
    }
    return 0;
}

/* For probes whose semaphores are the message: that they are attached to is all. */
SEC("usdt")
int contract_request(struct pt_regs* ctx) {
    (void)ctx;
    return 0;
}

/* sched_process_exit(task): each thread passes here when it ends, itself, in the kernel for good. */
SEC("raw_tp/sched_process_exit")
int contract_thread_end(struct bpf_raw_tracepoint_args* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_contract_process* process = mt_contract_process(task);
    struct mt_contract_record record = {.kind = MT_CONTRACT_THREAD_END};
    (void)ctx;
    if (process) {
        record.key = process->key;
        record.tid = (__u32)bpf_get_current_pid_tgid();
        record.time_ns = bpf_ktime_get_ns();
        mt_contract_send(&record, sizeof(record));
    }
    return 0;
}

/* As memtrace.bpf.c does for the heap: what the new image does is not the old one's. */
SEC("raw_tp/sched_process_exec")
int contract_exec(void* ctx) {
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct mt_contract_process* process = bpf_map_lookup_elem(&contract_processes, &tgid);
    (void)ctx;
    if (process) {
        process->key += 0x10000;
    }
    return 0;
}
