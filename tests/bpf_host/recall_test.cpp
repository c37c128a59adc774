// bpf/stack_window.h and bpf/recall.h over a stack that the tests make.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "tests/bpf_host/unwind_native.hpp"
#include "unwind/space.hpp"
#include "unwind/table.hpp"

namespace {

using namespace memtrace;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBottom = 0x7f0000001000; ///< where the stack's memory begins
constexpr std::uint64_t kSp = kBottom + 0xe80;

class Recall : public testing::Test {
protected:
    Recall() : words(5 * kPage / 8) {
        for (std::size_t i = 0; i < words.size(); ++i) {
            words[i] = 0x400000 + i;
        }
        machine.read = [this](void* to, std::uint32_t size, std::uint64_t at) {
            ++reads;
            if (at < kBottom || at + size > kBottom + words.size() * 8) {
                return false;
            }
            std::memcpy(to, reinterpret_cast<const char*>(words.data()) + (at - kBottom), size);
            return true;
        };
        native::machine = &machine;
    }
    ~Recall() override { native::machine = nullptr; }

    std::uint64_t& word_at(std::uint64_t address) { return words.at((address - kBottom) / 8); }

    static mt_recipe begin() {
        mt_recipe recipe{};
        recipe.space = 1;
        recipe.pc = 0x401234;
        recipe.sp = kSp;
        recipe.bp = kSp + 32;
        recipe.bx = 77;
        mt_recipe_begin(&recipe);
        return recipe;
    }
    /// Return addresses at these distances from sp, and a saved register before each but the first.
    mt_recipe recipe_of(const std::vector<std::uint64_t>& returns) {
        auto recipe = begin();
        for (const auto offset : returns) {
            if (recipe.words != 0) {
                mt_recipe_add(&recipe, kSp + offset - 8, word_at(kSp + offset - 8), 0);
            }
            mt_recipe_add(&recipe, kSp + offset, word_at(kSp + offset), 1);
        }
        return recipe;
    }
    bool alike(const mt_recipe& recipe) {
        mt_window_close(&window);
        return mt_words_alike(&recipe, &window, &stack) != 0;
    }

