/* The pages tier: where a process's memory grows, seen from the kernel's side, so that it needs to know nothing of its allocator.
 * README.md, "Pages", has the picture and what it costs. Each program is optional: the collector tries them. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/pages_maps.h"
#include "bpf/tier.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 page_bytes = 4096;
const volatile __u64 mmap_number = 0; /* of the system calls here (user) */
const volatile __u64 mremap_number = 0;

#define MT_PAGE_COUNT(key, name) mt_count_in(&page_counters, (key), MT_COUNTER_##name)

/* The stack of the current thread's user code, into its scratch: as mt_user_stack. */
static __always_inline __u64 mt_page_stack(mt_process_key key, struct task_struct* task, struct mt_page_thread* thread,
                                           __u64* code) {
    __u32 slot = MT_PROCESS_SLOT(key);
    struct mt_counters* c = bpf_map_lookup_elem(&page_counters, &slot);
    __u64 hash = mt_user_stack((struct pt_regs*)bpf_task_pt_regs(task), &thread->scratch, code);
    if (hash && c) {
        mt_count_stop(c, thread->scratch.recipe.stop);
    }
    return hash;
}

/* Keeps the stack. Returns its key, 0 where there is no room: then the innermost address has to do. */
static __always_inline __u64 mt_keep_stack(mt_process_key key, __u64 hash, const struct mt_stack* stack) {
    if (bpf_map_lookup_elem(&page_stacks, &hash)) {
        return hash;
    }
    if (bpf_map_update_elem(&page_stacks, &hash, stack, BPF_ANY)) {
        MT_PAGE_COUNT(key, pages_stacks_full);
        return 0;
    }
    return hash;
}

/* ---- resident memory ---------------------------------------------------------------------------------------------------------- */

/* A pointer as a number. The verifier lets nobody compute with some pointers, so it takes the way through a map's memory. */
static __always_inline __u64 as_number(void* pointer, __u64* by) {
    *(volatile __u64*)by = (__u64)pointer;
    return *(volatile __u64*)by;
}

/* How far this CPU's copies of per-CPU objects lie from where pointers to them point: told by a copy and the pointer to it. */
static __always_inline __u64 cpu_offset(struct mt_page_local* local) {
    __u32 slot = 0;
    void* copy = bpf_map_lookup_elem(&page_locals, &slot);

    if (!local->cpu_offset && copy) {
        __u64 pointer = as_number(&page_locals, &local->cpu_offset) + bpf_core_field_offset(struct bpf_array, pptrs);
        long error = bpf_probe_read_kernel(&pointer, sizeof(pointer), (void*)pointer);
        local->cpu_offset = error ? 0 : as_number(copy, &local->cpu_offset) - pointer;
    }
    return local->cpu_offset;
}

/* What Linux had before 6.2 in the place of percpu_counter. */
struct mm_rss_stat {
    int exists;
};
static __always_inline int before_6_2(void) {
    return bpf_core_type_exists(struct mm_rss_stat);
}

/* Pages by which the resident memory has changed since this was called last, here or on another CPU. The kernel keeps a total, and on
 * each CPU what is not in it yet; both are followed, so that the sum is right and each change is seen where it is made. Before 6.2
 * it keeps the total alone (`total`), and what a thread has gathered, up to 64 pages, arrives at once. What is seen first, of the
 * process or by a CPU, is what later changes count from. */
static __always_inline __s64 mt_resident_change(struct mt_page_process* process, struct mm_struct* mm, __u32 member,
                                                __s64 total) {
    __u32 slot = MT_PROCESS_SLOT(process->key);
    struct mt_page_local* local = bpf_map_lookup_elem(&page_locals, &slot);
    int first = process->mm[member] != (__u64)mm;
    __s64 change = 0;

    if (!local) {
        return 0;
    }
    if (!before_6_2()) {
        struct percpu_counter* counter = member == MT_PAGE_ANON ? &mm->rss_stat[MM_ANONPAGES] : &mm->rss_stat[MM_SHMEMPAGES];
        __u64 offset = cpu_offset(local);
        __s32 here = 0;
        total = BPF_CORE_READ(counter, count);
        if (offset) { /* else all of it arrives with the total, some 32 pages at once */
            bpf_probe_read_kernel(&here, sizeof(here), (void*)BPF_CORE_READ(counter, counters) + offset);
        }
        change = local->mm[member] == (__u64)mm ? here - local->count[member] : 0;
        local->mm[member] = (__u64)mm;
        local->count[member] = here;
    }
    change += total - __sync_lock_test_and_set(&process->resident[member], total);
    process->mm[member] = (__u64)mm;
    return first ? 0 : change;
}

