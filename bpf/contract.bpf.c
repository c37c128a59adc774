/* The contract tier: what a program tells of itself by its probes (include/memtrace/probes.h). One program for all probes: the cookie
 * says which one was hit, and what to read. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Of all places of all probes of all processes, those that find their arguments in different ways. */
#define BPF_USDT_MAX_SPEC_CNT 4096
#define BPF_USDT_MAX_IP_CNT 1 /* for kernels without cookies, which memtrace does not run on */
#include <bpf/usdt.bpf.h>

#include "bpf/contract_maps.h"
#include "bpf/tier.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u64 wake_up_at = 1 << 20; /* bytes of records (user): a quarter of the ring */

#define MT_CONTRACT_COUNT(key, name) mt_count_in(&contract_counters, (key), MT_COUNTER_##name)

static __always_inline struct mt_contract_process* mt_contract_process(struct task_struct* task) {
    __u32 tgid = task->tgid;
    struct mt_contract_process* process = bpf_map_lookup_elem(&contract_processes, &tgid);
    return process && process->active ? process : 0;
}

/* The stack at the probe. */
static __always_inline void mt_contract_stack(struct pt_regs* ctx, struct mt_contract_thread* thread) {
    struct mt_contract_record* head = &thread->record.head;
    head->stack = mt_kept_stack(&contract_counters, &contract_stacks, head->key, MT_COUNTER_contract_stacks_full,
                                &thread->scratch, mt_user_stack(ctx, &thread->scratch, &head->code));
}

/* An answer that somebody waits for is heard of at once, all else when there is much of it or the collector looks. */
static __always_inline void mt_contract_send(struct mt_contract_record* record, __u32 size) {
    int urgent = record->kind == MT_CONTRACT_announce_end || record->kind == MT_CONTRACT_cleanup_start ||
                 record->kind == MT_CONTRACT_cleanup_end || bpf_ringbuf_query(&contract_records, BPF_RB_AVAIL_DATA) > wake_up_at;
    record->size = size;
    if (bpf_ringbuf_output(&contract_records, record, size, urgent ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP)) {
        MT_CONTRACT_COUNT(record->key, contract_records_lost);
    }
}

/* Objects are in the sample or not by their addresses: so is all that happens to them. The low bits of addresses say little. */
static __always_inline int mt_in_sample(__u64 object, __u32 mask) {
    return !((__u32)(object * 0x9e3779b97f4a7c15ull >> 32) & mask);
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
        if (i == 0 && cookie >> 24 & 1 && !mt_in_sample(value, process->sampled_mask)) {
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
