// Stacks of the kernel half that are taken out, in a map of its own kind.
#include "kernel/dead_stacks.hpp"

#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"
#include "kernel/map_reader.hpp"

namespace memtrace {
namespace {

struct DeadStacksTest : testing::Test {
    static constexpr std::uint32_t kRoom = 16;

    void SetUp() override {
        if (!map) {
            GTEST_SKIP() << "no right to make maps";
        }
    }
    bool store(std::uint64_t key) const {
        mt_stack stack{};
        stack.depth = 1;
        stack.address[0] = key;
        return bpf_map_update_elem(map.get(), &key, &stack, BPF_NOEXIST) == 0;
    }
    [[nodiscard]] bool has(std::uint64_t key) const {
        const auto stack = read_stack_map(map.get(), key);
        return stack && stack->address[0] == key;
    }
    UniqueFd map{bpf_map_create(BPF_MAP_TYPE_HASH, "stacks", sizeof(std::uint64_t), sizeof(mt_stack), kRoom, nullptr)};
    DeadStacks stacks{map.get(), kRoom};
    std::set<std::uint64_t> named;
};

TEST_F(DeadStacksTest, ManyAreAnEighthOfTheRoom) {
    stacks.add(0);
    stacks.add(1);
    stacks.add(1);
    EXPECT_FALSE(stacks.many());
    stacks.add(2);
    EXPECT_TRUE(stacks.many());
}

TEST_F(DeadStacksTest, WhatIsNamedGoesBackAndCanBeReadMeanwhile) {
    for (const std::uint64_t key : {1, 2, 3}) {
        store(key);
    }
    stacks.add(1);
    stacks.add(2);
    stacks.take_out();
    EXPECT_FALSE(has(1) || has(2));
    EXPECT_TRUE(has(3)) << "nobody said that it was dead";
    EXPECT_EQ(stacks.find(2)->address[0], 2U);
    EXPECT_FALSE(stacks.find(3));
    named = {2, 3};
    stacks.settle(&named);
    EXPECT_TRUE(has(2) && has(3));
    EXPECT_FALSE(has(1) || stacks.find(1) || stacks.find(2));
    EXPECT_FALSE(stacks.many());
}

TEST_F(DeadStacksTest, AllGoBackWhereNobodyKnowsWhatIsNamed) {
    store(1);
    stacks.add(1);
    stacks.take_out();
    stacks.settle(nullptr);
    EXPECT_TRUE(has(1));
}

TEST_F(DeadStacksTest, OneThatWasStoredAgainMeanwhileStays) {
    store(1);
    stacks.add(1);
    stacks.take_out();
    store(1);
    named = {1};
    stacks.settle(&named);
    EXPECT_TRUE(has(1));
    EXPECT_FALSE(stacks.find(1));
}

TEST_F(DeadStacksTest, OneThatFindsNoRoomAnyMoreIsNotLost) {
    store(1);
    stacks.add(1);
    stacks.take_out();
    for (std::uint64_t key = 100; store(key); ++key) {
    }
    named = {1};
    stacks.settle(&named);
    EXPECT_FALSE(has(1));
    EXPECT_EQ(stacks.find(1)->address[0], 1U);
}

} // namespace
} // namespace memtrace
