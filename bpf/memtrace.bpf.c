/* The kernel half of memtrace: probes on allocator functions keep a map of live blocks and totals by call site; tracepoints and the
 * dynamic linker's debugger hook report what changes about a process. README.md in this folder has the picture. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/heap.h"
#include "bpf/returns.h"
#include "bpf/unwind_maps.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* ---- allocator calls ---------------------------------------------------------------------------------------------------------- */

/* What the hit cost: the collector knows the rest of it. */
static __always_inline void count_step(__u64 cookie, struct mt_counters* c) {
    if (cookie & MT_COOKIE_STEPPED) {
        MT_COUNT(c, stepped_hits);
    }
}

/* Drops a call that was left without returning. Whether it took effect is unknown; a tentative removal is undone. */
static __always_inline void abandon_call(struct mt_thread* thread, struct mt_counters* c) {
    struct mt_call* call = &thread->call;
    MT_COUNT(c, inflight_stale);
    if (call->nested) {
        MT_COUNT_N(c, nested_misjudged, call->nested);
    }
    mt_settle_old_block(call, 0, c);
    call->sp = 0;
}

/* True where the thread is inside a traced call already. */
static __always_inline int is_nested(struct mt_thread* thread, __u64 sp, __u64 cookie, struct mt_counters* c) {
    struct mt_call* call = &thread->call;
    if (call->sp == 0) {
        return 0;
    }
    if (call->declined) {
        if (mt_may_be_inside_declined(call, sp, cookie) && mt_word_at(call->sp) == call->return_address) {
            MT_COUNT(c, nested_calls);
            return 1;
        }
        call->sp = 0;
        return 0;
    }
    if (mt_classify_entry(call, sp, mt_word_at(call->sp), mt_trampoline()) == MT_ENTRY_NESTED) {
        call->nested++;
        MT_COUNT(c, nested_calls);
        return 1;
    }
    abandon_call(thread, c);
    return 0;
}

static __always_inline __u64 mt_requested_size(const struct mt_arguments* arguments, const struct mt_signature* signature) {
    __u64 size = mt_argument(arguments, signature->size);
    return signature->count ? mt_total_size(mt_argument(arguments, signature->count), size) : size;
}

/* Whether this allocation is to be recorded. */
static __always_inline int sample(struct mt_sampler* sampler, __u64 interval, __u64 size) {
    if (interval == 0) {
        return 1;
    }
    if (!mt_sampler_is_set(sampler, interval)) {
        mt_sampler_set(sampler, interval, bpf_get_prandom_u32(), sample_draws);
    }
    return mt_sampler_takes(sampler, size);
}

/* The caller of the function that has just been entered. Its stack is looked at next. */
static __always_inline __u64 begin_stack(struct pt_regs* ctx, struct mt_stack_window* window) {
#if defined(__TARGET_ARCH_x86)
    __u64 address = 0;
    mt_window_close(window);
    mt_window_read(window, mt_stack_pointer(ctx), &address);
    return address;
#else
    (void)window;
    return mt_return_address(ctx);
#endif
}

/* The stack of the call that has just been entered, into the thread's scratch. Returns its hash. */
static __always_inline __u64 capture_stack(struct pt_regs* ctx, struct task_struct* task, struct mt_thread* thread,
                                           const struct mt_process* process, struct mt_counters* c) {
    __u64 hash;
#if defined(__TARGET_ARCH_x86)
    __u64 space = process->space;
    if (space >> 32 == thread->call.process && (__u32)space != MT_NO_SHARD) {
        __u64 pc = thread->call.return_address;
        __u64 trampoline = mt_trampoline_in_use(task);
        struct mt_recipe* recipe = &thread->recipe;
        struct mt_cursor cursor;
        int known;
        if (pc == trampoline) { /* a tail call of a function with a return probe */
            __u64 replaced = mt_replaced_address(mt_stack_pointer(ctx));
            pc = replaced ? replaced : pc;
        }
        thread->stack.address[0] = pc;
        recipe->space = space;
        recipe->pc = pc;
        recipe->sp = mt_stack_pointer(ctx) + MT_RETURN_POPS;
        recipe->bp = mt_frame_pointer(ctx);
        recipe->bx = mt_base_pointer(ctx);
        hash = mt_recall_or_unwind(&thread->stack, recipe, &thread->window, &cursor, trampoline, max_frames, &known);
        if (known) {
            MT_COUNT(c, walks_recalled);
        }
        mt_count_stop(c, recipe->stop);
        return hash;
    }
#endif
    (void)task, (void)process;
    hash = mt_walk(ctx, thread->call.return_address, &thread->stack);
    mt_count_stop(c, mt_frames_stop(&thread->stack));
    return hash;
}

