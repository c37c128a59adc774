/* The stack of a thread other than at a function's entry: in the kernel for a system call or a page fault, or at a probe somewhere in its code.
 * The user registers say where it stands, so the tables' rule for that very instruction applies (bpf/unwind.h): also in functions that
 * have no frame, as wrappers of system calls and memory functions.
 *
 * For any BPF object of memtrace: it is given the maps of memtrace.bpf.c (user/kernel/stack_maps.hpp), so that tables, and walks that are
 * known again, are there once. Where a process has no tables, and on aarch64, the walk follows frame pointers. */
#ifndef MEMTRACE_USER_STACK_H
#define MEMTRACE_USER_STACK_H

#include "bpf/process_maps.h"
#include "bpf/stack_scratch.h"
#include "bpf/unwind_maps.h"
#include "bpf/walk.h"

#if defined(__TARGET_ARCH_x86)

static __always_inline __u64 mt_instruction(struct pt_regs* regs) {
    return regs->ip;
}
/* By number, 1 to 6, as mt_arguments_of. */
static __always_inline struct mt_arguments mt_syscall_arguments(struct pt_regs* regs) {
    return (struct mt_arguments){{0, regs->di, regs->si, regs->dx, regs->r10, regs->r8, regs->r9, 0}};
}
static __always_inline __u64 mt_syscall_number(struct pt_regs* regs) {
    return regs->orig_ax;
}
/* True where the thread is in the kernel for a system call: then its instruction pointer is a return address already. */
static __always_inline int mt_in_system_call(struct pt_regs* regs) {
    return (__s64)regs->orig_ax >= 0;
}

/* Goes on from where `scratch` begins: stack.address[0], and in the recipe pc (the same address), sp, rbp and rbx. Returns the hash of all
 * addresses; 0: the current process has no tables. Global, so that it is verified once for each object. */
MT_GLOBAL __u64 mt_unwind_current(struct mt_stack_scratch* scratch) {
    struct task_struct* task = bpf_get_current_task_btf();
    __u32 tgid = task->tgid;
    struct mt_process* process;
    __u32* slot;
    __u64 space;
    int known;

    if (!scratch) {
        return 0;
    }
    slot = bpf_map_lookup_elem(&slots, &tgid);
    process = slot ? bpf_map_lookup_elem(&processes, slot) : 0;
    if (!process) {
        return 0;
    }
    space = process->space;
    if (space >> 32 != process->key || (__u32)space == MT_NO_SHARD) {
        return 0;
    }
    scratch->recipe.space = space;
    mt_window_close(&scratch->window);
    return mt_recall_or_unwind(&scratch->stack, &scratch->recipe, &scratch->window, &scratch->cursor, mt_trampoline_in_use(task),
                               max_frames, &known);
}

static __always_inline __u64 mt_walk_current(struct pt_regs* regs, struct mt_stack_scratch* scratch, __u64 sp) {
    /* Behind the instruction, as if it were a call that is to come back: its rule is looked up for the byte before. */
    scratch->recipe.pc = scratch->stack.address[0];
    scratch->recipe.sp = sp;
    scratch->recipe.bp = mt_frame_pointer(regs);
    scratch->recipe.bx = mt_base_pointer(regs);
    scratch->recipe.stop = 0;
    return mt_unwind_current(scratch);
}

#elif defined(__TARGET_ARCH_arm64)

static __always_inline __u64 mt_instruction(struct pt_regs* regs) {
    return MT_REGS(regs)->pc;
}
static __always_inline struct mt_arguments mt_syscall_arguments(struct pt_regs* regs) {
    __u64* x = MT_REGS(regs)->regs;
    return (struct mt_arguments){{0, regs->orig_x0, x[1], x[2], x[3], x[4], x[5], 0}};
}
static __always_inline __u64 mt_syscall_number(struct pt_regs* regs) {
    return (__u32)regs->syscallno;
}
static __always_inline int mt_in_system_call(struct pt_regs* regs) {
    (void)regs;
    return 1; /* not told apart: the address may be named after the instruction before it */
}
static __always_inline __u64 mt_walk_current(struct pt_regs* regs, struct mt_stack_scratch* scratch, __u64 sp) {
    (void)regs, (void)scratch, (void)sp;
    return 0;
}

#endif

/* The same by frame pointers alone. */
MT_GLOBAL __u64 mt_frames_of(struct mt_stack* stack, __u64 ip, __u64 sp, __u64 fp) {
    if (!stack) {
        return 0;
    }
    stack->address[0] = ip;
    return mt_walk_frames(stack, 1, mt_hash_step(MT_HASH_SEED, ip), sp, fp);
}

/* Goes on from `code`, a return address, where the stack pointer is `sp`. */
static __always_inline __u64 mt_user_stack_from(struct pt_regs* regs, struct mt_stack_scratch* scratch, __u64 code, __u64 sp) {
    __u64 hash;
    scratch->stack.address[0] = code;
    hash = mt_walk_current(regs, scratch, sp);
    if (!hash) {
        hash = mt_frames_of(&scratch->stack, code, sp, mt_frame_pointer(regs));
        scratch->recipe.stop = mt_frames_stop(&scratch->stack);
    }
    return hash;
}

/* The stack of the current thread's user code, into scratch->stack. `regs`: of the user code, as bpf_task_pt_regs() has them, or a uprobe's
 * context. `scratch` must be this thread's own (task storage): a program can be preempted by another thread's. `*code` becomes the
 * stack's first address: behind the instruction that the thread stands at, as all addresses of a stack are return addresses. Returns the
 * hash of the addresses; 0: the thread has no user code (a kernel worker), and `*code` is 0. scratch->recipe.stop then says why
 * unwinding ended early (mt_count_stop). */
static __always_inline __u64 mt_user_stack(struct pt_regs* regs, struct mt_stack_scratch* scratch, __u64* code) {
    __u64 ip = mt_instruction(regs);

    if (ip < MT_MIN_CODE_ADDRESS || ip >= MT_MAX_CODE_ADDRESS) {
        *code = 0;
        return 0;
    }
    *code = mt_in_system_call(regs) ? ip : ip + 1;
    return mt_user_stack_from(regs, scratch, *code, mt_stack_pointer(regs));
}

/* The same from the caller on of a function without a frame: libc's of clone(2), which have no unwind information behind the system call,
 * as that would not be the child's. */
static __always_inline __u64 mt_caller_stack(struct pt_regs* regs, struct mt_stack_scratch* scratch, __u64* code) {
    __u64 ip = mt_return_address(regs);

    if (ip < MT_MIN_CODE_ADDRESS || ip >= MT_MAX_CODE_ADDRESS) {
        return mt_user_stack(regs, scratch, code);
    }
    *code = ip;
    return mt_user_stack_from(regs, scratch, ip, mt_stack_pointer(regs) + MT_RETURN_POPS);
}

#endif
