/* What bpf/unwind.h needs, in the kernel half: the maps with the tables, the process's memory, its return probes. */
#ifndef MEMTRACE_UNWIND_MAPS_H
#define MEMTRACE_UNWIND_MAPS_H

#include "bpf/returns.h"
#include "bpf/unwind_table.h"
#include "bpf/walk.h"

/* Shards by number, made and filled by user space (user/kernel/unwind_shards.hpp), each sized to what it holds. Found whole or not at all:
 * one is put here when it is filled, and taken out when nothing refers to it any more. (user) */
struct mt_shard_map {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct mt_unwind_block));
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 1);
    __type(key, __u32);
    __array(values, struct mt_shard_map);
} unwind_shards SEC(".maps");

typedef void* mt_shard_handle;
static __always_inline mt_shard_handle mt_shard_at(__u32 shard) {
    return bpf_map_lookup_elem(&unwind_shards, &shard);
}
static __always_inline const struct mt_unwind_block* mt_block_at(mt_shard_handle shard, __u32 block) {
    return bpf_map_lookup_elem(shard, &block);
}
static __always_inline long mt_read_user(void* to, __u32 size, __u64 at) {
    return bpf_probe_read_user(to, size, (void*)at);
}
/* Of a return probe of whatever tracer: the kernel's list knows. Seldom, so it may be slow. */
__noinline __u64 mt_replaced_address(__u64 slot) {
    struct task_struct* task = (void*)bpf_get_current_task();
    struct return_instance* entry = BPF_CORE_READ(task, utask, return_instances);
    __u64 trampoline = mt_trampoline();
    for (__u32 i = 0; i < MAX_URETPROBE_DEPTH && entry; i++) {
        __u64 value = BPF_CORE_READ(entry, orig_ret_vaddr);
        if (BPF_CORE_READ(entry, stack) == slot && value != trampoline) {
            return value;
        }
        entry = BPF_CORE_READ(entry, next);
    }
    return 0;
}
#define MT_GLOBAL __noinline

#include "bpf/unwind.h"

/* Counts what stopped a walk first: the counters have the order of enum mt_unwind_stop. */
static __always_inline void mt_count_stop(struct mt_counters* c, __u32 stop) {
    __u32 reason = stop - MT_UNWIND_UNMAPPED;
    /* Linux 6.1 refuses the program where the bound is checked on one copy of the number and another is used. */
    __asm__ volatile("" : "+r"(reason));
    if (reason <= MT_UNWIND_DEEP - MT_UNWIND_UNMAPPED) {
        __sync_fetch_and_add(&c->value[MT_COUNTER_unwind_unmapped + reason], 1);
    }
}
MT_STATIC_ASSERT(MT_COUNTER_unwind_deep - MT_COUNTER_unwind_unmapped == MT_UNWIND_DEEP - MT_UNWIND_UNMAPPED, "same order");

#endif
