/* One step from a frame to its caller, and the walk, by the tables of bpf/unwind_table.h. x86-64. Compiles natively too: who includes
 * this has defined before, for the kernel half in bpf/unwind_maps.h,
 *
 *   mt_shard_at(shard)           a handle to a shard's blocks, 0: there is none
 *   mt_block_at(handle, block)   a block of it, 0: it has fewer
 *   mt_read_user(to, size, at)   reads the process's memory; not 0: it cannot be read
 *   mt_replaced_address(slot)    what was at `slot` on the stack before the kernel put the trampoline of a return probe there; 0: not known
 *
 *   higher addresses
 *     | caller's frame      |  <- CFA: the stack pointer in the caller, once the call has returned
 *     | return address      |  CFA - 8
 *     | saved registers     |  at CFA + offset, as the rule says
 *     | ...                 |  <- sp
 *
 * Tables come from foreign files: no number in them is believed. Look-ups are bounded by the shard's own size, loops by constants,
 * and each step must climb the stack, but for signals, which may have a stack of their own.
 *
 * Registers that only few rules need are not read on the way, but remembered by the place where they have been saved: the walk
 * stands in a probe of this very thread, so nothing changes what lies above. */
#ifndef MEMTRACE_UNWIND_H
#define MEMTRACE_UNWIND_H

#include "bpf/recall.h"
#include "bpf/unwind_lookup.h"

#define MT_LOST_REGISTER 1 /* no frame pointer, nor anything that a frame is found by */

/* Also where a frame pointer helped, this one tells what was missing. */
static __always_inline void mt_note_stop(struct mt_cursor* c, __u32 stop) {
    if (!c->stop) {
        c->stop = stop;
    }
}

/* The registers as they are in the cursor's frame. */
static __always_inline __u64 mt_frame_bp(struct mt_cursor* c, struct mt_stack_window* window) {
    if (c->bp_at) {
        if (mt_window_read(window, c->bp_at, &c->bp)) {
            c->bp = MT_LOST_REGISTER;
            c->needs |= MT_NEEDS_MORE;
        }
        c->bp_at = 0;
        c->needs |= MT_NEEDS_BP_WORD;
    } else if (!(c->needs & MT_HAS_BP)) {
        c->needs |= MT_NEEDS_BP;
    }
    return c->bp;
}
static __always_inline __u64 mt_frame_bx(struct mt_cursor* c, struct mt_stack_window* window) {
    if (c->bx_at) {
        if (mt_window_read(window, c->bx_at, &c->bx)) {
            c->bx = MT_LOST_REGISTER;
            c->needs |= MT_NEEDS_MORE;
        }
        c->bx_at = 0;
        c->needs |= MT_NEEDS_BX_WORD;
    } else if (!(c->needs & MT_HAS_BX)) {
        c->needs |= MT_NEEDS_BX;
    }
    return c->bx;
}

/* Of each register, by its DWARF number, four bits: its index in gregset_t. */
#define MT_CONTEXT_ORDER 0x76543210fa89becdull

static __always_inline __u64 mt_base_value(struct mt_cursor* c, struct mt_stack_window* window, __u32 base) {
    __u64 value = MT_LOST_REGISTER;
    if (base == MT_DWARF_SP) {
        return c->sp;
    }
    if (base == MT_DWARF_BP) {
        return mt_frame_bp(c, window);
    }
    if (base == MT_DWARF_BX) {
        return mt_frame_bx(c, window);
    }
    c->needs |= MT_NEEDS_MORE;
    if (c->context && mt_read_user(&value, sizeof(value), c->context + 8 * (MT_CONTEXT_ORDER >> 4 * (base & 15) & 15))) {
        return MT_LOST_REGISTER;
    }
    return value;
}

/* Into what a signal has interrupted: all registers are in the context that the kernel saved for it. */
#define MT_CONTEXT_REGISTERS 40 /* offsets in struct ucontext */
#define MT_CONTEXT_BP 120
#define MT_CONTEXT_BX 128
#define MT_CONTEXT_SP 160

static __always_inline int mt_step_signal(struct mt_cursor* c, __u64 context) {
    __u64 found[2]; /* sp, pc */
    c->needs |= MT_NEEDS_MORE;
    if (mt_read_user(found, sizeof(found), context + MT_CONTEXT_SP)) {
        return MT_UNWIND_UNREADABLE;
    }
    if (found[1] < MT_MIN_CODE_ADDRESS || found[1] >= MT_MAX_CODE_ADDRESS) {
        return MT_UNWIND_STRAY;
    }
    c->sp = found[0];
    c->pc = found[1];
    c->bp_at = context + MT_CONTEXT_BP;
    c->bx_at = context + MT_CONTEXT_BX;
    c->context = context + MT_CONTEXT_REGISTERS;
    c->exact = 1;
    return MT_UNWIND_ON;
}

