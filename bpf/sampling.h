/* Poisson sampling over bytes: which allocations are kept, and what a kept one stands for. Integers only; compiles natively too.
 *
 * The allocated bytes of a thread are a line, and marks lie on it as a Poisson process, on average one every R bytes (the interval). An
 * allocation is kept where a mark falls into it: of S bytes with p = 1 - exp(-S/R), independently of all others. Kept, it stands for
 * S/p bytes and 1/p objects (Horvitz and Thompson 1952, JASA 47:663): sums of these are unbiased whatever the sizes are, and even
 * where R changes while running, as long as each record keeps the R that it was drawn under.
 *
 *   thread's bytes  ---[ 24 ][   1000   ][ 8 ][      4096       ][ 24 ]---->
 *   marks                  ^                    ^       ^
 *   kept               no       yes       no      yes (once)       no
 *
 * In an entry program:
 *
 *   if (!mt_sampler_is_set(s, interval)) {
 *       mt_sampler_set(s, interval, bpf_get_prandom_u32(), draws);
 *   }
 *   if (!mt_sampler_takes(s, size)) {
 *       return;
 *   }
 *
 * So an allocation that is not kept costs a comparison and a subtraction, and no random number. The other way, p from a table and a
 * random number for each allocation, needs no state, but a division, a look-up and bpf_get_prandom_u32 for each.
 *
 * User space fills the two tables (user/kernel/sampling_tables.hpp). They are read as volatile, because a table that lies in
 * .rodata is all zeros to the compiler, which may otherwise fold what it reads from there.
 */
#ifndef MEMTRACE_SAMPLING_H
#define MEMTRACE_SAMPLING_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* The largest interval. What is computed here does not overflow up to it, for allocations of any size. */
#define MT_MAX_INTERVAL (1ull << 30)

/* ---- draws -------------------------------------------------------------------------------------------------------------------- */

/* draws[i], i < 4096: the exponential distribution's quantile -ln(1 - i/4096) in units of 2^-28; in between it is taken as linear.
 * What lies beyond draws[4095], once in 4096 draws, is spread evenly over [draws[4095], draws[4096]], two units wide, which has the
 * true mean. All entries are scaled by 1 - 2.0e-5, so that the mean of a draw is 1.
 * What that does to p, for S/R from 1e-6 to 20: off by at most 1.1e-4 of itself for the first allocation after a draw, by at most
 * 2.5e-5 in the long run of a stream (tests/unit/sampling_tables_test.cpp). */
#define MT_DRAW_BITS 12
#define MT_DRAWS ((1 << MT_DRAW_BITS) + 1)
#define MT_DRAW_SHIFT 28

/* One per thread; all zero to begin with. */
struct mt_sampler {
    __u64 remaining; /* bytes up to the next mark, not counting its own */
    __u64 interval;  /* that it was drawn under; 0: there is none, draw */
};

/* 0 where a mark must be drawn before the next allocation: at first, after a kept one, and where the interval is a new one. What was
 * left of the way to the old mark may be forgotten: given that it has not been reached, the rest of an exponential way is
 * distributed as a whole one, so a new draw under the new interval gives each further allocation exactly its p. (The
 * interval may depend on what was kept so far; it must not depend on `remaining`.) */
static inline int mt_sampler_is_set(const struct mt_sampler* s, __u64 interval) {
    return s->interval == interval;
}

/* Draws the way to the next mark. `interval` is 1 to MT_MAX_INTERVAL, `random` has 32 random bits: 12 choose a step of the table,
 * 20 a place in it. `draws` has MT_DRAWS entries. */
static inline void mt_sampler_set(struct mt_sampler* s, __u64 interval, __u32 random, const volatile __u32* draws) {
    const __u32 step = random >> (32 - MT_DRAW_BITS);
    const __u64 within = random & ((1u << (32 - MT_DRAW_BITS)) - 1);
    const __u64 from = draws[step];
    const __u64 draw = from + ((draws[step + 1] - from) * within >> (32 - MT_DRAW_BITS));
    s->remaining = interval * draw >> MT_DRAW_SHIFT;
    s->interval = interval;
}

