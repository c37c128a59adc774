/* The resources tier: descriptors, threads and timers of a process, seen where the kernel gives them out and takes them back, so that
 * nobody needs to annotate anything. README.md, "Resources", has the picture, the choice of places and what they cost. Each program is
 * optional: the collector loads those that are wanted. */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/resources_maps.h"
#include "bpf/tier.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u8 syscall_role[MT_SYSCALLS] = {}; /* by number here: enum mt_syscall_role (user) */
const volatile __u64 wake_up_at = 4096;             /* bytes of records: a quarter of the ring (user) */

/* Part of the ABI. */
#define MT_EBADF 9
#define MT_F_DUPFD 0
#define MT_F_DUPFD_CLOEXEC 1030
#define MT_CLOSE_RANGE_CLOEXEC 4
#define MT_SOL_SOCKET 1
#define MT_SCM_RIGHTS 1
#define MT_SCM_MAX_FD 253
struct mt_user_msghdr {
    __u64 name;
    __u64 name_length;
    __u64 vectors;
    __u64 vector_count;
    __u64 control;
    __u64 control_length; /* what the kernel has filled in */
};
struct mt_user_cmsghdr {
    __u64 length; /* with this header */
    __s32 level;
    __s32 type;
};

#define MT_RESOURCE_COUNT(key, name) mt_count_in(&resource_counters, (key), MT_COUNTER_##name)

static __always_inline struct mt_resource_process* mt_resource_process(__u32 tgid) {
    struct mt_resource_process* process = bpf_map_lookup_elem(&resource_processes, &tgid);
    return process && process->active ? process : 0;
}

static __always_inline struct mt_resource_record mt_resource_record(mt_process_key key, enum mt_resource_record_kind kind,
                                                                    enum mt_resource_family family, __u32 id) {
    return (struct mt_resource_record){.kind = kind,
                                       .size = sizeof(struct mt_resource_record),
                                       .key = key,
                                       .family = family,
                                       .id = id,
                                       .tid = (__u32)bpf_get_current_pid_tgid(),
                                       .time_ns = bpf_ktime_get_ns()};
}

static __always_inline void mt_send_resource(struct mt_resource_record* record, __u32 size) {
    int urgent = bpf_ringbuf_query(&resource_records, BPF_RB_AVAIL_DATA) > wake_up_at;
    record->size = size;
    if (bpf_ringbuf_output(&resource_records, record, size, urgent ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP)) {
        MT_RESOURCE_COUNT(record->key, resources_records_lost);
    }
}

static __always_inline void mt_send_released(mt_process_key key, enum mt_resource_family family, __u32 id) {
    struct mt_resource_record record = mt_resource_record(key, MT_RESOURCE_RELEASED, family, id);
    mt_send_resource(&record, sizeof(record));
}

/* The thread's scratch, with its stack taken, for any number of acquisitions at once; 0: counted. */
static __always_inline struct mt_resource_thread* mt_acquiring_thread(mt_process_key key, enum mt_resource_family family) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct mt_resource_thread* thread = bpf_task_storage_get(&resource_threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    struct pt_regs* regs = (struct pt_regs*)bpf_task_pt_regs(task);
    struct mt_resource_record* head;
    __u64 hash;

    if (!thread) {
        MT_RESOURCE_COUNT(key, resources_state_lost);
        return 0;
    }
    head = &thread->record.head;
    *head = mt_resource_record(key, MT_RESOURCE_ACQUIRED, family, 0);
    hash = family == MT_RESOURCE_THREAD ? mt_caller_stack(regs, &thread->scratch, &head->code)
                                        : mt_user_stack(regs, &thread->scratch, &head->code);
    head->stack =
        mt_kept_stack(&resource_counters, &resource_stacks, key, MT_COUNTER_resources_stacks_full, &thread->scratch, hash);
    return thread;
}

static __always_inline void mt_send_acquired(mt_process_key key, enum mt_resource_family family, __u32 id) {
    struct mt_resource_thread* thread = mt_acquiring_thread(key, family);
    if (thread) {
        thread->record.head.id = id;
        mt_send_resource(&thread->record.head, sizeof(thread->record.head));
    }
}

/* ---- descriptors -------------------------------------------------------------------------------------------------------------- */

/* What the current process's table has there, as a number; 0: nothing. */
static __always_inline __u64 mt_file_at(__u32 descriptor) {
    struct task_struct* task = bpf_get_current_task_btf();
    struct fdtable* table = BPF_CORE_READ(task, files, fdt);
    struct file** files = BPF_CORE_READ(table, fd);
    __u64 file = 0;

    if (descriptor < BPF_CORE_READ(table, max_fds)) {
        bpf_probe_read_kernel(&file, sizeof(file), files + descriptor);
    }
    return file;
}

