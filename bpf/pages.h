/* The pages tier's layouts, shared with the collector: what the kernel tells of the memory of a process without looking at its
 * allocator. As types.h: fixed-width fields, sizes asserted, times CLOCK_MONOTONIC nanoseconds. */
#ifndef MEMTRACE_PAGES_H
#define MEMTRACE_PAGES_H

#include "bpf/stack_scratch.h"
#include "bpf/types.h"

/* Resident memory is told for these; pages of files are the page cache's and grow nobody. */
enum mt_page_member { MT_PAGE_ANON, MT_PAGE_SHMEM, MT_PAGE_MEMBERS };

/* A followed process, by tgid. User space writes `key` and `active`, the kernel half the rest; exec advances `key`. */
struct mt_page_process {
    mt_process_key key;
    __u32 active;
    __u64 faulted_bytes;             /* became resident since it is followed */
    __u64 returned_bytes;            /* ceased to be */
    __u64 mm[MT_PAGE_MEMBERS];       /* the address space that `resident` is of */
    __s64 resident[MT_PAGE_MEMBERS]; /* the kernel's total as last seen, pages */
};
MT_STATIC_ASSERT(sizeof(struct mt_page_process) == 56, "layout");

/* This CPU's part of the kernel's counters of one process, as last seen. */
struct mt_page_local {
    __u64 mm[MT_PAGE_MEMBERS];
    __s32 count[MT_PAGE_MEMBERS];
    __u64 cpu_offset; /* of this CPU's memory; 0: not known yet */
};
MT_STATIC_ASSERT(sizeof(struct mt_page_local) == 32, "layout");

/* Where memory was first touched; keyed by a hash of process and stack. Only ever grows. */
struct mt_page_site {
    __u64 bytes;
    __u64 events;
    __u64 stack; /* key in the page_stacks map; 0: none stored */
    __u64 code;  /* the instruction, known even when the stack is not; 0: no site */
    mt_process_key process;
    __u32 zero;
};
MT_STATIC_ASSERT(sizeof(struct mt_page_site) == 40, "layout");

/* The catch-all of a process: what finds no room. Real sites' keys have their top bit set (mt_site_key). */
#define MT_PAGE_OVERFLOW_KEY(process_key) ((__u64)(process_key))

/* Ring buffer records: changes of the address space, in the order in which they took effect. */
enum mt_page_record_kind {
    MT_PAGE_MAP = 1, /* [address, address + length) is anonymous memory now, whatever was there */
    MT_PAGE_UNMAP,   /* ... is none any more */
    MT_PAGE_MOVE,    /* mremap: [old_address, + old_length) is none, [address, + length) is */
    MT_PAGE_BREAK    /* the heap's end went from old_address to address */
};

struct mt_page_record {
    __u16 kind;
    __u16 size;
    mt_process_key key;
    __u64 address;
    __u64 length;
    __u64 old_address;
    __u64 old_length;
    __u64 begun_ns; /* when the call began: what is younger is not its concern */
    __u64 time_ns;
    __u64 stack; /* as in mt_page_site */
    __u64 code;
};
MT_STATIC_ASSERT(sizeof(struct mt_page_record) == 72, "layout");

/* A thread's scratch, and what its system call found when it began. */
struct mt_page_thread {
    __u64 begun_ns;
    __u64 old_break;
    struct mt_stack_scratch scratch;
};

#endif
