/* The allocator call that a thread is in. Only the outermost call counts, so one record per thread is the whole stack of calls in
 * flight: an inner call is told by its stack pointer, and so is the return that belongs to the record. Compiles natively too.
 *
 *        higher addresses
 *      | caller's frame          |
 *      | return address  <-- call.sp (SP at entry; the kernel replaces the word by its trampoline's address)
 *      | frame of malloc         |   an inner call's SP is below call.sp, or equal to it after a tail call
 *      v
 *
 * A record can be stale: the call was left by longjmp, by an exception or by the thread's end. Then the stack above SP has been
 * given up, so either SP is now above call.sp, or the word at call.sp is no longer the trampoline. The one case that this misses, a
 * deeper stack whose frames never overwrote that word, is counted once it shows (nested_misjudged).
 */
#ifndef MEMTRACE_INFLIGHT_H
#define MEMTRACE_INFLIGHT_H

#include "bpf/sampling.h"
#include "bpf/types.h"

struct mt_call {
    __u64 sp;             /* SP at entry; 0 = no call in flight */
    __u64 return_address; /* the true one, read before the kernel replaced it */
    __u64 cookie;
    __u64 size;
    __u64 out;                /* address where the result will be stored, or 0 */
    __u64 ptr;                /* block being reallocated, or 0 */
    __u64 stack_hash;         /* of the frames in mt_thread.stack */
    struct mt_live_block old; /* the block taken out of the live map, where has_old */
    __u64 interval;           /* of sampling, 0: exact */
    __u32 has_old;
    __u32 nested; /* inner calls seen */
    mt_process_key process;
    __u16 kept;     /* to be recorded: sampled, or exact */
    __u16 declined; /* its return is not seen: nobody says when it is over */
};

/* State of a traced thread: task storage, so it goes with the thread. The stack is scratch of the call in flight; such lies here and
 * not in a per-CPU map because a uprobe program can be preempted by another thread's. */
struct mt_thread {
    struct mt_call call;
    struct mt_sampler sampler;
    struct mt_stack stack;
    struct mt_recipe recipe; /* where that stack began; where it was walked, the whole walk */
    struct mt_stack_window window;
    struct mt_unwind_event unwinding; /* scratch */
};

enum mt_entry_kind {
    MT_ENTRY_OUTERMOST, /* no call in flight */
    MT_ENTRY_NESTED,    /* inside the call in flight: ignore */
    MT_ENTRY_STALE      /* the call in flight was abandoned: drop it, then as outermost */
};

/* What an entry at `sp` is, given the call in flight. `word_at_call` is the word now at call->sp, `trampoline` the address that
 * the kernel puts there (0 = unknown). */
static inline enum mt_entry_kind mt_classify_entry(const struct mt_call* call, __u64 sp, __u64 word_at_call, __u64 trampoline) {
    if (call->sp == 0) {
        return MT_ENTRY_OUTERMOST;
    }
    if (sp > call->sp) {
        return MT_ENTRY_STALE;
    }
    if (trampoline != 0) {
        return word_at_call == trampoline ? MT_ENTRY_NESTED : MT_ENTRY_STALE;
    }
    /* Trampoline unknown: the kernel replaced the word, so the true return address means a new call in the old one's place. */
    return word_at_call == call->return_address ? MT_ENTRY_STALE : MT_ENTRY_NESTED;
}

/* Whether an entry at `sp`, with `cookie`, is inside the call in flight where the return of that one was declined: it may be, and then is if
 * the word at that call's stack pointer is its return address still. Afterwards another call has put its own there, or the same place
 * calls again with the same stack pointer. A tail call has that too, but is of another function. */
static inline int mt_may_be_inside_declined(const struct mt_call* call, __u64 sp, __u64 cookie) {
    return sp < call->sp || (sp == call->sp && cookie != call->cookie);
}

/* True where a return that leaves the stack pointer at `sp_after` ends the call in flight. `popped` is what the return
 * instruction takes off the stack: 8 on x86-64, 0 where the return address is in a register. */
static inline int mt_is_own_return(const struct mt_call* call, __u64 sp_after, __u64 popped) {
    return call->sp != 0 && sp_after == call->sp + popped;
}

#endif
