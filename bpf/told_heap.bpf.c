/* The heap that a program tells of itself by otel_memory's probes: bpf/told_heap.h. The cookie is a signature's (bpf/signature.h), of which
 * function and slot count: the arguments are the contract's. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/heap.h"
#include "bpf/program_probes.h"
#include "bpf/told_heap.h"
#include "bpf/user_stack.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_told_thread);
} told_threads SEC(".maps");

static __always_inline struct mt_process* told_process(__u64 cookie, struct mt_counters** c) {
    struct mt_process* process = mt_active_process(cookie, c);
    if (process) {
        MT_COUNT(*c, told_heap_hits);
    }
    return process;
}

static __always_inline int told_argument(struct pt_regs* ctx, __u32 number, struct mt_counters* c, __u64* value) {
    long raw = 0;
    if (bpf_usdt_arg(ctx, number, &raw)) {
        MT_COUNT(c, told_heap_unreadable);
        return 0;
    }
    *value = raw;
    return 1;
}

SEC("usdt")
int told_alloc(struct pt_regs* ctx) {
    __u64 cookie = bpf_usdt_cookie(ctx);
    struct mt_counters* c;
    struct mt_process* process = told_process(cookie, &c);
    struct mt_told_thread* thread;
    struct mt_call* call;
    __u64 address, size, weight;

    if (!process || !told_argument(ctx, MT_TOLD_PTR, c, &address) || !told_argument(ctx, MT_TOLD_SIZE, c, &size) ||
        !told_argument(ctx, MT_TOLD_WEIGHTED, c, &weight) || !address) {
        return 0;
    }
    thread = bpf_task_storage_get(&told_threads, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_COUNT(c, task_state_lost);
        return 0;
    }
    call = &thread->call;
    call->cookie = cookie;
    call->process = process->key;
    call->size = size;
    call->interval = mt_told_interval(weight);
    call->stack_hash = mt_user_stack(ctx, &thread->scratch, &call->return_address);
    mt_count_stop(c, thread->scratch.recipe.stop);
    mt_add_block(call, &thread->scratch.stack, address, c);
    return 0;
}

SEC("usdt")
int told_free(struct pt_regs* ctx) {
    struct mt_counters* c;
    struct mt_process* process = told_process(bpf_usdt_cookie(ctx), &c);
    struct mt_live_block block;
    __u64 address;

    if (!process || !told_argument(ctx, MT_TOLD_PTR, c, &address) || !address) {
        return 0;
    }
    if (mt_take_block(address, process->key, &block)) {
        mt_account_free(&block);
    } else {
        MT_COUNT(c, unmatched_frees);
    }
    return 0;
}
