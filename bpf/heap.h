/* The live heap: blocks, sites and stacks. */
#ifndef MEMTRACE_HEAP_H
#define MEMTRACE_HEAP_H

#include "bpf/maps.h"
#include "bpf/signature.h"
#include "bpf/stack_hash.h"

/* Counters are per CPU, but a uprobe program can be preempted in the middle of an increment: hence atomic, on a cache line that no
 * other CPU writes. */
#define MT_COUNT_N(c, name, n) __sync_fetch_and_add(&(c)->value[MT_COUNTER_##name], (n))
#define MT_COUNT(c, name) MT_COUNT_N(c, name, 1)

/* The tables of sampling (bpf/sampling.h), filled by user space. (user) */
const volatile __u32 sample_draws[MT_DRAWS] = {};
const volatile __u32 sample_weights[MT_WEIGHTS] = {};

/* Whose probe that is, by its cookie, and where its hits are counted. */
static __always_inline struct mt_process* mt_known_process(__u64 cookie, struct mt_counters** c) {
    __u32 slot = mt_signature_unpack(cookie).slot;
    struct mt_process* process = bpf_map_lookup_elem(&processes, &slot);
    *c = bpf_map_lookup_elem(&counters, &slot);
    return *c ? process : 0;
}

static __always_inline struct mt_process* mt_active_process(__u64 cookie, struct mt_counters** c) {
    struct mt_process* process = mt_known_process(cookie, c);
    return process && process->active ? process : 0;
}

static __always_inline void mt_account_alloc(struct mt_site* site, __u64 size, __u64 interval) {
    struct mt_weight weight;
    if (interval == 0) {
        __sync_fetch_and_add(&site->allocs, MT_OBJECT_ONE);
        __sync_fetch_and_add(&site->allocated_bytes, size);
        return;
    }
    mt_weigh(size, interval, sample_weights, &weight);
    __sync_fetch_and_add(&site->allocs, weight.objects);
    __sync_fetch_and_add(&site->allocated_bytes, weight.bytes);
    __sync_fetch_and_add(&site->bytes_variance, weight.bytes_variance);
    __sync_fetch_and_add(&site->objects_variance, weight.objects_variance);
}

static __always_inline void mt_account_free(const struct mt_live_block* block) {
    __u64 site_key = block->site;
    struct mt_site* site = bpf_map_lookup_elem(&sites, &site_key);
    struct mt_weight weight;
    if (!site) {
        return;
    }
    if (block->interval == 0) {
        __sync_fetch_and_add(&site->frees, MT_OBJECT_ONE);
        __sync_fetch_and_add(&site->freed_bytes, block->size);
        return;
    }
    mt_weigh(block->size, block->interval, sample_weights, &weight);
    __sync_fetch_and_add(&site->frees, weight.objects);
    __sync_fetch_and_add(&site->freed_bytes, weight.bytes);
    __sync_fetch_and_add(&site->bytes_variance, -weight.bytes_variance);
    __sync_fetch_and_add(&site->objects_variance, -weight.objects_variance);
}

/* Takes a block out of the live map. 0 where it was not there. */
static __always_inline int mt_take_block(__u64 address, mt_process_key process, struct mt_live_block* block) {
    struct mt_live_key key = {.address = address, .process = process};
    struct mt_live_block* found = bpf_map_lookup_elem(&live, &key);
    if (!found) {
        return 0;
    }
    *block = *found;
    /* Only the thread whose delete succeeds accounts for the block: a double free in the target counts once. */
    return bpf_map_delete_elem(&live, &key) == 0;
}

/* The site of the call, whose stack that is: finds or makes it, with its stack. Never fails: the process's overflow site takes the rest. */
static __always_inline __u64 mt_site_of(const struct mt_call* call, const struct mt_stack* stack, struct mt_counters* c,
                                        struct mt_site** out) {
    __u32 function = mt_signature_unpack(call->cookie).function;
    __u64 key = mt_site_key(call->stack_hash, call->process, function);
    struct mt_site* site = bpf_map_lookup_elem(&sites, &key);
    if (!site) {
        struct mt_site fresh = {
            .stack = call->stack_hash,
            .caller = call->return_address,
            .process = call->process,
            .function = function,
        };
        if (bpf_map_update_elem(&stacks, &call->stack_hash, stack, BPF_ANY)) {
            fresh.stack = 0;
            MT_COUNT(c, stacks_full);
        } else if (stack->flags & MT_STACK_TRUNCATED) {
            MT_COUNT(c, stack_truncated);
        }
        /* Another thread may have made it meanwhile: then this fails and theirs is found. */
        bpf_map_update_elem(&sites, &key, &fresh, BPF_NOEXIST);
        site = bpf_map_lookup_elem(&sites, &key);
    }
    if (!site) {
        MT_COUNT(c, sites_full);
        key = MT_OVERFLOW_SITE_KEY(call->process);
        site = bpf_map_lookup_elem(&sites, &key);
    }
    *out = site;
    return key;
}

/* Makes the call's result a live block. */
static __always_inline void mt_add_block(const struct mt_call* call, const struct mt_stack* stack, __u64 address,
                                         struct mt_counters* c) {
    struct mt_live_key key = {.address = address, .process = call->process};
    struct mt_live_block block = {.size = call->size, .born_ns = bpf_ktime_get_ns(), .interval = call->interval};
    struct mt_live_block missed;
    struct mt_site* site;
    long err;

    block.site = mt_site_of(call, stack, c, &site);
    err = bpf_map_update_elem(&live, &key, &block, BPF_NOEXIST);
    if (err == -17 /* EEXIST */) {
        if (mt_take_block(address, call->process, &missed)) {
            mt_account_free(&missed);
            MT_COUNT(c, replaced_blocks);
        }
        err = bpf_map_update_elem(&live, &key, &block, BPF_ANY);
    }
    if (err) {
        MT_COUNT(c, live_full);
        MT_COUNT_N(c, live_full_bytes, block.size);
        return; /* not in the site's totals either: they stay the sum of what is followed */
    }
    if (site) {
        mt_account_alloc(site, block.size, block.interval);
    }
}

/* Ends the tentative removal of a reallocated block: it stays freed, or it goes back. */
static __always_inline void mt_settle_old_block(const struct mt_call* call, int freed, struct mt_counters* c) {
    if (!call->has_old) {
        return;
    }
    if (freed) {
        mt_account_free(&call->old);
        return;
    }
    struct mt_live_key key = {.address = call->ptr, .process = call->process};
    if (bpf_map_update_elem(&live, &key, &call->old, BPF_NOEXIST)) {
        mt_account_free(&call->old);
        MT_COUNT(c, rollback_lost);
    }
}

#endif
