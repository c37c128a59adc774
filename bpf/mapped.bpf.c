/* The mapped tier: what recipes say of functions and USDT probes that a program has anyway, told as the contract tier's records. The maps of
 * records, stacks, processes and scratch are those of contract.bpf.c. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/contract_record.h"
#include "bpf/mapped.h"
#include "bpf/program_probes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_mapped_thread);
} mapped_threads SEC(".maps");

/* ---- one record -------------------------------------------------------------------------------------------------------------- */

#if defined(__TARGET_ARCH_x86)

/* Of the kernel's types, what says where a thread's own data begins: there stands what pthread_self() returns. */
struct thread_struct___mt {
    unsigned long fsbase;
} __attribute__((preserve_access_index));
struct task_struct___mt {
    struct thread_struct___mt thread;
} __attribute__((preserve_access_index));

static __always_inline __u64 mt_mapped_self(struct task_struct* task) {
    return BPF_CORE_READ((struct task_struct___mt*)task, thread.fsbase);
}

/* The stack of the caller of a function that has just been entered or left: it goes on at `pc` with the stack pointer at `sp`. */
static __always_inline __u64 mt_mapped_walk(struct pt_regs* ctx, struct mt_stack_scratch* scratch, __u64 pc, __u64 sp) {
    __u64 hash;
    scratch->recipe.pc = pc;
    scratch->recipe.sp = sp;
    scratch->recipe.bp = mt_frame_pointer(ctx);
    scratch->recipe.bx = mt_base_pointer(ctx);
    scratch->recipe.stop = 0;
    scratch->stack.address[0] = pc;
    hash = mt_unwind_current(scratch);
    return hash ? hash : mt_frames_of(&scratch->stack, pc, sp, mt_frame_pointer(ctx));
}

#else

static __always_inline __u64 mt_mapped_self(struct task_struct* task) {
    (void)task;
    return 0; /* lies at a distance from the thread pointer that only the C library knows */
}
static __always_inline __u64 mt_mapped_walk(struct pt_regs* ctx, struct mt_stack_scratch* scratch, __u64 pc, __u64 sp) {
    return mt_frames_of(&scratch->stack, pc, sp, mt_frame_pointer(ctx));
}

#endif

/* Where the function that has just been entered returns to. */
static __always_inline __u64 mt_mapped_caller(struct pt_regs* ctx, struct task_struct* task) {
    __u64 pc = mt_return_address(ctx);
    __u64 trampoline = mt_trampoline_in_use(task);
    if (trampoline && pc == trampoline) { /* a tail call of a function with a return probe */
        __u64 replaced = mt_replaced_address(mt_stack_pointer(ctx));
        pc = replaced ? replaced : pc;
    }
    return pc;
}

static __always_inline struct mt_contract_thread* mt_mapped_scratch(struct task_struct* task, mt_process_key key) {
    struct mt_contract_thread* thread = bpf_task_storage_get(&contract_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_CONTRACT_COUNT(key, contract_state_lost);
    }
    return thread;
}

/* All of the record but its stack. Returns its size. */
static __always_inline __u32 mt_mapped_fill(struct mt_contract_thread* thread, mt_process_key key,
                                            const struct mt_mapped_call* call) {
    struct mt_contract_record_buffer* record = &thread->record;
    long size = 0;

    record->head = (struct mt_contract_record){.kind = MT_CONTRACT_MAPPED,
                                               .key = key,
                                               .tid = (__u32)bpf_get_current_pid_tgid(),
                                               .object = mt_mapped_unpack(call->cookie).number,
                                               .time_ns = bpf_ktime_get_ns()};
    record->body[MT_MAPPED_BEGAN_NS] = call->began_ns ? call->began_ns : record->head.time_ns;
    record->body[MT_MAPPED_ID] = call->id;
    record->body[MT_MAPPED_PARENT] = call->parent;
    record->body[MT_MAPPED_BYTES] = call->bytes;
    if (call->name) {
        size = bpf_probe_read_user_str(&record->body[MT_MAPPED_FIELDS], MT_CONTRACT_STRING_BYTES, (void*)call->name);
        if (size < 0) {
            MT_CONTRACT_COUNT(key, contract_unreadable);
            size = 0;
        }
    }
    size = size > MT_CONTRACT_STRING_BYTES ? MT_CONTRACT_STRING_BYTES : size;
    return sizeof(record->head) + 8 * MT_MAPPED_FIELDS + size;
}

/* Of a thread, or of a pthread_t, where no argument says it. */
static __always_inline __u64 mt_mapped_own_id(struct task_struct* task, __u32 id) {
    return id == MT_MAPPED_SELF ? mt_mapped_self(task) : (__u32)bpf_get_current_pid_tgid();
}

static __always_inline int mt_mapped_excluded(const struct mt_mapped_signature* signature, __u64 pointer, mt_process_key key) {
    __u32 word = 0;
    if (!signature->unless || !pointer) {
        return 0;
    }
    if (bpf_probe_read_user(&word, sizeof(word), (void*)(pointer + signature->unless_at))) {
        MT_CONTRACT_COUNT(key, contract_unreadable);
        return 0;
    }
    return (word & signature->unless_mask) != 0;
}

