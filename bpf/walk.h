/* The stack at a function's entry, by frame pointers. The first address, the caller of the probed function, is always right: it is
 * the return address itself. The rest is as good as the frame pointers are; what cannot be a frame ends the walk, and the collector
 * drops what does not follow a call instruction. */
#ifndef MEMTRACE_WALK_H
#define MEMTRACE_WALK_H

#include "bpf/arch.h"
#include "bpf/stack_hash.h"
#include "bpf/types.h"

/* How many frames are kept: more cost 30 to 60 ns each at every allocation. */
const volatile __u32 max_frames = 64;

/* Goes on along the frame pointers: `first` addresses stand in `stack`, with that hash; frames lie above `lower`. */
static __always_inline __u64 mt_walk_frames(struct mt_stack* stack, __u32 first, __u64 hash, __u64 lower, __u64 fp) {
    __u32 depth = first;
    stack->flags = MT_STACK_TRUNCATED;
    stack->certain = 1;
    for (__u32 i = 1; i < MT_MAX_FRAMES; i++) { /* from 1, so that the verifier knows i whatever it knows of `first` */
        __u64 frame[2];                         /* the caller's frame pointer, the return address */
        if (i < first) {
            continue;
        }
        if (i >= max_frames) {
            break;
        }
        if (fp == 0) { /* the thread's first function clears it: the end, as the ABI has it */
            stack->flags = 0;
            break;
        }
        if (fp <= lower || fp - lower > MT_MAX_FRAME_BYTES || fp & 7) {
            break;
        }
        if (bpf_probe_read_user(frame, sizeof(frame), (void*)fp)) {
            break;
        }
        if (frame[1] < MT_MIN_CODE_ADDRESS || frame[1] >= MT_MAX_CODE_ADDRESS) {
            if (frame[1] == 0) {
                stack->flags = 0;
            }
            break;
        }
        stack->address[i] = frame[1];
        depth = i + 1;
        hash = mt_hash_step(hash, frame[1]);
        lower = fp;
        fp = frame[0];
    }
    stack->depth = depth;
    return hash;
}

/* Fills `stack` and returns the hash of its addresses. */
static __always_inline __u64 mt_walk(struct pt_regs* ctx, __u64 return_address, struct mt_stack* stack) {
    stack->address[0] = return_address;
    return mt_walk_frames(stack, 1, mt_hash_step(MT_HASH_SEED, return_address), mt_stack_pointer(ctx), mt_frame_pointer(ctx));
}

#endif
