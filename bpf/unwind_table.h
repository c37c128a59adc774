/* How a function's caller is found from an instruction in it: layouts shared by the kernel half, which reads them, and user/unwind,
 * which makes them of .eh_frame. Everything is 32-bit words in blocks of 16, because a block is what the kernel half looks up.
 *
 * A shard is an array of blocks; it holds tables, or a space. Both begin at a block.
 *
 *   space: the executable ranges of a process
 *     block 0   word 0    number of ranges, sorted by start, disjoint; the other words are zero
 *     block 1.. 8 words a range: struct mt_unwind_range
 *
 *   table: the code of one object, from its first described byte on; offsets in it are bytes, words are counted from the table
 *     block 0   struct mt_unwind_header
 *     rules     4 words each: struct mt_unwind_rule. Rule 0 is MT_CFA_NONE.
 *     index     one word for each 256 bytes of code, and one more: how many rows begin before them
 *     rows      one word each, sorted by offset: the low 8 bits of the offset, and the rule from there on, 24 bits
 *
 * So the row of an offset is the last of those in its 256 bytes that do not lie behind it; where there is none, the last row before them. Row 0 is at
 * offset 0. The bytes of a table are also its cached form on disk (user/unwind/table_cache.hpp).
 *
 * A rule says, for the registers of x86-64 by their DWARF numbers (3 rbx, 6 rbp, 7 rsp): where the frame begins (the CFA, the stack
 * pointer's value in the caller), and where the caller's frame pointer and rbx are. The return address lies below the CFA, except in
 * the frame that the kernel makes for a signal. Compiles natively too. */
#ifndef MEMTRACE_UNWIND_TABLE_H
#define MEMTRACE_UNWIND_TABLE_H

#include "bpf/types.h"

#define MT_BLOCK_WORDS 16
struct mt_unwind_block {
    __u32 word[MT_BLOCK_WORDS];
};
MT_STATIC_ASSERT(sizeof(struct mt_unwind_block) == 64, "layout");

struct __attribute__((may_alias)) mt_unwind_range { /* lies in words */
    __u64 start;                                    /* addresses in the process */
    __u64 end;
    __u32 delta; /* offset in the table of the byte at `start` */
    __u32 shard; /* that the table is in; MT_NO_SHARD: none, or not yet */
    __u32 table; /* its first block there */
    __u32 state; /* enum mt_range_state */
};
MT_STATIC_ASSERT(sizeof(struct mt_unwind_range) == 32, "layout");
#define MT_RANGE_WORDS 8
#define MT_RANGE_STEPS 12 /* of a binary search */
#define MT_MAX_RANGES ((1u << MT_RANGE_STEPS) - 1)
#define MT_NO_SHARD 0 /* the first is never used */

enum mt_range_state {
    MT_RANGE_READY,   /* has a table */
    MT_RANGE_PENDING, /* its table is being built */
    MT_RANGE_BARE     /* code that nothing is known of, as JIT makes it */
};

#define MT_UNWIND_MAGIC 0x3154556du /* "mUT1" */

struct __attribute__((may_alias)) mt_unwind_header {
    __u32 magic;
    __u32 size;    /* bytes of code */
    __u32 buckets; /* of 256 bytes */
    __u32 rows;
    __u32 rules;
    __u32 index_at; /* words from the table's beginning */
    __u32 rows_at;
    __u32 rules_at;
    __u32 words; /* of the whole table, a multiple of MT_BLOCK_WORDS */
    __u32 zero[7];
};
MT_STATIC_ASSERT(sizeof(struct mt_unwind_header) == sizeof(struct mt_unwind_block), "layout");

#define MT_BUCKET_SHIFT 8
#define MT_ROW_OFFSET_MASK 0xffu
#define MT_ROW_RULE_SHIFT 8
#define MT_MAX_RULES (1u << 24)
#define MT_MAX_CODE_BYTES (1u << 30)

enum mt_cfa_kind {
    MT_CFA_NONE,        /* no unwind information */
    MT_CFA_REGISTER,    /* base + offset */
    MT_CFA_DEREF,       /* word at base + offset, plus addend: stacks realigned by the compiler, assembly */
    MT_CFA_PLT,         /* rsp + offset, plus 8 from the addend-th byte of a 16-byte entry of the linkage table on */
    MT_CFA_SIGNAL,      /* the kernel's frame for a signal: its struct ucontext at base + offset */
    MT_CFA_END,         /* the thread's first function: no caller */
    MT_CFA_UNSUPPORTED, /* an expression that has no form here */
};

enum mt_saved_kind {
    MT_SAVED_SAME,   /* in the register still */
    MT_SAVED_AT_CFA, /* at CFA + offset */
    MT_SAVED_AT_BP,  /* at rbp + offset: stacks realigned by the compiler */
    MT_SAVED_LOST,   /* not known */
};

struct __attribute__((may_alias)) mt_unwind_rule {
    __u8 cfa;  /* enum mt_cfa_kind */
    __u8 base; /* DWARF number of a register */
    __u8 bp;   /* enum mt_saved_kind */
    __u8 bx;
    __s32 offset;
    __s32 addend;
    __s16 bp_offset;
    __s16 bx_offset;
};
MT_STATIC_ASSERT(sizeof(struct mt_unwind_rule) == 16, "layout");
#define MT_RULE_WORDS 4

enum { MT_DWARF_BX = 3, MT_DWARF_BP = 6, MT_DWARF_SP = 7, MT_DWARF_RA = 16 };

#endif