/* ---- functions --------------------------------------------------------------------------------------------------------------- */

static __always_inline __u64 mt_mapped_argument(struct pt_regs* ctx, const struct mt_arguments* arguments, __u32 number) {
    __u32 in_register = number;
    if (number >= 8) {
        return mt_word_at(mt_stack_pointer(ctx) + 8 * (number - 8) + MT_RETURN_POPS);
    }
    /* Its range hidden from the compiler, which would leave out the mask that the verifier wants. */
    __asm__ volatile("" : "+r"(in_register));
    return mt_argument(arguments, in_register);
}

/* Drops the calls that cannot be around a function that is entered at `sp`. */
static __always_inline void mt_mapped_drop(struct mt_mapped_thread* thread, __u64 sp, __u64 cookie, mt_process_key key) {
    for (__u32 i = 0; i < MT_MAPPED_DEPTH; i++) {
        __u32 last = thread->depth - 1;
        const struct mt_mapped_call* call;
        if (last >= MT_MAPPED_DEPTH) {
            return;
        }
        call = &thread->calls[last];
        if (call->sp > sp || (call->sp == sp && call->cookie != cookie)) { /* a tail call has its caller's stack pointer */
            return;
        }
        thread->depth = last;
        MT_CONTRACT_COUNT(key, mapped_stale);
    }
}

/* At a function's entry. True where its return is to be seen. */
static __always_inline int mt_mapped_enter(struct pt_regs* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_contract_process* process = mt_contract_process(task);
    __u64 cookie = bpf_get_attach_cookie(ctx);
    struct mt_mapped_signature signature = mt_mapped_unpack(cookie);
    struct mt_arguments arguments = mt_arguments_of(ctx);
    struct mt_mapped_thread* calls;
    struct mt_mapped_call call = {.cookie = cookie, .sp = mt_stack_pointer(ctx)};
    struct mt_contract_thread* thread;
    __u32 size;

    if (!process) {
        return 0;
    }
    MT_CONTRACT_COUNT(process->key, mapped_hits);
    if (mt_mapped_excluded(&signature, mt_mapped_argument(ctx, &arguments, signature.unless), process->key)) {
        return 0;
    }
    call.id = signature.id == MT_MAPPED_THREAD || signature.id == MT_MAPPED_SELF ? mt_mapped_own_id(task, signature.id)
              : signature.id == MT_MAPPED_RETURNED                               ? 0
                                                   : mt_mapped_argument(ctx, &arguments, signature.id);
    call.parent = mt_mapped_argument(ctx, &arguments, signature.parent);
    call.bytes = mt_mapped_argument(ctx, &arguments, signature.bytes);
    call.name = mt_mapped_argument(ctx, &arguments, signature.name);
    if (!call.id && signature.id != MT_MAPPED_RETURNED) {
        return 0; /* free(NULL) and the like */
    }
    if (!mt_mapped_returns(&signature)) {
        __u64 pc = mt_mapped_caller(ctx, task);
        thread = mt_mapped_scratch(task, process->key);
        if (thread) {
            size = mt_mapped_fill(thread, process->key, &call);
            thread->record.head.code = pc;
            mt_contract_keep_stack(thread, mt_mapped_walk(ctx, &thread->scratch, pc, call.sp + MT_RETURN_POPS));
            mt_contract_send(&thread->record.head, size);
        }
        return 0;
    }
    if (mt_returns_refused(task)) {
        MT_CONTRACT_COUNT(process->key, mapped_returns_refused);
        return 0;
    }
    calls = bpf_task_storage_get(&mapped_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!calls) {
        MT_CONTRACT_COUNT(process->key, contract_state_lost);
        return 0;
    }
    mt_mapped_drop(calls, call.sp, cookie, process->key);
    if (calls->depth >= MT_MAPPED_DEPTH) {
        MT_CONTRACT_COUNT(process->key, mapped_deep);
        return 0;
    }
    call.began_ns = bpf_ktime_get_ns();
    calls->calls[calls->depth & (MT_MAPPED_DEPTH - 1)] = call;
    calls->depth++;
    return 1;
}

/* The entry of the call that returns, taken out with all that was inside it; 0: it was not seen. */
static __always_inline struct mt_mapped_call* mt_mapped_take(struct mt_mapped_thread* thread, __u64 sp_after, __u64 cookie) {
    for (__u32 i = 0; i < MT_MAPPED_DEPTH; i++) {
        __u32 at = thread->depth - 1 - i;
        if (at < MT_MAPPED_DEPTH && thread->calls[at].sp + MT_RETURN_POPS == sp_after && thread->calls[at].cookie == cookie) {
            thread->depth = at;
            return &thread->calls[at];
        }
    }
    return 0;
}

