/* Layouts shared by the kernel half and the collector. Compiled as C (BPF) and as C++: fixed-width fields, no padding that is not
 * named, sizes asserted. All addresses are of the traced process; all times CLOCK_MONOTONIC nanoseconds. */
#ifndef MEMTRACE_TYPES_H
#define MEMTRACE_TYPES_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#include "bpf/counters.h"

#ifdef __cplusplus
#define MT_STATIC_ASSERT static_assert
#else
#define MT_STATIC_ASSERT _Static_assert
#endif

#define MT_MAX_FRAMES 127
/* What a return address lies between, and how large a frame can be: beyond it, it is a register that is no frame pointer. */
#define MT_MIN_CODE_ADDRESS 4096
#define MT_MAX_CODE_ADDRESS (1ull << 56)
#define MT_MAX_FRAME_BYTES (1u << 20)

/* Identity of an address space: slot in the processes array (low 16 bits) and its generation, which an exec advances. Never 0,
 * because generations start at 1. */
typedef __u32 mt_process_key;
#define MT_PROCESS_SLOT(key) ((key) & 0xffff)

/* One slot per followed process. Written by user space, but for `key`, which exec advances in the kernel. */
struct mt_process {
    mt_process_key key;
    __u32 tgid;
    __u32 active;   /* 0: probes return at once */
    __u32 follow;   /* report forks of this process */
    __u64 interval; /* mean distance of samples in bytes (bpf/sampling.h); 0: every allocation is recorded */
    __u64 space;    /* MT_SPACE: where its code is described (bpf/unwind_table.h); void where it is of another key */
};
MT_STATIC_ASSERT(sizeof(struct mt_process) == 32, "layout");
#define MT_SPACE(key, shard) ((__u64)(key) << 32 | (shard))

struct mt_counters {
    __u64 value[MT_COUNTER_COUNT];
};

struct mt_live_key {
    __u64 address;
    mt_process_key process;
    __u32 zero;
};
MT_STATIC_ASSERT(sizeof(struct mt_live_key) == 16, "layout");

struct mt_live_block {
    __u64 size; /* as requested */
    __u64 site; /* key in the sites map */
    __u64 born_ns;
    __u64 interval; /* that it was sampled under */
};
MT_STATIC_ASSERT(sizeof(struct mt_live_block) == 32, "layout");

/* Totals of a call site; keyed by a hash of process, function and stack. Each record counts for what it stands for (mt_weigh). The
 * first four only ever grow; the variances are of what is live. */
struct mt_site {
    __u64 allocs; /* in units of 2^-16: MT_OBJECT_SHIFT */
    __u64 frees;
    __u64 allocated_bytes;
    __u64 freed_bytes;
    __u64 bytes_variance;   /* in units of 2^16 bytes^2: MT_BYTES_VARIANCE_SHIFT */
    __u64 objects_variance; /* in units of 2^-16: MT_OBJECTS_VARIANCE_SHIFT */
    __u64 stack;            /* key in the stacks map; 0: none stored */
    __u64 caller;           /* return address of the allocator's caller: known even when the stack is not */
    mt_process_key process;
    __u32 function; /* index into the collector's function table; MT_SITE_OVERFLOW for the catch-all site */
};
MT_STATIC_ASSERT(sizeof(struct mt_site) == 72, "layout");

/* The catch-all site of a process, made by user space: takes what finds no room in the sites map. */
#define MT_SITE_OVERFLOW 0xffffffffu
#define MT_OVERFLOW_SITE_KEY(process_key) ((__u64)(process_key))

#define MT_STACK_TRUNCATED 1u

struct mt_stack {
    __u32 depth;
    __u16 flags;
    __u16 certain; /* so many of the addresses are right; those that follow are as good as the frame pointers are */
    __u64 address[MT_MAX_FRAMES]; /* return addresses, innermost first */
};
MT_STATIC_ASSERT(sizeof(struct mt_stack) == 8 + 8 * MT_MAX_FRAMES, "layout");

