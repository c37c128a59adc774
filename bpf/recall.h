/* A walk is a function of the registers that it begins with and of the words that it reads. So a walk that has been made is known again by
 * these: where the same words lie in the same places, the stack is the same. Looking costs a comparison for each word instead of a step
 * (bpf/unwind.h), and a program that allocates much does so from the same places.
 *
 *   recipe: space, pc, sp [, rbp] [, rbx]      what the walk began with; the last two where it needed them
 *           words  at sp + 24   sp + 104 ...   return addresses, and saved registers that were needed to get on
 *
 * Only walks of which all is known this way have one: of at most MT_RECIPE_WORDS words within 256 KiB of sp; no signal's frame, none that the
 * compiler has realigned (MT_CFA_DEREF), no register that is lost, no address that a return probe has replaced, no help by frame
 * pointers. The others are walked each time. Compiles natively too. */
#ifndef MEMTRACE_RECALL_H
#define MEMTRACE_RECALL_H

#include "bpf/stack_hash.h"
#include "bpf/stack_window.h"

/* What a walk has needed beside return addresses: mt_cursor.needs, mt_recipe.needs. */
#define MT_NEEDS_BP 1u      /* rbp as it was at the beginning */
#define MT_NEEDS_BX 2u      /* rbx as it was at the beginning */
#define MT_NEEDS_BP_WORD 4u /* in this step, rbp from where it was saved */
#define MT_NEEDS_BX_WORD 8u
#define MT_NEEDS_MORE 16u /* what a recipe cannot tell */
#define MT_HAS_BP 32u     /* rbp is not that of the beginning any more */
#define MT_HAS_BX 64u

/* At the beginning of a walk, when only the first five are set. */
static __always_inline void mt_recipe_begin(struct mt_recipe* recipe) {
    recipe->words_hash = MT_HASH_SEED;
    recipe->words = 0;
    recipe->needs = 0;
}

static __always_inline void mt_recipe_add(struct mt_recipe* recipe, __u64 address, __u64 word, __u32 is_return) {
    __u64 offset = address - recipe->sp;
    __u32 at = recipe->words;
    if (offset & 7 || offset >> 3 > 0x7fff || at >= MT_RECIPE_WORDS) {
        recipe->needs |= MT_NEEDS_MORE;
        return;
    }
    recipe->words_hash = mt_hash_step(recipe->words_hash, word);
    recipe->word[at].place = (__u16)(offset >> 3 << 1 | is_return);
    recipe->word[at].check = (__u16)recipe->words_hash;
    recipe->words = at + 1;
}

static __always_inline int mt_begins_alike(const struct mt_recipe* recipe, const struct mt_recipe* begin) {
    __u32 needs = recipe->needs;
    return recipe->sp == begin->sp && recipe->pc == begin->pc && recipe->space == begin->space &&
           (!(needs & MT_NEEDS_BP) || recipe->bp == begin->bp) && (!(needs & MT_NEEDS_BX) || recipe->bx == begin->bx);
}

/* Whether a walk that begins alike would be that of `recipe`. Then `stack` is filled from the second address on. */
MT_GLOBAL int mt_words_alike(const struct mt_recipe* recipe, struct mt_stack_window* window, struct mt_stack* stack) {
    __u64 hash = MT_HASH_SEED;
    __u64 sp;
    __u32 words;

    if (!recipe || !window || !stack) {
        return 0;
    }
    sp = recipe->sp;
    words = recipe->words;
    stack->depth = 1; /* in memory: the verifier would follow each of its values */
    for (__u32 i = 0; i < MT_RECIPE_WORDS; i++) {
        __u32 place, depth;
        __u64 word;
        if (i >= words) {
            break;
        }
        place = recipe->word[i].place;
        if (mt_window_read(window, sp + (place >> 1 << 3), &word)) {
            return 0;
        }
        hash = mt_hash_step(hash, word);
        if ((__u16)hash != recipe->word[i].check) {
            return 0;
        }
        depth = stack->depth;
        if (depth >= MT_MAX_FRAMES) {
            return 0;
        }
        /* What is no return address is overwritten by the next that is one, or lies behind the last. */
        stack->address[depth] = word;
        stack->depth = depth + (place & 1);
    }
    stack->certain = (__u16)stack->depth;
    stack->flags = recipe->stop ? MT_STACK_TRUNCATED : 0;
    return hash == recipe->words_hash;
}

#endif