/* What an allocation probe at a function's entry does. True where the function's return is to be seen too; `declinable`: where the
 * kernel takes no for an answer. */
static __always_inline int enter_call(struct pt_regs* ctx, int declinable) {
    __u64 cookie = bpf_get_attach_cookie(ctx);
    struct mt_signature signature = mt_signature_unpack(cookie);
    struct mt_arguments arguments = mt_arguments_of(ctx);
    struct mt_counters* c;
    struct mt_process* process = mt_active_process(cookie, &c);
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_thread* thread;
    struct mt_call* call;
    __u64 sp = mt_stack_pointer(ctx);
    __u64 size;
    int kept;

    if (!process) {
        return 0;
    }
    MT_COUNT(c, hits_enter);
    count_step(cookie, c);
    if (mt_returns_refused(task)) {
        MT_COUNT(c, returns_refused);
        MT_COUNT_N(c, returns_refused_bytes, mt_requested_size(&arguments, &signature));
        return 0;
    }
    thread = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_COUNT(c, task_state_lost);
        return 0;
    }
    call = &thread->call;
    if (is_nested(thread, sp, cookie, c)) {
        return 0;
    }
    size = mt_requested_size(&arguments, &signature);
    kept = sample(&thread->sampler, process->interval, size);
    call->return_address = kept ? begin_stack(ctx, &thread->window) : mt_return_address(ctx);
    call->cookie = cookie;
    call->process = process->key;
    call->nested = 0;
    call->ptr = mt_argument(&arguments, signature.ptr);
    call->has_old = call->ptr && mt_take_block(call->ptr, call->process, &call->old);
    call->kept = kept;
    call->declined = declinable && !kept && !call->has_old;
    call->sp = sp;
    if (call->declined) {
        return 0;
    }
    call->size = size;
    call->interval = process->interval;
    call->out = mt_argument(&arguments, signature.out);
    if (kept) {
        call->stack_hash = capture_stack(ctx, task, thread, process, c);
    }
    return 1;
}

/* What it does at the return. */
static __always_inline int leave_call(struct pt_regs* ctx) {
    __u64 cookie = bpf_get_attach_cookie(ctx);
    struct mt_counters* c;
    struct mt_process* process = mt_known_process(cookie, &c);
    struct mt_thread* thread;
    struct mt_call* call;
    __u64 result = mt_return_value(ctx);

    if (!process) {
        return 0;
    }
    if (process->active) {
        MT_COUNT(c, hits_return);
    }
    thread = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
    if (!thread) {
        return 0;
    }
    call = &thread->call;
    /* After a tail call both functions return at once, the inner one first, with one stack pointer: the cookie tells them apart. */
    if (!mt_is_own_return(call, mt_stack_pointer(ctx), MT_RETURN_POPS) || call->cookie != cookie || call->declined) {
        return 0;
    }
    call->sp = 0;
    if (!process->active) { /* deactivated meanwhile: figures stand still */
        return 0;
    }
    if (call->out) { /* returns an error number, and the block through a pointer */
        __u64 address = 0;
        if ((__u32)result == 0 && bpf_probe_read_user(&address, sizeof(address), (void*)call->out)) {
            MT_COUNT(c, out_unreadable);
            return 0;
        }
        result = address;
    }
    if (!result) {
        /* realloc to nothing frees; any other null result leaves everything as it was. */
        int freed = call->ptr && call->size == 0;
        if (!freed) {
            MT_COUNT(c, failed_allocs);
        } else if (!call->has_old && !call->interval) {
            MT_COUNT(c, unmatched_frees);
        }
        mt_settle_old_block(call, freed, c);
        return 0;
    }
    if (call->ptr && !call->has_old && !call->interval) {
        MT_COUNT(c, unmatched_frees);
    }
    mt_settle_old_block(call, 1, c);
    if (call->kept) {
        mt_add_block(call, &thread->stack, result, c);
    }
    return 0;
}

/* Entry and return, by two probes ... */
SEC("?uprobe")
int alloc_enter(struct pt_regs* ctx) {
    enter_call(ctx, 0);
    return 0;
}

SEC("?uretprobe")
int alloc_return(struct pt_regs* ctx) {
    return leave_call(ctx);
}

/* ... or by one session, whose program is run at both and says at the entry whether it wants the return: a call inside another one
 * pays for no second trap (Linux 6.13, "bpf: Add support for uprobe multi session attach"). */
extern bool bpf_session_is_return(void) __ksym __weak;

SEC("?uprobe")
int alloc_call(struct pt_regs* ctx) {
    if (bpf_session_is_return()) {
        return leave_call(ctx);
    }
    return !enter_call(ctx, 1);
}

