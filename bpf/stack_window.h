/* Words of a thread's stack, some hundred for the price of one: a read of user memory costs 110 ns where it takes a word, and 170 where it takes a
 * page (measured on the machine of README.md), most of it for opening and closing the kernel's access to user memory. So a walk reads its stack
 * by pieces, each to the end of a page: as much as is surely there, whatever lies above.
 *
 * Compiles natively too: who includes this has defined mt_read_user(to, size, at), not 0: it cannot be read. */
#ifndef MEMTRACE_STACK_WINDOW_H
#define MEMTRACE_STACK_WINDOW_H

#include "bpf/types.h"

/* A piece begins at a multiple of this: below a return address registers are saved, which may be wanted next. */
#define MT_WINDOW_STEP 128

/* What a walk has read before belongs to another stack by now. */
static __always_inline void mt_window_close(struct mt_stack_window* window) {
    window->bytes = 0;
}

/* Moves the window to where the word at `at` is in it. Not 0: that cannot be read. */
MT_GLOBAL int mt_window_move(struct mt_stack_window* window, __u64 at) {
    __u32 bytes = MT_WINDOW_BYTES - ((__u32)at & (MT_WINDOW_BYTES - MT_WINDOW_STEP));
    if (!window) {
        return 1;
    }
    window->start = at & ~(__u64)(MT_WINDOW_STEP - 1);
    window->bytes = 0;
    if (at & 7 || mt_read_user(window->word, bytes, window->start)) {
        return 1;
    }
    window->bytes = bytes;
    return 0;
}

/* The word at `at`, a multiple of 8. Not 0: it cannot be read. */
static __always_inline int mt_window_read(struct mt_stack_window* window, __u64 at, __u64* word) {
    if ((at - window->start >= window->bytes || at & 7) && mt_window_move(window, at)) {
        return 1;
    }
    *word = window->word[(at - window->start) / sizeof(*word) & (MT_WINDOW_WORDS - 1)];
    return 0;
}

#endif