/* Tells of a descriptor that the system call has just made, if another thread has not closed it already. Global, so that a loop around it
 * is verified without its body. */
MT_GLOBAL int mt_tell_opened(struct mt_resource_thread* thread, __u32 descriptor) {
    struct file* file = (struct file*)mt_file_at(descriptor);
    struct mt_resource_record* head;
    long length;

    if (!thread || !file) {
        return 0;
    }
    head = &thread->record.head;
    head->id = descriptor;
    head->mode = BPF_CORE_READ(file, f_inode, i_mode);
    head->magic = BPF_CORE_READ(file, f_inode, i_sb, s_magic);
    length =
        bpf_probe_read_kernel_str(thread->record.name, MT_RESOURCE_NAME_BYTES, BPF_CORE_READ(file, f_path.dentry, d_name.name));
    length = length < 0 ? 0 : length > MT_RESOURCE_NAME_BYTES ? MT_RESOURCE_NAME_BYTES : length;
    mt_send_resource(head, sizeof(*head) + length);
    return 0;
}

static __always_inline void mt_opened(mt_process_key key, __u32 descriptor) {
    struct mt_resource_thread* thread = mt_acquiring_thread(key, MT_RESOURCE_DESCRIPTOR);
    if (thread) {
        mt_tell_opened(thread, descriptor);
    }
}

static __always_inline void mt_opened_two(mt_process_key key, __u64 address) {
    __u32 descriptors[2];
    struct mt_resource_thread* thread;

    if (bpf_probe_read_user(descriptors, sizeof(descriptors), (void*)address)) {
        MT_RESOURCE_COUNT(key, resources_unreadable);
        return;
    }
    thread = mt_acquiring_thread(key, MT_RESOURCE_DESCRIPTOR);
    if (thread) {
        mt_tell_opened(thread, descriptors[0]);
        mt_tell_opened(thread, descriptors[1]);
    }
}

/* The descriptors in a message's control data stand behind the sender's credentials and the like, of which the kernel has three. */
static __always_inline void mt_received(mt_process_key key, __u64 message) {
    struct mt_user_msghdr header;
    struct mt_user_cmsghdr control = {};
    struct mt_resource_thread* thread;
    __u64 at, end;
    __u32 count;

    if (bpf_probe_read_user(&header, sizeof(header), (void*)message)) {
        MT_RESOURCE_COUNT(key, resources_unreadable);
        return;
    }
    at = header.control;
    end = at + header.control_length;
    for (int i = 0; i < 4; i++) {
        if (at + sizeof(control) > end) {
            return;
        }
        if (bpf_probe_read_user(&control, sizeof(control), (void*)at)) {
            MT_RESOURCE_COUNT(key, resources_unreadable);
            return;
        }
        if (control.level == MT_SOL_SOCKET && control.type == MT_SCM_RIGHTS) {
            break;
        }
        at += (control.length + 7) & ~7ull;
    }
    if (control.level != MT_SOL_SOCKET || control.type != MT_SCM_RIGHTS) {
        return;
    }
    thread = mt_acquiring_thread(key, MT_RESOURCE_DESCRIPTOR);
    if (!thread) {
        return;
    }
    at += sizeof(control);
    count = (control.length - sizeof(control)) / sizeof(__u32);
    for (__u32 i = 0; i < MT_SCM_MAX_FD && i < count; i++) {
        __u32 descriptor;
        if (bpf_probe_read_user(&descriptor, sizeof(descriptor), (void*)(at + i * sizeof(__u32)))) {
            MT_RESOURCE_COUNT(key, resources_unreadable);
            return;
        }
        mt_tell_opened(thread, descriptor);
    }
}

/* The table is looked at after the fact. Another thread may have been given the number by then: it tells of that itself, and that this one
 * has gone shows there. If it has been given the number since the look, it tells with a later time. */
static __always_inline void mt_closed(mt_process_key key, __u32 descriptor) {
    struct mt_resource_record record = mt_resource_record(key, MT_RESOURCE_RELEASED, MT_RESOURCE_DESCRIPTOR, descriptor);
    if (!mt_file_at(descriptor)) {
        mt_send_resource(&record, sizeof(record));
    }
}

