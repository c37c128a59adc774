/* The mapped tier: functions and USDT probes that a program has anyway, described by recipes (scripts/recipes/README.md). What one of them
 * means is packed into its 64-bit attach cookie, so that the same BPF programs serve all. Shared with the collector, compiles natively.
 *
 *   bits  0..3   id      number of the argument that says which resource, or MT_MAPPED_THREAD, MT_MAPPED_SELF, MT_MAPPED_RETURNED.
 *                        1 to 12 of a USDT probe; of a function 1 to 7 are registers (mt_arguments), 8 to 13 the words on its stack,
 *                        from the 7th argument on
 *   bits  4..7   parent  number of the argument that says what it belongs to; 0 = none
 *   bits  8..11  bytes   ... its size
 *   bits 12..15  name    ... where its name is, a C string
 *   bit  16      out     the id is stored where argument `id` points, and read at the return
 *   bits 17..19  success  enum mt_mapped_success: of what the function returns
 *   bits 20..23  unless   number of an argument that points to a word: nothing happens ...
 *   bits 24..31  unless_at    ... where the 32-bit word at so many bytes behind it
 *   bits 32..39  unless_mask  ... has any of these bits
 *   bit  40      acquire  the function acquires
 *   bits 41..47  zero
 *   bits 48..63  number   the collector's, of resource and signature: comes in the records as `object`
 */
#ifndef MEMTRACE_MAPPED_H
#define MEMTRACE_MAPPED_H

#include "bpf/contract.h"

/* Values of `id` that are no argument's number. */
#define MT_MAPPED_THREAD 0    /* the thread's id */
#define MT_MAPPED_SELF 14     /* what pthread_self() returns in the thread: x86-64 */
#define MT_MAPPED_RETURNED 15 /* what the function returns */

enum mt_mapped_success { MT_MAPPED_ALWAYS, MT_MAPPED_ZERO, MT_MAPPED_NOT_ZERO, MT_MAPPED_NOT_NEGATIVE, MT_MAPPED_POSITIVE };

struct mt_mapped_signature {
    __u8 id;
    __u8 parent;
    __u8 bytes;
    __u8 name;
    __u8 out;
    __u8 success;
    __u8 unless;
    __u8 unless_at;
    __u8 unless_mask;
    __u8 acquire;
    __u16 number;
};

/* A number is of a resource and of one of its signatures. The resource tells calls inside each other that acquire the same thing. */
#define MT_MAPPED_NUMBER(resource, signature) ((resource) << 8 | (signature))
#define MT_MAPPED_RESOURCE(number) ((number) >> 8)
#define MT_MAPPED_SIGNATURE(number) ((number) & 0xff)

static inline __u64 mt_mapped_pack(struct mt_mapped_signature s) {
    return (__u64)(s.id & 15) | (__u64)(s.parent & 15) << 4 | (__u64)(s.bytes & 15) << 8 | (__u64)(s.name & 15) << 12 |
           (__u64)(s.out & 1) << 16 | (__u64)(s.success & 7) << 17 | (__u64)(s.unless & 15) << 20 | (__u64)s.unless_at << 24 |
           (__u64)s.unless_mask << 32 | (__u64)(s.acquire & 1) << 40 | (__u64)s.number << 48;
}

static __always_inline struct mt_mapped_signature mt_mapped_unpack(__u64 cookie) {
    struct mt_mapped_signature s;
    s.id = cookie & 15;
    s.parent = cookie >> 4 & 15;
    s.bytes = cookie >> 8 & 15;
    s.name = cookie >> 12 & 15;
    s.out = cookie >> 16 & 1;
    s.success = cookie >> 17 & 7;
    s.unless = cookie >> 20 & 15;
    s.unless_at = cookie >> 24 & 0xff;
    s.unless_mask = cookie >> 32 & 0xff;
    s.acquire = cookie >> 40 & 1;
    s.number = cookie >> 48;
    return s;
}

/* True where what the function means is known at its return only. */
static inline int mt_mapped_returns(const struct mt_mapped_signature* s) {
    return s->out || s->id == MT_MAPPED_RETURNED || s->success != MT_MAPPED_ALWAYS;
}

/* What a function that returns an int says. */
static inline int mt_mapped_succeeded(__u32 success, __u64 returned) {
    __s32 value = (__s32)returned;
    return success == MT_MAPPED_ZERO           ? value == 0
           : success == MT_MAPPED_NOT_ZERO     ? value != 0
           : success == MT_MAPPED_NOT_NEGATIVE ? value >= 0
           : success == MT_MAPPED_POSITIVE     ? value > 0
                                               : 1;
}

/* Record MT_CONTRACT_MAPPED: its head, these, then the name with its closing zero, at most MT_CONTRACT_STRING_BYTES; none: nothing. */
enum mt_mapped_field {
    MT_MAPPED_BEGAN_NS, /* when the function was entered */
    MT_MAPPED_ID,
    MT_MAPPED_PARENT,
    MT_MAPPED_BYTES,
    MT_MAPPED_FIELDS
};
MT_STATIC_ASSERT(8 * MT_MAPPED_FIELDS + MT_CONTRACT_STRING_BYTES <= MT_CONTRACT_BODY_BYTES, "room");

/* A function that a thread is in and whose return will say what it has done. */
struct mt_mapped_call {
    __u64 sp; /* at its entry */
    __u64 cookie;
    __u64 began_ns;
    __u64 id; /* or where it will be stored */
    __u64 parent;
    __u64 bytes;
    __u64 name; /* address */
};

/* Such calls inside each other, the outermost first. A thread that leaves one by longjmp leaves its entry behind: the next entry at the same
 * stack pointer or above drops it, and no return but its own takes it, told by stack pointer and cookie. */
#define MT_MAPPED_DEPTH 8
struct mt_mapped_thread {
    __u32 depth;
    __u32 last_resource; /* acquired last by this thread: what, by a call at which stack pointer, when */
    __u64 last_id;
    __u64 last_sp;
    __u64 last_ns;
    struct mt_mapped_call calls[MT_MAPPED_DEPTH];
};

#endif