    std::vector<std::uint64_t> words;
    int reads = 0;
    native::Machine machine;
    mt_stack_window window{};
    mt_stack stack{};
};

TEST_F(Recall, WordsAreReadByPages) {
    __u64 word = 0;
    for (std::uint64_t at = kSp; at < kSp + 2 * kPage; at += 8) {
        ASSERT_EQ(mt_window_read(&window, at, &word), 0);
        ASSERT_EQ(word, word_at(at));
    }
    EXPECT_EQ(reads, 3);
}

TEST_F(Recall, WhatLiesBelowThePieceIsReadAnew) {
    __u64 word = 0;
    ASSERT_EQ(mt_window_read(&window, kSp + 0x800, &word), 0);
    ASSERT_EQ(mt_window_read(&window, kSp, &word), 0);
    EXPECT_EQ(word, word_at(kSp));
}

TEST_F(Recall, TheLastPageIsReadToItsEndAndNoFurther) {
    __u64 word = 0;
    const auto last = kBottom + words.size() * 8 - 8;
    ASSERT_EQ(mt_window_read(&window, last, &word), 0);
    EXPECT_EQ(word, word_at(last));
    EXPECT_NE(mt_window_read(&window, last + 8, &word), 0);
    ASSERT_EQ(mt_window_read(&window, last, &word), 0) << "a read that failed must not stay";
    EXPECT_EQ(word, word_at(last));
}

TEST_F(Recall, AnOddAddressIsNotRead) {
    __u64 word = 0;
    ASSERT_EQ(mt_window_read(&window, kSp, &word), 0);
    EXPECT_NE(mt_window_read(&window, kSp + 4, &word), 0);
}

TEST_F(Recall, AClosedWindowIsReadAnew) {
    __u64 word = 0;
    ASSERT_EQ(mt_window_read(&window, kSp, &word), 0);
    word_at(kSp) = 5;
    mt_window_close(&window);
    ASSERT_EQ(mt_window_read(&window, kSp, &word), 0);
    EXPECT_EQ(word, 5u);
}

TEST_F(Recall, TheSameWordsGiveTheSameStack) {
    const auto recipe = recipe_of({24, 80, 4000, 9000});
    ASSERT_EQ(recipe.needs, 0);
    ASSERT_EQ(recipe.words, 7u);
    ASSERT_TRUE(alike(recipe));
    EXPECT_EQ(stack.depth, 5u);
    EXPECT_EQ(stack.certain, 5u);
    EXPECT_EQ(stack.flags, 0u);
    const std::uint64_t wanted[] = {word_at(kSp + 24), word_at(kSp + 80), word_at(kSp + 4000), word_at(kSp + 9000)};
    EXPECT_TRUE(std::equal(std::begin(wanted), std::end(wanted), stack.address + 1));
}

TEST_F(Recall, AnyOtherWordIsAnotherStack) {
    const auto recipe = recipe_of({24, 80, 4000, 9000});
    for (const std::uint64_t offset : {24, 72, 80, 3992, 4000, 8992, 9000}) {
        word_at(kSp + offset) ^= 1ull << 40;
        EXPECT_FALSE(alike(recipe)) << offset;
        word_at(kSp + offset) ^= 1ull << 40;
    }
    word_at(kSp + 32) = 1; // nobody looked at it
    EXPECT_TRUE(alike(recipe));
}

TEST_F(Recall, RegistersCountWhereTheyWereNeeded) {
    auto recipe = recipe_of({24});
    auto other = begin();
    other.bp += 8;
    other.bx += 8;
    EXPECT_TRUE(mt_begins_alike(&recipe, &other));
    recipe.needs = MT_NEEDS_BP;
    EXPECT_FALSE(mt_begins_alike(&recipe, &other));
    other.bp = recipe.bp;
    EXPECT_TRUE(mt_begins_alike(&recipe, &other));
    recipe.needs |= MT_NEEDS_BX;
    EXPECT_FALSE(mt_begins_alike(&recipe, &other));
}

TEST_F(Recall, AnotherPlaceOrSpaceIsAnotherBeginning) {
    const auto recipe = recipe_of({24});
    for (const auto field : {&mt_recipe::space, &mt_recipe::pc, &mt_recipe::sp}) {
        auto other = begin();
        other.*field += 8;
        EXPECT_FALSE(mt_begins_alike(&recipe, &other));
    }
}

TEST_F(Recall, AWalkThatWasCutIsCutAgain) {
    auto recipe = recipe_of({24});
    recipe.stop = MT_UNWIND_DEEP;
    ASSERT_TRUE(alike(recipe));
    EXPECT_EQ(stack.flags, MT_STACK_TRUNCATED);
}

TEST_F(Recall, WhatCannotBeToldNeedsMore) {
    auto far = begin();
    mt_recipe_add(&far, kSp + (1u << 18), 1, 1);
    EXPECT_EQ(far.needs, MT_NEEDS_MORE);
    auto below = begin();
    mt_recipe_add(&below, kSp - 8, 1, 1);
    EXPECT_EQ(below.needs, MT_NEEDS_MORE);
    auto odd = begin();
    mt_recipe_add(&odd, kSp + 4, 1, 1);
    EXPECT_EQ(odd.needs, MT_NEEDS_MORE);
    auto full = begin();
    for (std::uint64_t i = 0; i < MT_RECIPE_WORDS; ++i) {
        mt_recipe_add(&full, kSp + 8 * i, word_at(kSp + 8 * i), 1);
    }
    EXPECT_EQ(full.needs, 0);
    EXPECT_TRUE(alike(full));
    EXPECT_EQ(stack.depth, MT_RECIPE_WORDS + 1u);
    mt_recipe_add(&full, kSp + 8 * MT_RECIPE_WORDS, 1, 1);
    EXPECT_EQ(full.needs, MT_NEEDS_MORE);
}

/// Functions of 64 bytes, each with one rule of those that a recipe can tell of, the last one a thread's first.
class RecallOfWalks : public Recall {
protected:
    static constexpr std::uint64_t kCode = 0x400000;
    static constexpr int kFunctions = 6;

    std::uint64_t below(std::uint64_t bound) { return dice() % bound; }

