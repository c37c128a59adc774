/* The contract tier's layouts, shared with the collector: what a program tells of itself by the probes of include/memtrace/probes.h.
 * As types.h: fixed-width fields, sizes asserted, times CLOCK_MONOTONIC nanoseconds. */
#ifndef MEMTRACE_CONTRACT_H
#define MEMTRACE_CONTRACT_H

#include "bpf/stack_scratch.h"
#include "bpf/types.h"

/* The probes of provider `memtrace` that end in records, named once: the kinds of records, what is read, what is attached to.
 * `strings`: bit i where argument i is the address of a string. `keyed`: argument 0 is the address of an object, so that the
 * event goes with the object where objects are sampled.
 *
 *        name            arguments  strings    keyed
 */
#define MT_CONTRACT_PROBES(X)                                                                                                    \
    X(object_create, 3, 1 << 2, 1)                                                                                               \
    X(object_alive, 5, 1 << 2, 1)                                                                                                \
    X(object_destroy, 1, 0, 1)                                                                                                   \
    X(ref_acquire, 4, 0, 1)                                                                                                      \
    X(ref_release, 4, 0, 1)                                                                                                      \
    X(ref_move, 4, 0, 1)                                                                                                         \
    X(storage_acquire, 3, 0, 0)                                                                                                  \
    X(storage_release, 1, 0, 0)                                                                                                  \
    X(storage_move, 2, 0, 0)                                                                                                     \
    X(resource_acquire, 5, 1 << 0 | 1 << 4, 0)                                                                                   \
    X(resource_alive, 7, 1 << 0 | 1 << 4, 0)                                                                                     \
    X(resource_touch, 2, 1 << 0, 0)                                                                                              \
    X(resource_release, 2, 1 << 0, 0)                                                                                            \
    X(pool_get, 4, 1 << 1, 0)                                                                                                    \
    X(pool_put, 4, 1 << 1, 0)                                                                                                    \
    X(pool_wait, 4, 1 << 1, 0)                                                                                                   \
    X(pool_limit, 4, 1 << 1, 0)                                                                                                  \
    X(cleanup_start, 2, 0, 0)                                                                                                    \
    X(cleanup_end, 3, 0, 0)                                                                                                      \
    X(announce, 1, 0, 0)                                                                                                         \
    X(announce_end, 1, 0, 0)

enum mt_contract_kind {
    MT_CONTRACT_NONE,
#define MT_CONTRACT_ENUM(name, arguments, strings, keyed) MT_CONTRACT_##name,
    MT_CONTRACT_PROBES(MT_CONTRACT_ENUM)
#undef MT_CONTRACT_ENUM
        MT_CONTRACT_THREAD_END, /* no probe: a thread of a followed process has ended. No arguments */
    MT_CONTRACT_MAPPED,         /* of a recipe: bpf/mapped.h */
    MT_CONTRACT_KINDS
};

#define MT_CONTRACT_MAX_ARGUMENTS 7
#define MT_CONTRACT_MAX_STRINGS 2
#define MT_CONTRACT_STRING_BYTES 64 /* with the closing zero; longer ones are cut */

/* What the program attached to a probe is told of it. `object`: the collector's number of the ELF object, below 2^32. */
#define MT_CONTRACT_COOKIE(kind, arguments, strings, keyed, object)                                                              \
    ((__u64)(kind) | (__u64)(arguments) << 8 | (__u64)(strings) << 16 | (__u64)(keyed) << 24 | (__u64)(object) << 32)

/* Objects are in the sample or not by their addresses: so is all that happens to them. The low bits of addresses say little. `mask`: of so many low
 * bits that one object in 2^n is in it; what is in the sample of a mask is in those of all smaller ones. */
static inline int mt_in_sample(__u64 object, __u32 mask) {
    return !((__u32)(object * 0x9e3779b97f4a7c15ull >> 32) & mask);
}

/* A followed process, by tgid. User space writes all of it but for `key`, which exec advances. */
struct mt_contract_process {
    mt_process_key key;
    __u32 active;
};
MT_STATIC_ASSERT(sizeof(struct mt_contract_process) == 8, "layout");

/* Ring buffer records: this, then the arguments as __u64, then the strings in the order of their arguments. In the place of a string's
 * address stands how many bytes it has here, its closing zero included; 0: it could not be read, or there is none. */
struct mt_contract_record {
    __u16 kind;
    __u16 size;
    mt_process_key key;
    __u32 tid;
    __u32 object; /* of the cookie */
    __u64 time_ns;
    __u64 stack; /* key in the contract_stacks map; 0: none stored */
    __u64 code;  /* innermost address, known even when the stack is not; 0: no stack */
};
MT_STATIC_ASSERT(sizeof(struct mt_contract_record) == 40, "layout");

#define MT_CONTRACT_BODY_BYTES (8 * MT_CONTRACT_MAX_ARGUMENTS + MT_CONTRACT_STRING_BYTES * MT_CONTRACT_MAX_STRINGS)

struct mt_contract_record_buffer {
    struct mt_contract_record head;
    __u64 body[MT_CONTRACT_BODY_BYTES / 8];
};
MT_STATIC_ASSERT(sizeof(struct mt_contract_record_buffer) == 40 + MT_CONTRACT_BODY_BYTES, "layout");

/* A thread's scratch. */
struct mt_contract_thread {
    struct mt_contract_record_buffer record;
    struct mt_stack_scratch scratch;
};

#endif