static __always_inline void mt_closed_range(mt_process_key key, __u64 flags) {
    struct mt_resource_record record = mt_resource_record(key, MT_RESOURCE_LOOK, MT_RESOURCE_DESCRIPTOR, 0);
    if (!(flags & MT_CLOSE_RANGE_CLOEXEC)) {
        mt_send_resource(&record, sizeof(record));
    }
}

/* ---- timers ------------------------------------------------------------------------------------------------------------------- */

static __always_inline void mt_timer_added(mt_process_key key, __u64 address) {
    __u32 timer;
    if (bpf_probe_read_user(&timer, sizeof(timer), (void*)address)) {
        MT_RESOURCE_COUNT(key, resources_unreadable);
        return;
    }
    mt_send_acquired(key, MT_RESOURCE_TIMER, timer);
}

/* ---- the places --------------------------------------------------------------------------------------------------------------- */

/* Whether a call that has gone well has made the descriptor that it returns. */
static __always_inline int mt_opens(__u32 role, const struct mt_arguments* arguments, long result) {
    switch (role) {
    case MT_SYSCALL_OPENS:
        return 1;
    case MT_SYSCALL_OPENS_OTHER:
        return (__u32)arguments->value[1] != (__u32)result;
    case MT_SYSCALL_CONTROLS:
        return arguments->value[2] == MT_F_DUPFD || arguments->value[2] == MT_F_DUPFD_CLOEXEC;
    default:
        return 0;
    }
}

/* sys_exit(regs, result): runs for each system call of the machine, so most leave by the first line. */
SEC("?tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs* regs, long result) {
    __u64 number = mt_syscall_number(regs);
    __u32 role = number < MT_SYSCALLS ? syscall_role[number] : MT_SYSCALL_NOTHING;
    struct mt_resource_process* process;
    struct mt_arguments arguments;
    mt_process_key key;

    (void)ctx;
    if (role == MT_SYSCALL_NOTHING || (result < 0 && role != MT_SYSCALL_CLOSES)) {
        return 0;
    }
    process = mt_resource_process(bpf_get_current_pid_tgid() >> 32);
    if (!process) {
        return 0;
    }
    key = process->key;
    arguments = mt_syscall_arguments(regs);
    if (mt_opens(role, &arguments, result)) {
        mt_opened(key, result);
    } else if (role == MT_SYSCALL_CLOSES && result != -MT_EBADF) {
        mt_closed(key, arguments.value[1]);
    } else if (role == MT_SYSCALL_RECEIVES) {
        mt_received(key, arguments.value[2]);
    } else if (role == MT_SYSCALL_OPENS_TWO) {
        mt_opened_two(key, arguments.value[1]);
    } else if (role == MT_SYSCALL_OPENS_PAIR) {
        mt_opened_two(key, arguments.value[4]);
    } else if (role == MT_SYSCALL_CLOSES_RANGE) {
        mt_closed_range(key, arguments.value[3]);
    } else if (role == MT_SYSCALL_ADDS_TIMER) {
        mt_timer_added(key, arguments.value[3]);
    } else if (role == MT_SYSCALL_DROPS_TIMER) {
        mt_send_released(key, MT_RESOURCE_TIMER, arguments.value[1]);
    }
    return 0;
}

/* sched_process_fork(parent, child): in the parent, before the child runs. */
SEC("?tp_btf/sched_process_fork")
int BPF_PROG(thread_begin, struct task_struct* parent, struct task_struct* child) {
    struct mt_resource_process* process;
    (void)ctx;
    if (parent->tgid != child->tgid) {
        return 0; /* another process */
    }
    process = mt_resource_process(child->tgid);
    if (process) {
        mt_send_acquired(process->key, MT_RESOURCE_THREAD, child->pid);
    }
    return 0;
}

/* sched_process_exit(task): each thread passes here when it ends, itself, in the kernel for good. */
SEC("?raw_tp/sched_process_exit")
int thread_end(void* ctx) {
    __u64 pid_tgid = bpf_get_current_pid_tgid();
    struct mt_resource_process* process = mt_resource_process(pid_tgid >> 32);
    (void)ctx;
    if (process) {
        mt_send_released(process->key, MT_RESOURCE_THREAD, (__u32)pid_tgid);
    }
    return 0;
}

/* As memtrace.bpf.c does for the heap: what the new image does is not the old one's. */
SEC("?raw_tp/sched_process_exec")
int resources_exec(void* ctx) {
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct mt_resource_process* process = bpf_map_lookup_elem(&resource_processes, &tgid);
    (void)ctx;
    if (process) {
        process->key += 0x10000;
    }
    return 0;
}