static __always_inline void mt_add_to_site(struct mt_page_process* process, struct task_struct* task, __u64 bytes) {
    struct mt_page_thread* thread = bpf_task_storage_get(&page_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    mt_process_key process_key = process->key;
    __u64 key = MT_PAGE_OVERFLOW_KEY(process_key);
    struct mt_page_site* site = 0;

    if (!thread) {
        MT_PAGE_COUNT(process_key, pages_state_lost);
    } else {
        struct mt_page_site fresh = {.process = process_key};
        __u64 hash = mt_page_stack(process_key, task, thread, &fresh.code);
        key = mt_site_key(hash, process_key, MT_PAGE_MAP);
        site = bpf_map_lookup_elem(&page_sites, &key);
        if (!site) {
            fresh.stack = hash ? mt_keep_stack(process_key, hash, &thread->scratch.stack) : 0;
            bpf_map_update_elem(&page_sites, &key, &fresh, BPF_NOEXIST); /* unless another thread has just made it */
            site = bpf_map_lookup_elem(&page_sites, &key);
        }
    }
    if (!site) {
        MT_PAGE_COUNT(process_key, pages_sites_full);
        key = MT_PAGE_OVERFLOW_KEY(process_key);
        site = bpf_map_lookup_elem(&page_sites, &key);
    }
    if (site) {
        __sync_fetch_and_add(&site->bytes, bytes);
        __sync_fetch_and_add(&site->events, 1);
    }
}

/* rss_stat(mm, member), before Linux 6.2 (mm, member, total): the resident memory of `mm` has just changed. */
SEC("?raw_tp/rss_stat")
int resident_changed(struct bpf_raw_tracepoint_args* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mm_struct* mm = (void*)ctx->args[0];
    __u32 tgid = task->tgid;
    struct mt_page_process* process;
    __u32 member;
    __s64 change;

    if ((__u32)ctx->args[1] == MM_ANONPAGES) {
        member = MT_PAGE_ANON;
    } else if ((__u32)ctx->args[1] == MM_SHMEMPAGES) {
        member = MT_PAGE_SHMEM;
    } else {
        return 0;
    }
    process = bpf_map_lookup_elem(&page_processes, &tgid);
    /* Its own memory only: not a child's that it makes, nor the one that it leaves at its end or by exec. */
    if (!process || !process->active || task->mm != mm) {
        return 0;
    }
    change = mt_resident_change(process, mm, member, before_6_2() ? ctx->args[2] : 0);
    if (change > 0) {
        __sync_fetch_and_add(&process->faulted_bytes, change * page_bytes);
        mt_add_to_site(process, task, change * page_bytes);
    } else if (change < 0) {
        __sync_fetch_and_add(&process->returned_bytes, -change * page_bytes);
    }
    return 0;
}

/* ---- the address space -------------------------------------------------------------------------------------------------------- */

/* Part of the ABI: what the tracepoints of system calls are given. The number is an int: what lies behind it is whatever was on the
 * kernel's stack. */
struct mt_syscall_enter {
    __u64 common;
    __u32 number;
    __u32 unused;
    __u64 argument[6];
};
struct mt_syscall_exit {
    __u64 common;
    __u32 number;
    __u32 unused;
    __s64 result;
};

#define MT_MAP_FIXED 0x10
#define MT_MAP_ANONYMOUS 0x20
#define MT_MAP_FIXED_NOREPLACE 0x100000
#define MT_WAKE_UP_AT (256 * 1024) /* bytes of records: a quarter of the ring */

static __always_inline struct mt_page_process* mt_active_process(struct task_struct* task) {
    __u32 tgid = task->tgid;
    struct mt_page_process* process = bpf_map_lookup_elem(&page_processes, &tgid);
    return process && process->active ? process : 0;
}

static __always_inline struct mt_page_thread* mt_page_thread(struct mt_page_process* process, struct task_struct* task) {
    struct mt_page_thread* thread = bpf_task_storage_get(&page_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!thread) {
        MT_PAGE_COUNT(process->key, pages_state_lost);
    }
    return thread;
}

static __always_inline __u64 mt_page_align(__u64 bytes) {
    return (bytes + page_bytes - 1) & ~(__u64)(page_bytes - 1);
}

static __always_inline void mt_send(struct mt_page_process* process, const struct mt_page_record* record) {
    __u64 flags = bpf_ringbuf_query(&page_records, BPF_RB_AVAIL_DATA) > MT_WAKE_UP_AT ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
    if (bpf_ringbuf_output(&page_records, (void*)record, sizeof(*record), flags)) {
        MT_PAGE_COUNT(process->key, pages_records_lost);
    }
}

/* With the stack of the system call. */
static __always_inline void mt_send_with_stack(struct mt_page_process* process, struct task_struct* task,
                                               struct mt_page_record* record) {
    struct mt_page_thread* thread = mt_page_thread(process, task);
    if (thread) {
        __u64 hash = mt_page_stack(process->key, task, thread, &record->code);
        record->stack = hash ? mt_keep_stack(process->key, hash, &thread->scratch.stack) : 0;
    }
    mt_send(process, record);
}

static __always_inline struct mt_page_record mt_record(struct mt_page_process* process, enum mt_page_record_kind kind) {
    struct mt_page_record record = {.kind = kind, .size = sizeof(record), .key = process->key, .time_ns = bpf_ktime_get_ns()};
    record.begun_ns = record.time_ns;
    return record;
}

static __always_inline int mt_failed(__s64 result) {
    return result < 0 && result > -4096;
}

/* At entry: as soon as the memory is gone its addresses may be given out again, and that must come later. It fails where the arguments
 * make no sense, or for want of memory. */
SEC("?tp/syscalls/sys_enter_munmap")
int munmap_enter(struct mt_syscall_enter* ctx) {
    struct mt_page_process* process = mt_active_process(bpf_get_current_task_btf());
    struct mt_page_record record;

    if (!process || (ctx->argument[0] & (page_bytes - 1)) || !ctx->argument[1]) {
        return 0;
    }
    record = mt_record(process, MT_PAGE_UNMAP);
    record.address = ctx->argument[0];
    record.length = mt_page_align(ctx->argument[1]);
    mt_send(process, &record);
    return 0;
}

SEC("?tp/syscalls/sys_enter_mremap")
int mremap_enter(struct mt_syscall_enter* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_page_process* process = mt_active_process(task);
    struct mt_page_thread* thread = process ? mt_page_thread(process, task) : 0;
    (void)ctx;
    if (thread) {
        thread->begun_ns = bpf_ktime_get_ns();
    }
    return 0;
}

SEC("?tp/syscalls/sys_enter_brk")
int brk_enter(struct mt_syscall_enter* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_page_process* process = mt_active_process(task);
    struct mt_page_thread* thread = process ? mt_page_thread(process, task) : 0;
    (void)ctx;
    if (thread) {
        thread->old_break = BPF_CORE_READ(task, mm, brk);
    }
    return 0;
}

/* What a system call that has just ended did to the address space. 0: nothing; else whether its stack is wanted: MT_PLAIN, MT_WITH_STACK. */
enum { MT_PLAIN = 1, MT_WITH_STACK };

static __always_inline int mt_mapped(const struct mt_arguments* arguments, __s64 result, struct mt_page_record* record) {
    record->address = result;
    record->length = mt_page_align(arguments->value[2]);
    if (arguments->value[4] & MT_MAP_ANONYMOUS) {
        return MT_WITH_STACK;
    }
    record->kind = MT_PAGE_UNMAP; /* a file, over what may have been anonymous */
    return arguments->value[4] & MT_MAP_FIXED ? MT_PLAIN : 0;
}

static __always_inline int mt_moved(struct mt_page_thread* thread, const struct mt_arguments* arguments, __s64 result,
                                    struct mt_page_record* record) {
    record->kind = MT_PAGE_MOVE;
    record->begun_ns = thread->begun_ns;
    record->address = result;
    record->length = mt_page_align(arguments->value[3]);
    record->old_address = arguments->value[1];
    record->old_length = mt_page_align(arguments->value[2]);
    return thread->begun_ns ? MT_WITH_STACK : 0;
}

static __always_inline int mt_broken(struct mt_page_thread* thread, __s64 result, struct mt_page_record* record) {
    record->kind = MT_PAGE_BREAK;
    record->address = mt_page_align(result);
    record->old_address = mt_page_align(thread->old_break);
    return thread->old_break && record->address != record->old_address ? MT_WITH_STACK : 0;
}

/* The exits of mmap, mremap and brk: one program, since each that walks stacks takes the verifier 50 ms. */
SEC("?tp")
int mapping_exit(struct mt_syscall_exit* ctx) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_page_process* process = mt_active_process(task);
    struct mt_page_thread* thread = process ? mt_page_thread(process, task) : 0;
    struct mt_arguments arguments;
    struct mt_page_record record;
    int wanted;

    if (!thread || mt_failed(ctx->result)) {
        return 0;
    }
    arguments = mt_syscall_arguments((struct pt_regs*)bpf_task_pt_regs(task));
    record = mt_record(process, MT_PAGE_MAP);
    if (ctx->number == mmap_number) {
        wanted = mt_mapped(&arguments, ctx->result, &record);
    } else if (ctx->number == mremap_number) {
        wanted = mt_moved(thread, &arguments, ctx->result, &record);
    } else {
        wanted = mt_broken(thread, ctx->result, &record);
    }
    if (wanted == MT_WITH_STACK) {
        mt_send_with_stack(process, task, &record);
    } else if (wanted) {
        mt_send(process, &record);
    }
    return 0;
}

/* As memtrace.bpf.c does for the heap: what the new image does is not the old one's. */
SEC("?raw_tp/sched_process_exec")
int pages_exec(void* ctx) {
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct mt_page_process* process = bpf_map_lookup_elem(&page_processes, &tgid);
    (void)ctx;
    if (process) {
        process->key += 0x10000;
        process->faulted_bytes = process->returned_bytes = 0;
    }
    return 0;
}
