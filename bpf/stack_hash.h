/* Hashes of stacks and sites. 64 bits: with 100,000 stacks the chance that any two collide is 3e-10. Compiles natively too. */
#ifndef MEMTRACE_STACK_HASH_H
#define MEMTRACE_STACK_HASH_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define MT_HASH_SEED 0x9e3779b97f4a7c15ull

/* One step: multiply and fold, the mixing of a multiplicative (Fibonacci) hash, Knuth TAOCP vol. 3, 6.4. */
static inline __u64 mt_hash_step(__u64 hash, __u64 value) {
    hash = (hash ^ value) * 0x9fb21c651e98df25ull;
    return hash ^ hash >> 32;
}

/* Key of a site. Its top bit is set, so it is never an overflow site's key. */
static inline __u64 mt_site_key(__u64 stack_hash, __u32 process_key, __u32 function) {
    return mt_hash_step(mt_hash_step(stack_hash, process_key), function) | 1ull << 63;
}

#endif