    mt_unwind_rule any_rule() {
        mt_unwind_rule rule{};
        rule.cfa = MT_CFA_REGISTER;
        rule.base = std::array{MT_DWARF_SP, MT_DWARF_SP, MT_DWARF_BP, MT_DWARF_BX}.at(below(4));
        rule.offset = static_cast<std::int32_t>(8 * (1 + below(6)));
        rule.bp = static_cast<std::uint8_t>(below(3));
        rule.bx = static_cast<std::uint8_t>(below(3));
        rule.bp_offset = static_cast<std::int16_t>(8 * below(3));
        rule.bx_offset = static_cast<std::int16_t>(8 * below(3));
        return rule;
    }
    /// Any rules; a stack of return addresses and of registers that point into it.
    void deal() {
        TableBuilder builder(kCode);
        for (int i = 0; i < kFunctions; ++i) {
            mt_unwind_rule end{};
            end.cfa = MT_CFA_END;
            builder.add(kCode + 64 * i, i + 1 < kFunctions ? any_rule() : end);
        }
        const mt_unwind_range range{kCode, kCode + 64 * kFunctions, 0, 1, 0, MT_RANGE_READY};
        machine.shards = {{}, builder.finish(kCode + 64 * kFunctions)->words(), encode_space({range})};
        std::generate(words.begin(), words.end(),
                      [this] { return below(3) == 0 ? kSp + 8 * below(64) : kCode + 1 + below(64 * kFunctions - 1); });
    }
    mt_recipe any_begin() {
        auto recipe = begin();
        recipe.pc = kCode + 1 + below(64 * kFunctions - 1);
        recipe.bp = kSp + 8 * below(64);
        recipe.bx = kSp + 8 * below(64);
        return recipe;
    }
    void walk(mt_recipe& recipe, mt_stack& to) {
        mt_window_close(&window);
        mt_cursor cursor{};
        cursor.space = 2;
        to.address[0] = recipe.pc;
        mt_unwind(&to, &recipe, &window, &cursor, MT_MAX_FRAMES);
    }
    /// Whether a walk that begins so is taken for that of `recipe`. Then it must be that one.
    bool recalled_rightly(const mt_recipe& recipe, mt_recipe now) {
        if (!mt_begins_alike(&recipe, &now) || !alike(recipe)) {
            return false;
        }
        mt_stack fresh{};
        walk(now, fresh);
        EXPECT_EQ(now.stack_hash, recipe.stack_hash);
        EXPECT_EQ(fresh.depth, stack.depth);
        EXPECT_EQ(fresh.flags, stack.flags);
        EXPECT_EQ(fresh.certain, stack.certain);
        EXPECT_TRUE(std::equal(fresh.address + 1, fresh.address + fresh.depth, stack.address + 1));
        return true;
    }

    std::mt19937_64 dice{20'261'124};
};

TEST_F(RecallOfWalks, AWalkThatIsTakenForAnotherIsThatOne) {
    int known = 0;
    int again = 0;
    for (int i = 0; i < 20'000 && !HasFailure(); ++i) {
        deal();
        auto recipe = any_begin();
        mt_stack first{};
        walk(recipe, first);
        if ((recipe.needs & MT_NEEDS_MORE) != 0) {
            continue;
        }
        ++known;
        ASSERT_TRUE(recalled_rightly(recipe, recipe));
        for (int change = 0; change < 8; ++change) { // of the registers
            auto now = any_begin();
            now.pc = recipe.pc;
            again += recalled_rightly(recipe, now);
        }
        for (int change = 0; change < 8; ++change) { // of a word
            auto& word = word_at(kSp + 8 * below(96));
            const auto before = word;
            word = kCode + 1 + below(64 * kFunctions - 1);
            again += recalled_rightly(recipe, recipe);
            word = before;
        }
    }
    EXPECT_GT(known, 2'000);
    EXPECT_GT(again, known) << "most walks need few of all registers and words";
}

TEST_F(Recall, AHostileRecipeIsBounded) {
    auto recipe = begin();
    recipe.words = ~0u;
    for (auto& word : recipe.word) {
        word.place = 0xffff;
    }
    EXPECT_FALSE(alike(recipe));
}

} // namespace