/* The caller's frame begins at `cfa`. */
static __always_inline int mt_step_frame(struct mt_cursor* c, struct mt_stack_window* window, const struct mt_unwind_rule* rule,
                                         __u64 cfa) {
    __u64 address;
    if (cfa <= c->sp || cfa & 7) {
        return MT_UNWIND_STRAY;
    }
    if (mt_window_read(window, cfa - 8, &address)) {
        return MT_UNWIND_UNREADABLE;
    }
    if (address == c->trampoline && address) {
        c->needs |= MT_NEEDS_MORE;
        address = mt_replaced_address(cfa - 8);
        if (!address) {
            return MT_UNWIND_STRAY;
        }
    }
    if (address == 0) { /* as some threads begin */
        c->needs |= MT_NEEDS_MORE;
        return MT_UNWIND_END;
    }
    if (address < MT_MIN_CODE_ADDRESS || address >= MT_MAX_CODE_ADDRESS) {
        return MT_UNWIND_STRAY;
    }
    if (rule->bx == MT_SAVED_AT_CFA) {
        c->bx_at = cfa + rule->bx_offset;
    } else if (rule->bx == MT_SAVED_AT_BP) {
        c->bx_at = mt_frame_bp(c, window) + rule->bx_offset;
    } else if (rule->bx == MT_SAVED_LOST) {
        c->bx = MT_LOST_REGISTER;
        c->bx_at = 0;
        c->needs |= MT_NEEDS_MORE;
    }
    if (rule->bp == MT_SAVED_AT_CFA) {
        c->bp_at = cfa + rule->bp_offset;
    } else if (rule->bp == MT_SAVED_AT_BP) {
        c->bp_at = mt_frame_bp(c, window) + rule->bp_offset;
    } else if (rule->bp == MT_SAVED_LOST) {
        c->bp = MT_LOST_REGISTER;
        c->bp_at = 0;
        c->needs |= MT_NEEDS_MORE;
    }
    /* Only now: the rules have asked for rbp as it was. */
    c->needs |= (rule->bp == MT_SAVED_SAME ? 0 : MT_HAS_BP) | (rule->bx == MT_SAVED_SAME ? 0 : MT_HAS_BX);
    c->sp = cfa;
    c->pc = address;
    c->context = 0;
    c->exact = 0;
    return MT_UNWIND_ON;
}

/* From the cursor's frame to its caller. Else why not (enum mt_unwind_stop); then the cursor still stands where it stood. */
MT_GLOBAL int mt_unwind_step(struct mt_cursor* c, struct mt_stack_window* window) {
    struct mt_unwind_rule rule;
    __u64 address, cfa;

    if (!c || !window) {
        return MT_UNWIND_STRAY;
    }
    address = c->pc - !c->exact; /* a call may be the last instruction that its rule holds for */
    if (address < c->start || address >= c->end) {
        int missing = mt_find_range(c, address);
        if (missing) {
            return missing;
        }
    }
    if (!mt_find_rule(c, address, &rule) || rule.cfa == MT_CFA_NONE) {
        return MT_UNWIND_BARE;
    }
    if (rule.cfa == MT_CFA_END) {
        return MT_UNWIND_END;
    }
    if (rule.cfa >= MT_CFA_UNSUPPORTED) {
        return MT_UNWIND_UNSUPPORTED;
    }
    cfa = mt_base_value(c, window, rule.base);
    if (cfa == MT_LOST_REGISTER) {
        return MT_UNWIND_UNSUPPORTED;
    }
    cfa += (__s64)rule.offset;
    if (rule.cfa == MT_CFA_SIGNAL) {
        return mt_step_signal(c, cfa);
    }
    if (rule.cfa == MT_CFA_DEREF) {
        c->needs |= MT_NEEDS_MORE;
        if (mt_window_read(window, cfa, &cfa)) {
            return MT_UNWIND_UNREADABLE;
        }
        cfa += (__s64)rule.addend;
    } else if (rule.cfa == MT_CFA_PLT && (__s32)(c->pc & 15) >= rule.addend) {
        cfa += 8;
    }
    return mt_step_frame(c, window, &rule, cfa);
}