SEC("uprobe")
int free_enter(struct pt_regs* ctx) {
    __u64 cookie = bpf_get_attach_cookie(ctx);
    struct mt_counters* c;
    struct mt_process* process = mt_active_process(cookie, &c);
    struct mt_live_block block;
    struct mt_thread* thread;
    struct mt_arguments arguments = mt_arguments_of(ctx);
    __u64 address = mt_argument(&arguments, mt_signature_unpack(cookie).ptr);

    if (!process) {
        return 0;
    }
    MT_COUNT(c, hits_free);
    count_step(cookie, c);
    if (!address) {
        return 0;
    }
    thread = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
    if (thread && !thread->call.declined && is_nested(thread, mt_stack_pointer(ctx), cookie, c)) {
        return 0;
    }
    if (mt_take_block(address, process->key, &block)) {
        mt_account_free(&block);
    } else if (!process->interval) { /* else most are of allocations that were not sampled */
        MT_COUNT(c, unmatched_frees);
    }
    return 0;
}

/* Run over all threads of the machine when probes go: names the calls of followed processes that are still in flight. */
SEC("iter/task")
int list_returns(struct bpf_iter__task* ctx) {
    struct task_struct* task = ctx->task;
    __u32 tgid;

    if (!task) {
        return 0;
    }
    tgid = task->tgid;
    if (bpf_map_lookup_elem(&slots, &tgid)) {
        mt_list_returns(ctx->meta->seq, task);
    }
    return 0;
}

struct task_struct___smp { /* without that there is one processor, which is ours while this runs */
    int on_cpu;
} __attribute__((preserve_access_index));

/* Run over all threads of the machine where somebody looks for what leads to a block of memory: registers do, too. */
SEC("iter/task")
int list_threads(struct bpf_iter__task* ctx) {
    struct task_struct* task = ctx->task;
    struct mt_thread_registers thread = {};
    struct pt_regs* registers;

    if (!task) {
        return 0;
    }
    thread.tgid = task->tgid;
    if (!bpf_map_lookup_elem(&slots, &thread.tgid)) {
        return 0;
    }
    registers = (void*)bpf_task_pt_regs(task);
    thread.stack_pointer = mt_stack_pointer(registers);
#if defined(__TARGET_ARCH_x86)
    bpf_probe_read_kernel(thread.registers, 15 * sizeof(__u64), registers); /* r15 to di, as entry code pushes them */
#else
    bpf_probe_read_kernel(thread.registers, sizeof(thread.registers), registers);
#endif
    thread.runs =
        bpf_core_field_exists(struct task_struct___smp, on_cpu) && BPF_CORE_READ((struct task_struct___smp*)task, on_cpu) != 0;
    bpf_seq_write(ctx->meta->seq, &thread, sizeof(thread));
    return 0;
}

/* ---- the life of a process ---------------------------------------------------------------------------------------------------- */

static __always_inline void send_event(__u16 kind, __u32 slot, __u32 tgid, __u32 parent, mt_process_key key) {
    struct mt_event* event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        struct mt_counters* c = bpf_map_lookup_elem(&counters, &slot);
        if (c) {
            MT_COUNT(c, events_lost);
        }
        return;
    }
    event->kind = kind;
    event->size = sizeof(*event);
    event->tgid = tgid;
    event->parent = parent;
    event->key = key;
    event->time_ns = bpf_ktime_get_ns();
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    bpf_ringbuf_submit(event, 0);
}

/* Another memtrace's program has just been here and sent the signal: its collector does the same as ours would. */
static __always_inline int is_about_to_stop(struct task_struct* task) {
    return (BPF_CORE_READ(task, pending.signal.sig[0]) >> (19 /* SIGSTOP */ - 1)) & 1;
}

/* The collector will do it while the process stands still. 0, or an error. */
static __always_inline int ask_to_restore(struct mt_unwind_event* event, const struct mt_process* process,
                                          struct task_struct* task) {
    event->event.kind = MT_EVENT_UNWIND;
    event->event.size = sizeof(*event);
    event->event.tgid = process->tgid;
    event->event.key = process->key;
    event->event.time_ns = bpf_ktime_get_ns();
    bpf_get_current_comm(event->event.comm, sizeof(event->event.comm));
    event->switches = task->nvcsw;
    event->tid = (__u32)bpf_get_current_pid_tgid();
    event->zero = 0;
    return bpf_ringbuf_output(&events, event, sizeof(*event), 0) || bpf_send_signal_thread(19 /* SIGSTOP */);
}

/* An exception is about to pass through the calls in flight, or a cancelled thread leaves all its frames: the true return addresses must
 * be back first (bpf/returns.h). Where the kernel does not let it be done here, the process is stopped for the moment that the collector
 * needs to do it. An allocator that throws is next to unknown: this costs others a probe hit for each exception. It is done for
 * inactive processes too: calls may be in flight when tracing ends. */