/* True where a call inside this one has told of the same already: functions that do their work by another one of the recipe. */
static __always_inline int mt_mapped_told(struct mt_mapped_thread* thread, const struct mt_mapped_call* call, __u32 resource) {
    int told = thread->last_resource == resource && thread->last_id == call->id && thread->last_sp <= call->sp &&
               thread->last_ns >= call->began_ns;
    thread->last_resource = resource;
    thread->last_id = call->id;
    thread->last_sp = call->sp;
    thread->last_ns = bpf_ktime_get_ns();
    return told;
}

static __always_inline int mt_mapped_leave(struct pt_regs* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_contract_process* process = mt_contract_process(task);
    __u64 cookie = bpf_get_attach_cookie(ctx);
    struct mt_mapped_signature signature = mt_mapped_unpack(cookie);
    struct mt_mapped_thread* calls = bpf_task_storage_get(&mapped_threads, task, 0, 0);
    struct mt_mapped_call* call = calls ? mt_mapped_take(calls, mt_stack_pointer(ctx), cookie) : 0;
    __u64 returned = mt_return_value(ctx);
    struct mt_contract_thread* thread;
    __u64 pc = mt_instruction(ctx);
    __u32 size;

    if (!process) {
        return 0;
    }
    MT_CONTRACT_COUNT(process->key, mapped_returns);
    if (!call) {
        return 0;
    }
    if (!mt_mapped_succeeded(signature.success, returned)) {
        MT_CONTRACT_COUNT(process->key, mapped_failed);
        return 0;
    }
    if (signature.id == MT_MAPPED_RETURNED) { /* with a condition it is an int: of its register, only half is its */
        call->id = signature.success == MT_MAPPED_ALWAYS ? returned : (__u32)returned;
    } else if (signature.out && bpf_probe_read_user(&call->id, sizeof(call->id), (void*)call->id)) {
        MT_CONTRACT_COUNT(process->key, contract_unreadable);
        return 0;
    }
    if (!call->id && (signature.out || signature.success != MT_MAPPED_NOT_NEGATIVE)) { /* 0 is a file descriptor */
        MT_CONTRACT_COUNT(process->key, mapped_failed);
        return 0;
    }
    if (signature.acquire && mt_mapped_told(calls, call, MT_MAPPED_RESOURCE(signature.number))) {
        return 0;
    }
    thread = mt_mapped_scratch(task, process->key);
    if (thread) {
        size = mt_mapped_fill(thread, process->key, call);
        thread->record.head.code = pc;
        mt_contract_keep_stack(thread, mt_mapped_walk(ctx, &thread->scratch, pc, mt_stack_pointer(ctx)));
        mt_contract_send(&thread->record.head, size);
    }
    return 0;
}

SEC("?uprobe")
int mapped_enter(struct pt_regs* ctx) {
    mt_mapped_enter(ctx);
    return 0;
}

SEC("?uretprobe")
int mapped_return(struct pt_regs* ctx) {
    return mt_mapped_leave(ctx);
}

/* Both by one session, whose program declines the returns that say nothing (see alloc_call). */
extern bool bpf_session_is_return(void) __ksym __weak;

SEC("?uprobe")
int mapped_call(struct pt_regs* ctx) {
    if (bpf_session_is_return()) {
        return mt_mapped_leave(ctx);
    }
    return !mt_mapped_enter(ctx);
}

/* ---- USDT probes ------------------------------------------------------------------------------------------------------------- */

/* Argument `number`, from 1; 0 where there is none. */
static __always_inline __u64 mt_mapped_probe_argument(struct pt_regs* ctx, __u32 number, mt_process_key key) {
    long value = 0;
    if (number && bpf_usdt_arg(ctx, number - 1, &value)) {
        MT_CONTRACT_COUNT(key, contract_unreadable);
        value = 0;
    }
    return value;
}

SEC("usdt")
int mapped_probe(struct pt_regs* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_contract_process* process = mt_contract_process(task);
    struct mt_mapped_call call = {};
    struct mt_mapped_signature signature;
    struct mt_contract_thread* thread;
    __u32 size;

    if (!process) {
        return 0;
    }
    MT_CONTRACT_COUNT(process->key, mapped_hits);
    call.cookie = bpf_usdt_cookie(ctx);
    signature = mt_mapped_unpack(call.cookie);
    call.id = signature.id == MT_MAPPED_THREAD || signature.id == MT_MAPPED_SELF
                  ? mt_mapped_own_id(task, signature.id)
                  : mt_mapped_probe_argument(ctx, signature.id, process->key);
    call.parent = mt_mapped_probe_argument(ctx, signature.parent, process->key);
    call.bytes = mt_mapped_probe_argument(ctx, signature.bytes, process->key);
    call.name = mt_mapped_probe_argument(ctx, signature.name, process->key);
    thread = call.id ? mt_mapped_scratch(task, process->key) : 0;
    if (thread) {
        size = mt_mapped_fill(thread, process->key, &call);
        mt_contract_stack(ctx, thread);
        mt_contract_send(&thread->record.head, size);
    }
    return 0;
}
