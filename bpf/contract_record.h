/* A record of the contract tier, from who is followed to the ring: for the BPF objects that tell what a program does with its objects and
 * resources. */
#ifndef MEMTRACE_CONTRACT_RECORD_H
#define MEMTRACE_CONTRACT_RECORD_H

#include "bpf/contract_maps.h"
#include "bpf/tier.h"

const volatile __u64 wake_up_at = 1 << 20; /* bytes of records (user): a quarter of the ring */

#define MT_CONTRACT_COUNT(key, name) mt_count_in(&contract_counters, (key), MT_COUNTER_##name)

static __always_inline struct mt_contract_process* mt_contract_process(struct task_struct* task) {
    __u32 tgid = task->tgid;
    struct mt_contract_process* process = bpf_map_lookup_elem(&contract_processes, &tgid);
    return process && process->active ? process : 0;
}

/* Keeps the stack that a walk has found, of `hash`, in `thread`'s scratch, for the record. */
static __always_inline void mt_contract_keep_stack(struct mt_contract_thread* thread, __u64 hash) {
    struct mt_contract_record* head = &thread->record.head;
    head->stack =
        mt_kept_stack(&contract_counters, &contract_stacks, head->key, MT_COUNTER_contract_stacks_full, &thread->scratch, hash);
}

/* The stack at the probe. */
static __always_inline void mt_contract_stack(struct pt_regs* ctx, struct mt_contract_thread* thread) {
    mt_contract_keep_stack(thread, mt_user_stack(ctx, &thread->scratch, &thread->record.head.code));
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

#endif
