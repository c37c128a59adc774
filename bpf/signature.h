/* What a probed function's arguments mean, packed into the 64-bit attach cookie, so that one set of BPF programs serves every
 * allocator. Compiles natively too.
 *
 *   bits  0..3   size    number of the argument (1 to 6, or 7: mt_arguments) that holds the size in bytes; 0 = none
 *   bits  4..7   count   ... the number of elements: bytes = count * size
 *   bits  8..11  ptr     ... the block that is freed or reallocated
 *   bits 12..15  out     ... where the new block's address is stored; the function returns 0 on success
 *   bits 16..31  function  index into the collector's function table
 *   bits 32..47  slot      index into the processes array
 *   bit  48      the probed instruction is single-stepped (MT_COOKIE_STEPPED)
 *   bits 49..63  zero
 */
#ifndef MEMTRACE_SIGNATURE_H
#define MEMTRACE_SIGNATURE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define MT_ARG_BITS 4
#define MT_MAX_ARG 6
#define MT_COOKIE_STEPPED (1ull << 48)

struct mt_signature {
    __u8 size;
    __u8 count;
    __u8 ptr;
    __u8 out;
    __u16 function;
    __u16 slot;
};

static inline __u64 mt_signature_pack(struct mt_signature s) {
    return (__u64)(s.size & 15) | (__u64)(s.count & 15) << 4 | (__u64)(s.ptr & 15) << 8 | (__u64)(s.out & 15) << 12 |
           (__u64)s.function << 16 | (__u64)s.slot << 32;
}

static inline struct mt_signature mt_signature_unpack(__u64 cookie) {
    struct mt_signature s;
    s.size = cookie & 15;
    s.count = cookie >> 4 & 15;
    s.ptr = cookie >> 8 & 15;
    s.out = cookie >> 12 & 15;
    s.function = cookie >> 16 & 0xffff;
    s.slot = cookie >> 32 & 0xffff;
    return s;
}

/* count * size; all ones where it does not fit into 64 bits (the allocator will refuse). */
static inline __u64 mt_total_size(__u64 count, __u64 size) {
    __u64 total = count * size;
    /* Hides the product's origin: the compiler would make a 128-bit multiplication of the check, which BPF has not. */
    __asm__ volatile("" : "+r"(total));
    if (count >> 32 == 0 && size >> 32 == 0) {
        return total;
    }
    return count != 0 && total / count != size ? ~0ull : total;
}

#endif
