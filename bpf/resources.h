/* The resources tier's layouts, shared with the collector: descriptors, threads and timers, as the kernel gives them out and takes them
 * back. As types.h: fixed-width fields, sizes asserted, times CLOCK_MONOTONIC nanoseconds. */
#ifndef MEMTRACE_RESOURCES_H
#define MEMTRACE_RESOURCES_H

#include "bpf/stack_scratch.h"
#include "bpf/types.h"

enum mt_resource_family { MT_RESOURCE_DESCRIPTOR, MT_RESOURCE_THREAD, MT_RESOURCE_TIMER, MT_RESOURCE_FAMILIES };

/* What a system call does to resources, by its number in syscall_role. What it says of a result holds where it is no error. */
enum mt_syscall_role {
    MT_SYSCALL_NOTHING,
    MT_SYSCALL_OPENS,        /* its result is a new descriptor */
    MT_SYSCALL_OPENS_OTHER,  /* the same, where it is not its first argument: dup2, signalfd */
    MT_SYSCALL_CONTROLS,     /* fcntl: the same, with some commands */
    MT_SYSCALL_OPENS_TWO,    /* its first argument is the address of two of them: pipe */
    MT_SYSCALL_OPENS_PAIR,   /* its fourth argument is: socketpair */
    MT_SYSCALL_RECEIVES,     /* recvmsg: descriptors may have come with the message */
    MT_SYSCALL_CLOSES,       /* its first argument is closed, also where it fails, unless it was no descriptor */
    MT_SYSCALL_CLOSES_RANGE, /* too many to be told of one by one */
    MT_SYSCALL_ADDS_TIMER,   /* its third argument is the address of the new timer's number */
    MT_SYSCALL_DROPS_TIMER   /* its first argument was a timer's number */
};
#define MT_SYSCALLS 512 /* numbers below that have a role */

/* A followed process, by tgid. User space writes it but for `key`, which exec advances. */
struct mt_resource_process {
    mt_process_key key;
    __u32 active;
};
MT_STATIC_ASSERT(sizeof(struct mt_resource_process) == 8, "layout");

/* Ring buffer records. */
enum mt_resource_record_kind {
    MT_RESOURCE_ACQUIRED = 1, /* the name follows, where `size` leaves room for it */
    MT_RESOURCE_RELEASED,
    MT_RESOURCE_LOOK /* some of the family have gone: /proc knows which */
};

struct mt_resource_record {
    __u16 kind;
    __u16 size;
    mt_process_key key;
    __u32 family;
    __u32 id; /* descriptor, tid, the timer's number */
    __u32 tid;
    __u32 mode;  /* descriptors: of the file's inode, as in stat(2) */
    __u64 magic; /* descriptors: of the file system, as in statfs(2) */
    __u64 time_ns;
    __u64 stack; /* key in the resource_stacks map; 0: none stored */
    __u64 code;  /* innermost address, known even when the stack is not; 0: no stack */
};
MT_STATIC_ASSERT(sizeof(struct mt_resource_record) == 56, "layout");

/* The file's last name, with the closing zero; longer ones are cut. Sockets are called by their protocol, memory by what it is. */
#define MT_RESOURCE_NAME_BYTES 64

struct mt_named_resource_record {
    struct mt_resource_record head;
    char name[MT_RESOURCE_NAME_BYTES];
};
MT_STATIC_ASSERT(sizeof(struct mt_named_resource_record) == 56 + MT_RESOURCE_NAME_BYTES, "layout");

/* A thread's scratch. */
struct mt_resource_thread {
    struct mt_named_resource_record record;
    struct mt_stack_scratch scratch;
};

#endif
