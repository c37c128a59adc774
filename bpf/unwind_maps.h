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

#define MT_GLOBAL __noinline

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

#include "bpf/unwind.h"

/* Walks by where they begin, any four of each set. The oldest are not known, nor need be: what comes often comes again soon. */
#define MT_RECIPE_SETS 1024
#define MT_RECIPE_WAYS 4
struct mt_known_walk {
    __u32 version; /* odd while a thread writes; 0: never written */
    __u32 zero;
    struct mt_recipe recipe;
};
struct mt_known_walks {
    struct mt_known_walk way[MT_RECIPE_WAYS];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, MT_RECIPE_SETS);
    __type(key, __u32);
    __type(value, struct mt_known_walks);
} known_walks SEC(".maps");

/* The kernel half unwinds on x86-64 only, which keeps the order of loads and that of stores: only the compiler must not change it. */
#define mt_keep_order() __asm__ volatile("" ::: "memory")

static __always_inline struct mt_known_walks* mt_walks_beside(const struct mt_recipe* begin) {
    __u64 hash = mt_hash_step(mt_hash_step(mt_hash_step(MT_HASH_SEED, begin->space), begin->pc), begin->sp);
    __u32 set = (__u32)hash % MT_RECIPE_SETS;
    return bpf_map_lookup_elem(&known_walks, &set);
}

/* The walk that begins as `begin`, where it is known: fills `stack` from the second address on, says in `begin` why it stopped. Returns
 * the hash of all addresses; 0: it has to be walked. */
MT_GLOBAL __u64 mt_recall(struct mt_stack* stack, struct mt_recipe* begin, struct mt_stack_window* window) {
    struct mt_known_walks* walks;
    if (!stack || !begin || !window) {
        return 0;
    }
    walks = mt_walks_beside(begin);
    if (!walks) {
        return 0;
    }
    for (__u32 i = 0; i < MT_RECIPE_WAYS; i++) {
        const struct mt_known_walk* known = &walks->way[i];
        __u32 version = known->version;
        mt_keep_order();
        if (!(version & 1) && mt_begins_alike(&known->recipe, begin) && mt_words_alike(&known->recipe, window, stack)) {
            __u64 hash = known->recipe.stack_hash;
            begin->stop = known->recipe.stop;
            mt_keep_order();
            if (known->version == version) {
                return hash;
            }
        }
    }
    return 0;
}

/* Only one writes at a time, and nobody waits: else this walk is remembered another time. */
MT_GLOBAL int mt_remember(const struct mt_recipe* recipe) {
    struct mt_known_walks* walks;
    struct mt_known_walk* known;
    __u32 version;
    if (!recipe || recipe->needs & MT_NEEDS_MORE) {
        return 0;
    }
    walks = mt_walks_beside(recipe);
    if (!walks) {
        return 0;
    }
    known = &walks->way[bpf_get_prandom_u32() % MT_RECIPE_WAYS];
    for (__u32 i = 0; i < MT_RECIPE_WAYS; i++) {
        if (!walks->way[i].version) {
            known = &walks->way[i];
            break;
        }
    }
    version = known->version;
    if (version & 1 || __sync_val_compare_and_swap(&known->version, version, version + 1) != version) {
        return 0;
    }
    mt_keep_order();
    known->recipe = *recipe;
    mt_keep_order();
    known->version = version + 2;
    return 0;
}

/* The walk that begins as `recipe`, whose first address stands in `stack` already: known, then `*known` is 1, or walked and remembered.
 * Returns the hash of all addresses; `recipe->stop` says why it ended early. `cursor`: room for a walk. */
static __always_inline __u64 mt_recall_or_unwind(struct mt_stack* stack, struct mt_recipe* recipe, struct mt_stack_window* window,
                                                 struct mt_cursor* cursor, __u64 trampoline, __u32 frames, int* known) {
    __u64 hash = mt_recall(stack, recipe, window);
    *known = hash != 0;
    if (!hash) {
        __builtin_memset(cursor, 0, sizeof(*cursor));
        cursor->trampoline = trampoline;
        cursor->space = (__u32)recipe->space;
        hash = mt_unwind(stack, recipe, window, cursor, frames);
        mt_remember(recipe);
    }
    return hash;
}

/* The same of a walk by frame pointers: on x86-64 it is made where the process's tables are not there yet. */
static __always_inline __u32 mt_frames_stop(const struct mt_stack* stack) {
    if (stack->depth >= max_frames) {
        return MT_UNWIND_DEEP;
    }
#if defined(__TARGET_ARCH_x86)
    if (stack->flags & MT_STACK_TRUNCATED) {
        return MT_UNWIND_PENDING;
    }
#endif
    return MT_UNWIND_ON;
}

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