/* The same by the frame pointer, for code without a rule. Believed where it leads into code of the process. */
MT_GLOBAL int mt_frame_step(struct mt_cursor* c, struct mt_stack_window* window) {
    __u64 frame[2]; /* the caller's frame pointer, the return address */
    __u64 bp;
    int found;

    if (!c || !window) {
        return MT_UNWIND_STRAY;
    }
    bp = mt_frame_bp(c, window);
    if (bp == 0) { /* the thread's first function clears it: the end, as the ABI has it */
        return MT_UNWIND_END;
    }
    if (bp < c->sp || bp - c->sp > MT_MAX_FRAME_BYTES || bp & 7 || mt_window_read(window, bp, &frame[0]) ||
        mt_window_read(window, bp + 8, &frame[1])) {
        return MT_UNWIND_STRAY;
    }
    if (frame[1] == c->trampoline && frame[1]) {
        frame[1] = mt_replaced_address(bp + 8);
    }
    if (frame[1] == 0) {
        return MT_UNWIND_END;
    }
    found = mt_find_range(c, frame[1] - 1);
    if (found == MT_UNWIND_UNMAPPED) {
        return MT_UNWIND_STRAY;
    }
    c->sp = bp + 16;
    c->bp = frame[0];
    c->bp_at = 0;
    c->bx = MT_LOST_REGISTER;
    c->bx_at = 0;
    c->pc = frame[1];
    c->context = 0;
    c->exact = 0;
    return MT_UNWIND_ON;
}

/* What the last step has read. Before it, rbp and rbx were to be had from `bp_at` and `bx_at`. */
MT_GLOBAL int mt_recipe_step(struct mt_recipe* recipe, struct mt_cursor* c, __u64 bp_at, __u64 bx_at) {
    if (!recipe || !c) {
        return 0;
    }
    if (c->needs & MT_NEEDS_BP_WORD) {
        mt_recipe_add(recipe, bp_at, c->bp, 0);
    }
    if (c->needs & MT_NEEDS_BX_WORD) {
        mt_recipe_add(recipe, bx_at, c->bx, 0);
    }
    c->needs &= ~(MT_NEEDS_BP_WORD | MT_NEEDS_BX_WORD);
    mt_recipe_add(recipe, c->sp - 8, c->pc, 1);
    return 0;
}

/* Goes on from the frame that `recipe` begins with, whose address stands in `stack` already; keeps up to `frames` addresses. Returns the
 * hash of all of them. Of the cursor is set what else there is to know: the shard of the space, the trampoline. `recipe->stop` is 0 where
 * unwinding alone led to the thread's first function. `recipe` then tells how the same walk is known again, unless it needs more
 * (MT_NEEDS_MORE). */
MT_GLOBAL __u64 mt_unwind(struct mt_stack* stack, struct mt_recipe* recipe, struct mt_stack_window* window, struct mt_cursor* c,
                          __u32 frames) {
    __u64 hash;
    __u32 depth = 1;
    if (!stack || !recipe || !window || !c) {
        return 0;
    }
    mt_recipe_begin(recipe);
    c->pc = recipe->pc;
    c->sp = recipe->sp;
    c->bp = recipe->bp;
    c->bx = recipe->bx;
    stack->flags = MT_STACK_TRUNCATED;
    stack->certain = 0;
    hash = mt_hash_step(MT_HASH_SEED, stack->address[0]);
    for (__u32 i = 1; i < MT_MAX_FRAMES; i++) {
        __u64 bp_at = c->bp_at;
        __u64 bx_at = c->bx_at;
        int stop;
        if (i >= frames) {
            break;
        }
        stop = mt_unwind_step(c, window);
        if (stop > MT_UNWIND_END) {
            mt_note_stop(c, stop);
            if (!stack->certain) {
                stack->certain = i;
            }
            stop = mt_frame_step(c, window);
            c->needs |= MT_NEEDS_MORE;
        }
        if (stop) {
            /* Code without a rule has been passed by its frame pointer, as good as that is; others may have left out frames. */
            if (stop == MT_UNWIND_END && (!c->stop || c->stop == MT_UNWIND_BARE)) {
                stack->flags = 0;
            }
            break;
        }
        mt_recipe_step(recipe, c, bp_at, bx_at);
        /* All addresses of a stack are return addresses: names are looked up for the byte before. */
        stack->address[i] = c->pc + c->exact;
        hash = mt_hash_step(hash, stack->address[i]);
        depth = i + 1;
    }
    stack->depth = depth;
    if (depth >= frames) { /* behind the loop: of MT_MAX_FRAMES it ends by itself */
        mt_note_stop(c, MT_UNWIND_DEEP);
    }
    if (!stack->certain) {
        stack->certain = depth;
    }
    recipe->stack_hash = hash;
    recipe->stop = (__u16)c->stop;
    recipe->needs |= (__u16)c->needs;
    return hash;
}

#endif
