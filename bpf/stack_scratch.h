/* Where a walk stands, and what it works in: too large for a program's own stack, of which a program and all functions that call each
 * other have 512 bytes together. */
#ifndef MEMTRACE_STACK_SCRATCH_H
#define MEMTRACE_STACK_SCRATCH_H

#include "bpf/types.h"

struct mt_cursor {
    __u64 pc; /* where the frame's function goes on, or was interrupted */
    __u64 sp;
    __u64 bp; /* where bp_at is 0 */
    __u64 bp_at;
    __u64 bx;
    __u64 bx_at;
    __u64 context;    /* of a frame that a signal interrupted: where its general registers are (gregset_t), else 0 */
    __u64 trampoline; /* what the kernel puts in the place of return addresses, 0: nothing */
    __u64 start;      /* the range that pc was in last, 0 to 0: none */
    __u64 end;
    __u32 space; /* shard with the process's ranges */
    __u32 delta; /* of the range, as all that follows */
    __u32 shard;
    __u32 table;
    __u32 buckets;
    __u32 index_at;
    __u32 rows_at;
    __u32 rules_at;
    __u32 exact; /* pc is an instruction to be run, not one behind a call */
    __u32 stop;  /* why unwinding stopped at first: enum mt_unwind_stop */
    __u32 needs; /* MT_NEEDS_*, MT_HAS_*: bpf/recall.h */
};

struct mt_stack_scratch {
    struct mt_stack stack;   /* the result */
    struct mt_recipe recipe; /* where it began; where it was walked, the whole walk */
    struct mt_stack_window window;
    struct mt_cursor cursor;
};

#endif
