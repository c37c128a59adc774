/* What the tables of bpf/unwind_table.h say of the place where a walk stands. For bpf/unwind.h, which says what must be defined
 * before. */
#ifndef MEMTRACE_UNWIND_LOOKUP_H
#define MEMTRACE_UNWIND_LOOKUP_H

#ifndef __bpf__
#include <sys/cdefs.h> /* __always_inline */
#endif

#include "bpf/stack_scratch.h"
#include "bpf/unwind_table.h"

#define MT_ROW_STEPS 9 /* of a binary search among the up to 256 rows of a bucket */

/* Why a walk ends. The order is that of the counters unwind_unmapped and following. */
enum mt_unwind_stop {
    MT_UNWIND_ON,          /* it does not: there is a caller */
    MT_UNWIND_END,         /* the thread's first function */
    MT_UNWIND_UNMAPPED,    /* code that is no object's */
    MT_UNWIND_PENDING,     /* the object's table is not there yet */
    MT_UNWIND_BARE,        /* the object does not describe this code */
    MT_UNWIND_UNSUPPORTED, /* a rule that has no form in the table, or needs a register that is not followed */
    MT_UNWIND_UNREADABLE,  /* the stack could not be read */
    MT_UNWIND_STRAY,       /* what was found can be no frame */
    MT_UNWIND_DEEP,        /* more frames than are kept */
};

/* Global, as the other larger ones here: verified once, not for each caller. */
MT_GLOBAL int mt_find_range(struct mt_cursor* c, __u64 address) {
    const struct mt_unwind_block* block;
    const struct mt_unwind_range* range;
    mt_shard_handle shard;
    __u32 count, at;

    if (!c) {
        return MT_UNWIND_UNMAPPED;
    }
    c->start = c->end = 0;
    shard = mt_shard_at(c->space);
    if (!shard) {
        return MT_UNWIND_UNMAPPED;
    }
    block = mt_block_at(shard, 0);
    if (!block) {
        return MT_UNWIND_UNMAPPED;
    }
    count = block->word[0];
    /* How many ranges begin at or below the address. From 0, as the word is; the verifier must not know, or it follows each way. */
    at = block->word[1];
    for (__u32 i = 0; i < MT_RANGE_STEPS; i++) {
        __u32 probe = at + (1u << (MT_RANGE_STEPS - 1) >> i);
        if (probe > count) {
            continue;
        }
        block = mt_block_at(shard, 1 + ((probe - 1) >> 1));
        if (!block) {
            return MT_UNWIND_UNMAPPED;
        }
        range = (const struct mt_unwind_range*)&block->word[((probe - 1) & 1) * MT_RANGE_WORDS];
        if (range->start <= address) {
            at = probe;
        }
    }
    block = at ? mt_block_at(shard, 1 + ((at - 1) >> 1)) : 0;
    if (!block) {
        return MT_UNWIND_UNMAPPED;
    }
    range = (const struct mt_unwind_range*)&block->word[((at - 1) & 1) * MT_RANGE_WORDS];
    if (address >= range->end) {
        return MT_UNWIND_UNMAPPED;
    }
    if (range->state != MT_RANGE_READY) {
        return range->state == MT_RANGE_PENDING ? MT_UNWIND_PENDING : MT_UNWIND_BARE;
    }
    c->delta = range->delta;
    c->shard = range->shard;
    c->table = range->table;
    c->start = range->start;
    c->end = range->end;
    shard = mt_shard_at(c->shard);
    if (!shard) {
        c->end = 0;
        return MT_UNWIND_PENDING;
    }
    block = mt_block_at(shard, c->table);
    if (!block) {
        c->end = 0;
        return MT_UNWIND_PENDING;
    }
    const struct mt_unwind_header* header = (const struct mt_unwind_header*)block;
    c->buckets = header->buckets;
    c->index_at = header->index_at;
    c->rows_at = header->rows_at;
    c->rules_at = header->rules_at;
    return MT_UNWIND_ON;
}

/* A word of the cursor's table, all ones where it has fewer. */
static __always_inline __u32 mt_table_word(const struct mt_cursor* c, mt_shard_handle shard, __u32 word) {
    const struct mt_unwind_block* block = mt_block_at(shard, c->table + word / MT_BLOCK_WORDS);
    return block ? block->word[word % MT_BLOCK_WORDS] : ~0u;
}

/* The rule for the code at `address`, which is in the cursor's range. 0: the table has none. */
static __always_inline int mt_find_rule(const struct mt_cursor* c, __u64 address, struct mt_unwind_rule* rule) {
    __u32 offset = (__u32)(address - c->start) + c->delta;
    __u32 bucket = offset >> MT_BUCKET_SHIFT;
    const struct mt_unwind_block* block;
    mt_shard_handle shard;
    __u32 at, last, word;

    if (bucket >= c->buckets) {
        return 0;
    }
    shard = mt_shard_at(c->shard);
    if (!shard) {
        return 0;
    }
    at = mt_table_word(c, shard, c->index_at + bucket);
    last = mt_table_word(c, shard, c->index_at + bucket + 1);
    for (__u32 i = 0; i < MT_ROW_STEPS; i++) {
        __u32 probe = at + (1u << (MT_ROW_STEPS - 1) >> i);
        if (probe > last) {
            continue;
        }
        word = mt_table_word(c, shard, c->rows_at + probe - 1);
        if ((word & MT_ROW_OFFSET_MASK) <= (offset & MT_ROW_OFFSET_MASK)) {
            at = probe;
        }
    }
    if (!at) {
        return 0;
    }
    word = c->rules_at + (mt_table_word(c, shard, c->rows_at + at - 1) >> MT_ROW_RULE_SHIFT) * MT_RULE_WORDS;
    block = mt_block_at(shard, c->table + word / MT_BLOCK_WORDS);
    if (!block) {
        return 0;
    }
    *rule = *(const struct mt_unwind_rule*)&block->word[word % MT_BLOCK_WORDS / MT_RULE_WORDS * MT_RULE_WORDS];
    return 1;
}

#endif
