/* Return addresses that the kernel has replaced on the stack. For a return probe it writes its trampoline's address over the true one,
 * which it keeps in a list of the thread: the innermost call first.
 *
 *   task->utask->return_instances -> { stack, orig_ret_vaddr, next } -> { ... } -> 0
 *                                       |        the true address; the trampoline's again after a tail call: then a later
 *                                       |        entry of the same place knows what was there
 *                                       where it lies (SP at the function's entry)
 *
 * Who reads return addresses from the stack finds the trampoline, which belongs to no function. The unwinder of C++ then ends the
 * program. So before it starts, the true addresses go back where they were. Entries whose call was left without returning stay in the
 * list until the thread's next return probe; their place may hold anything by now, so a word is written only over the trampoline.
 */
#ifndef MEMTRACE_RETURNS_H
#define MEMTRACE_RETURNS_H

#include "bpf/arch.h"
#include "bpf/types.h"

/* After 64 calls that were left without returning (longjmp), the kernel places no more return probes in a thread, for good
 * (MAX_URETPROBE_DEPTH in kernel/events/uprobes.c). */
#define MAX_URETPROBE_DEPTH 64

static __always_inline int mt_returns_refused(struct task_struct* task) {
    struct uprobe_task* utask = task->utask;
    return utask && utask->depth >= MAX_URETPROBE_DEPTH;
}

/* The address that the kernel writes over return addresses in this process: the first bytes of its [uprobes] page. */
static __always_inline __u64 mt_trampoline_of(struct task_struct* task) {
#if defined(__TARGET_ARCH_x86)
    return BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
#else
    (void)task;
    return 0; /* the return address is in a register: nothing on the stack to compare */
#endif
}

static __always_inline __u64 mt_trampoline(void) {
    return mt_trampoline_of((void*)bpf_get_current_task());
}

/* The same for the current thread where the kernel has replaced an address of it; else, as a rule and found out cheaply, 0. */
static __always_inline __u64 mt_trampoline_in_use(struct task_struct* task) {
    struct uprobe_task* utask = task->utask;
    return utask && utask->depth ? mt_trampoline() : 0;
}

/* The kernel lets programs write to the memory of the process that they run in; not in lockdown, which secure boot turns on. (user) */
const volatile bool may_write_user = 0;

/* Lists in `event` what is to be put back for all calls of the current thread in frames at `sp` or above: `parent` counts it, unused slots
 * are zero. Where there is more than MT_MAX_RETURN_SLOTS, some is missing. The count lies in memory because what a register holds is
 * followed by the verifier: for each of its values the whole loop. */
static __always_inline void mt_find_returns(struct task_struct* task, __u64 sp, struct mt_unwind_event* event) {
    struct return_instance* entry = BPF_CORE_READ(task, utask, return_instances);
    __u64 trampoline = event->trampoline;

    event->event.parent = 0;
    __builtin_memset(event->slots, 0, sizeof(event->slots));
    for (__u32 i = 0; i < MAX_URETPROBE_DEPTH && entry; i++) {
        __u64 address = BPF_CORE_READ(entry, stack);
        __u64 value = BPF_CORE_READ(entry, orig_ret_vaddr);
        if (address >= sp && value != trampoline && mt_word_at(address) == trampoline) {
            __u32 at = event->event.parent++ & (MT_MAX_RETURN_SLOTS - 1);
            event->slots[at].address = address;
            event->slots[at].value = value;
        }
        entry = BPF_CORE_READ(entry, next);
    }
}

/* Puts back what mt_find_returns listed; the calls then return without their return probes. Returns how many could not be. */
static __always_inline __u32 mt_restore_returns(const struct mt_unwind_event* event) {
    __u32 failed = 0;
    for (__u32 i = 0; i < MT_MAX_RETURN_SLOTS; i++) {
        const struct mt_return_slot* slot = &event->slots[i];
        if (slot->address) {
            failed += bpf_probe_write_user((void*)slot->address, &slot->value, sizeof(slot->value)) != 0;
        }
    }
    return failed;
}

/* Writes a struct mt_pending_return for each call of `task`, any thread, that lies in its present stack. The thread may run meanwhile: what
 * is read then may be out of date, or nonsense; whether the trampoline is there shows in the process's memory. */
static __always_inline void mt_list_returns(struct seq_file* seq, struct task_struct* task) {
    struct mt_pending_return pending = {.tgid = task->tgid, .trampoline = mt_trampoline_of(task)};
    struct pt_regs* registers = (void*)bpf_task_pt_regs(task);
    struct return_instance* entry = BPF_CORE_READ(task, utask, return_instances);
    __u64 sp = mt_stack_pointer(registers);

    for (__u32 i = 0; i < MAX_URETPROBE_DEPTH && entry; i++) {
        pending.address = BPF_CORE_READ(entry, stack);
        if (pending.address >= sp) {
            bpf_seq_write(seq, &pending, sizeof(pending));
        }
        entry = BPF_CORE_READ(entry, next);
    }
}

#endif