SEC("uprobe")
int unwind_enter(struct pt_regs* ctx) {
    struct mt_counters* c;
    struct mt_process* process = mt_known_process(bpf_get_attach_cookie(ctx), &c);
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_thread* thread;
    struct mt_unwind_event* event;
    __u64 trampoline = mt_trampoline_in_use(task);
    __u64 sp = mt_stack_pointer(ctx);
    __u32 count;
    __u32 lost;

    if (!process || !trampoline) {
        return 0;
    }
    thread = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_COUNT(c, task_state_lost);
        return 0;
    }
    event = &thread->unwinding;
    event->trampoline = trampoline;
    mt_find_returns(task, sp, event);
    count = event->event.parent;
    if (count == 0) { /* as it is practically always */
        return 0;
    }
    lost = count > MT_MAX_RETURN_SLOTS ? count - MT_MAX_RETURN_SLOTS : 0;
    if (may_write_user) {
        lost += mt_restore_returns(event);
    } else if (!is_about_to_stop(task) && ask_to_restore(event, process, task)) {
        lost = count;
    }
    if (lost) {
        MT_COUNT_N(c, unwound_lost, lost);
    }
    if (thread->call.sp >= sp && !thread->call.declined) {
        MT_COUNT(c, unwound_calls);
        thread->call.nested = 0; /* those were inside it indeed */
        abandon_call(thread, c); /* even if it returns after all: its return probe is gone */
    }
    return 0;
}

/* A call in flight that jumps does not come back. Without this hook the abandoned frame is known by the stack alone, and that only
 * once something has overwritten it. */
SEC("uprobe")
int jump_enter(struct pt_regs* ctx) {
    struct mt_counters* c;
    struct mt_process* process = mt_known_process(bpf_get_attach_cookie(ctx), &c);
    struct mt_thread* thread;

    if (!process) {
        return 0;
    }
    thread = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
    if (thread && !thread->call.declined && thread->call.sp > mt_stack_pointer(ctx) &&
        mt_word_at(thread->call.sp) == mt_trampoline()) {
        thread->call.nested = 0; /* those were inside it indeed */
        abandon_call(thread, c);
    }
    return 0;
}

/* The dynamic linker calls its debugger hook when a library has been mapped or unmapped. */
SEC("uprobe")
int library_changed(struct pt_regs* ctx) {
    __u32 slot = mt_signature_unpack(bpf_get_attach_cookie(ctx)).slot;
    struct mt_process* process = bpf_map_lookup_elem(&processes, &slot);
    if (process) {
        send_event(MT_EVENT_LIBRARY, slot, process->tgid, 0, process->key);
    }
    return 0;
}

SEC("raw_tp/sched_process_exec")
int process_exec(void* ctx) {
    (void)ctx;
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    __u32* slot = bpf_map_lookup_elem(&slots, &tgid);
    if (slot) {
        struct mt_process* process = bpf_map_lookup_elem(&processes, slot);
        struct mt_thread* thread = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0, 0);
        if (thread) {
            thread->call.sp = 0;
        }
        if (process) {
            process->key += 0x10000; /* the old image's blocks went with its memory */
            send_event(MT_EVENT_EXEC, *slot, tgid, 0, process->key);
        }
        return 0;
    }
    struct task_struct* task = (void*)bpf_get_current_task();
    __u32 parent = BPF_CORE_READ(task, real_parent, tgid);
    slot = bpf_map_lookup_elem(&slots, &parent);
    if (slot) {
        struct mt_process* process = bpf_map_lookup_elem(&processes, slot);
        if (process && process->follow) {
            send_event(MT_EVENT_CHILD_EXEC, *slot, tgid, parent, process->key);
        }
    }
    return 0;
}

SEC("raw_tp/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args* ctx) {
    struct task_struct* parent = (void*)ctx->args[0];
    struct task_struct* child = (void*)ctx->args[1];
    __u32 parent_tgid = BPF_CORE_READ(parent, tgid);
    __u32 child_tgid = BPF_CORE_READ(child, tgid);
    __u32* slot = bpf_map_lookup_elem(&slots, &parent_tgid);
    struct mt_process* process = slot ? bpf_map_lookup_elem(&processes, slot) : 0;

    if (!process || !process->follow || child_tgid == parent_tgid) {
        return 0;
    }
    /* After vfork the child runs in its parent's memory, which is followed already: its own begins with exec. */
    if (BPF_CORE_READ(child, mm) != BPF_CORE_READ(parent, mm)) {
        send_event(MT_EVENT_FORK, *slot, child_tgid, parent_tgid, process->key);
    }
    return 0;
}
