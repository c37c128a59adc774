/* What the tiers beside the heap's do alike, each with maps of its own: `counters` by slot, `stacks` by hash. */
#ifndef MEMTRACE_TIER_H
#define MEMTRACE_TIER_H

#include "bpf/user_stack.h"

static __always_inline void mt_count_in(void* counters, mt_process_key key, __u32 counter) {
    __u32 slot = MT_PROCESS_SLOT(key);
    struct mt_counters* c = bpf_map_lookup_elem(counters, &slot);
    if (c && counter < MT_COUNTER_COUNT) {
        __sync_fetch_and_add(&c->value[counter], 1);
    }
}

/* Keeps a stack that was just taken, of that hash, in `stacks`. Returns its key there; 0 where there is none, or no room: then `full` counts
 * it, and its innermost address has to do. */
static __always_inline __u64 mt_kept_stack(void* counters, void* stacks, mt_process_key key, __u32 full,
                                           struct mt_stack_scratch* scratch, __u64 hash) {
    __u32 slot = MT_PROCESS_SLOT(key);
    struct mt_counters* c = bpf_map_lookup_elem(counters, &slot);

    if (hash && c) {
        mt_count_stop(c, scratch->recipe.stop);
    }
    if (hash && !bpf_map_lookup_elem(stacks, &hash) && bpf_map_update_elem(stacks, &hash, &scratch->stack, BPF_ANY)) {
        mt_count_in(counters, key, full);
        return 0;
    }
    return hash;
}

#endif
