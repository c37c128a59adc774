/* What a walk of a stack works in: too large for a program's own stack. */
#ifndef MEMTRACE_STACK_SCRATCH_H
#define MEMTRACE_STACK_SCRATCH_H

#include "bpf/types.h"

struct mt_stack_scratch {
    struct mt_stack stack;   /* the result */
    struct mt_recipe recipe; /* where it began; where it was walked, the whole walk */
    struct mt_stack_window window;
};

#endif