/* What has been read of a stack at once (bpf/stack_window.h): at most a page. */
#define MT_WINDOW_WORDS 512
#define MT_WINDOW_BYTES (8 * MT_WINDOW_WORDS)
struct mt_stack_window {
    __u64 start;
    __u64 bytes; /* from there on; 0: nothing */
    __u64 word[MT_WINDOW_WORDS];
};
MT_STATIC_ASSERT(sizeof(struct mt_stack_window) == 16 + MT_WINDOW_BYTES, "layout");

/* How a walk is known again (bpf/recall.h). */
#define MT_RECIPE_WORDS 80
struct mt_recipe_word {
    __u16 place; /* (address - sp) / 4: a multiple of 2, and 1 more where the word is a return address */
    __u16 check; /* low bits of the hash up to here: tells most others apart at the first word that differs */
};
struct mt_recipe {
    __u64 space; /* with all that is mapped there: mt_process.space */
    __u64 pc;
    __u64 sp;
    __u64 bp;
    __u64 bx;
    __u64 words_hash;
    __u64 stack_hash; /* of the addresses, the first of which is pc */
    __u32 words;
    __u16 stop; /* why the walk stopped before its end: enum mt_unwind_stop; 0: it did not */
    __u16 needs;
    struct mt_recipe_word word[MT_RECIPE_WORDS];
};
MT_STATIC_ASSERT(sizeof(struct mt_recipe) == 64 + 4 * MT_RECIPE_WORDS, "layout");

/* Ring buffer records: kind and size first. */
enum mt_event_kind {
    MT_EVENT_EXEC = 1,   /* the process replaced its image; `key` is the new one */
    MT_EVENT_FORK,       /* a followed process made a child process */
    MT_EVENT_LIBRARY,    /* the dynamic linker finished mapping or unmapping */
    MT_EVENT_CHILD_EXEC, /* a child that shared its parent's memory (vfork) got its own */
    MT_EVENT_UNWIND /* an exception is about to pass through probed calls: the process has been stopped, struct mt_unwind_event */
};

#define MT_COMM_SIZE 16

struct mt_event {
    __u16 kind;
    __u16 size;
    __u32 tgid;   /* of the process concerned; of the child for fork */
    __u32 parent; /* fork: the parent's tgid */
    mt_process_key key;
    __u64 time_ns;
    char comm[MT_COMM_SIZE]; /* exec: of the new image; ends with a zero */
};
MT_STATIC_ASSERT(sizeof(struct mt_event) == 40, "layout");

/* A return address that the kernel has replaced by its trampoline: where it lies, and what was there. */
struct mt_return_slot {
    __u64 address;
    __u64 value;
};

#define MT_MAX_RETURN_SLOTS 16 /* calls in flight inside each other */

struct mt_unwind_event {
    struct mt_event event; /* `parent` holds the number of slots */
    __u64 trampoline;      /* what the kernel put into the slots */
    __u64 switches;        /* voluntary context switches of the thread so far: the stop that follows is the next one */
    __u32 tid;
    __u32 zero;
    struct mt_return_slot slots[MT_MAX_RETURN_SLOTS]; /* unused ones are zero */
};
MT_STATIC_ASSERT(sizeof(struct mt_unwind_event) == 64 + 16 * MT_MAX_RETURN_SLOTS, "layout");

/* A call in flight whose return address the kernel has replaced: the word at `address` is `trampoline` as long as it lasts. */
struct mt_pending_return {
    __u64 address;
    __u64 trampoline; /* 0: not known on this architecture */
    __u32 tgid;
    __u32 zero;
};
MT_STATIC_ASSERT(sizeof(struct mt_pending_return) == 24, "layout");

#define MT_MAX_REGISTERS 31
/* What a thread of a followed process had in its registers when it was in user space last. */
struct mt_thread_registers {
    __u32 tgid;
    __u32 runs; /* on a processor, at this moment: what it has in them now is not known */
    __u64 stack_pointer;
    __u64 registers[MT_MAX_REGISTERS]; /* those of any use; 0 beyond */
};
MT_STATIC_ASSERT(sizeof(struct mt_thread_registers) == 16 + 8 * MT_MAX_REGISTERS, "layout");

#endif