/* Whether an allocation of `size` bytes, 0 taken as 1, is kept. Rounding down `remaining` loses nothing, as sizes are whole. */
static inline int mt_sampler_takes(struct mt_sampler* s, __u64 size) {
    const __u64 bytes = size != 0 ? size : 1;
    if (s->remaining >= bytes) {
        s->remaining -= bytes;
        return 0;
    }
    s->interval = 0;
    return 1;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------------ */

/* weights[i]: f(i/64) in units of 2^-27, where f(x) = x / (1 - exp(-x)), x = S/R up to 16; f(0) = 1. Linear in between: at most 5.1e-6
 * too much. R * f(S/R) = S/p. From x = 16 on p differs from 1 by less than 1.2e-7 and is taken as 1. */
#define MT_WEIGHT_LIMIT_BITS 4
#define MT_WEIGHT_STEP_BITS 6
#define MT_WEIGHTS ((1 << (MT_WEIGHT_LIMIT_BITS + MT_WEIGHT_STEP_BITS)) + 1)
#define MT_WEIGHT_SHIFT 27

#define MT_OBJECT_SHIFT 16
#define MT_OBJECT_ONE (1ull << MT_OBJECT_SHIFT)
#define MT_BYTES_VARIANCE_SHIFT 16
#define MT_OBJECTS_VARIANCE_SHIFT 16

/* What one record stands for; a function of size and interval alone, so that what is added for an allocation can be taken off for its
 * free to the last bit. The variances are the record's part of the Horvitz-Thompson estimate for independent draws: (1-p) (y/p)^2,
 * which is w (w - S) for bytes and o (o - 1) for objects, where w = S/p and o = 1/p.
 *
 * Sums: `bytes` and `objects` are estimates of what there was, so they wrap no sooner than the true totals (2^48 objects). Sums of
 * variances may wrap over days; differences of two readings, and of what was allocated and what was freed, are right modulo 2^64. */
struct mt_weight {
    __u64 bytes;            /* rounded to whole bytes: off by less than 1e-4 from R = 8 KiB on */
    __u64 objects;          /* in units of 2^-16 */
    __u64 bytes_variance;   /* in units of 2^16 bytes^2 (256 B squared); at most R^2 */
    __u64 objects_variance; /* in units of 2^-16; saturates from R/S = 2^24 on */
};

/* In the place of an interval: the program has sampled (otel_memory:alloc), and says itself how many bytes the block stands for. */
#define MT_TOLD_WEIGHT (1ull << 63)
#define MT_MAX_TOLD_WEIGHT ((1ull << 40) - 1) /* more is taken for that: products must not wrap */

static inline __u64 mt_told_interval(__u64 weight) {
    return MT_TOLD_WEIGHT | (weight < MT_MAX_TOLD_WEIGHT ? weight : MT_MAX_TOLD_WEIGHT);
}

/* 2^-16 a b; `a` and `b` are less than 2^40. */
static inline __u64 mt_told_product(__u64 a, __u64 b) {
    if (a >> 32 == 0 && b >> 32 == 0) {
        return (a * b >> 16) + (a * b >> 15 & 1);
    }
    if (b >> 32 == 0) {
        return (a >> 8) * b >> 8;
    }
    return (a >> 8) * (b >> 8);
}

/* A program may tell S/p, as mt_weigh does, or, as OpenTelemetry's contract has it, n intervals for n marks in the block, which is less than
 * S where fewer fell into it than usual. Both have the mean S, so both are taken as they are: o = w/S, and the variances are w (w - S) and
 * o (o - 1), which are right for both (the mean of n (n - x) is x where n is Poisson of mean x). Where w < S that is negative, and sums must
 * not be: there it is (S - w)^2 and (1 - o)^2, so that all together is somewhat too much.
 * 0 says nothing, and a weight that was cut not more than the size; both stand for the block alone. One of no bytes is one object. */
static inline void mt_weigh_told(__u64 size, __u64 weight, struct mt_weight* out) {
    const int alone = weight == 0 || (weight == MT_MAX_TOLD_WEIGHT && size > weight);
    const __u64 bytes = alone ? size : weight;
    __u64 missing, more;

    out->bytes = bytes;
    out->objects = MT_OBJECT_ONE;
    out->bytes_variance = 0;
    out->objects_variance = 0;
    if (bytes == size) {
        return;
    }
    if (bytes < size) {
        missing = size - bytes < MT_MAX_TOLD_WEIGHT ? size - bytes : MT_MAX_TOLD_WEIGHT;
        out->bytes_variance = mt_told_product(missing, missing);
        out->objects = (bytes << MT_OBJECT_SHIFT) / size;
        out->objects_variance = mt_told_product(MT_OBJECT_ONE - out->objects, MT_OBJECT_ONE - out->objects);
        return;
    }
    out->bytes_variance = mt_told_product(bytes, bytes - size);
    more = size != 0 ? ((bytes - size) << MT_OBJECT_SHIFT) / size : 0; /* 2^16 (o - 1) */
    out->objects = MT_OBJECT_ONE + more;
    out->objects_variance = more >> 39 != 0 ? ~0ull : mt_told_product(out->objects, more);
}

/* `interval` is that of the record, 0: every allocation was recorded, else up to MT_MAX_INTERVAL, or mt_told_interval(). `weights` has
 * MT_WEIGHTS entries. */
static inline void mt_weigh(__u64 size, __u64 interval, const volatile __u32* weights, struct mt_weight* out) {
    const __u64 sampled_as = size != 0 ? size : 1;
    __u64 at, from, scaled, whole, rest;
    __u32 step;

    if (interval & MT_TOLD_WEIGHT) {
        mt_weigh_told(size, interval & ~MT_TOLD_WEIGHT, out);
        return;
    }
    out->bytes = size;
    out->objects = MT_OBJECT_ONE;
    out->bytes_variance = 0;
    out->objects_variance = 0;
    if (interval == 0 || sampled_as >> MT_WEIGHT_LIMIT_BITS >= interval) {
        return;
    }
    at = (sampled_as << (MT_WEIGHT_STEP_BITS + 16)) / interval;
    step = at >> 16 & ((1u << (MT_WEIGHT_LIMIT_BITS + MT_WEIGHT_STEP_BITS)) - 1);
    from = weights[step];
    scaled = interval * (from + ((weights[step + 1] - from) * (at & 0xffff) >> 16)); /* S/p, times 2^27 */

    out->objects = ((scaled >> (MT_WEIGHT_SHIFT - MT_OBJECT_SHIFT)) + sampled_as / 2) / sampled_as;
    /* o (o - 1) with o = whole + rest / 2^16, in two parts, as 2^46 squared has no room. */
    whole = out->objects >> MT_OBJECT_SHIFT;
    rest = out->objects & (MT_OBJECT_ONE - 1);
    if (whole >> 24 != 0) {
        out->objects_variance = ~0ull;
    } else {
        out->objects_variance = (whole * (whole - 1) << 16) + (2 * whole - 1) * rest + (rest * rest >> 16);
    }
    if (size != 0) {
        out->bytes = (scaled + (1ull << (MT_WEIGHT_SHIFT - 1))) >> MT_WEIGHT_SHIFT;
        out->bytes_variance =
            (out->bytes * (out->bytes - size) + (1ull << (MT_BYTES_VARIANCE_SHIFT - 1))) >> MT_BYTES_VARIANCE_SHIFT;
    }
}

#endif
