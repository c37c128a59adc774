// Stacks that records name by the kernel half's keys.
#include "app/record_stacks.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace memtrace {
namespace {

constexpr std::size_t kRoom = 8;

struct RecordStacksTest : testing::Test {
    StackId find(RecordStacks::Known& of, std::uint64_t key, std::uint64_t code = 77) {
        return stacks.find(of, key, code, [this](std::uint64_t told_key) {
            told.push_back(told_key);
            return StackId{static_cast<std::uint32_t>(told.size())};
        });
    }
    RecordStacks stacks{kRoom};
    RecordStacks::Known process;
    std::vector<std::uint64_t> told;
};

TEST_F(RecordStacksTest, EachIsToldOnce) {
    const auto first = find(process, 1001);
    EXPECT_NE(find(process, 1002), first);
    EXPECT_EQ(find(process, 1001), first);
    EXPECT_EQ(told, (std::vector<std::uint64_t>{1001, 1002}));
    EXPECT_FALSE(find(process, 1003, 0)) << "a thread without user code";
}

TEST_F(RecordStacksTest, WhatWasNotKeptIsKnownByItsInnermostAddress) {
    const auto first = find(process, 0, 500);
    EXPECT_EQ(find(process, 0, 500), first);
    EXPECT_NE(find(process, 0, 501), first);
    EXPECT_EQ(told, (std::vector<std::uint64_t>{0, 0}));
}

TEST_F(RecordStacksTest, HalfOfTheRoomIsGivenToOthers) {
    for (std::uint64_t key = 1; key < kRoom / 2; ++key) {
        find(process, 1000 + key);
        find(process, 0, 500 + key); // takes none
    }
    EXPECT_TRUE(stacks.take_to_forget().empty());
    RecordStacks::Known other;
    find(other, 2000);
    EXPECT_EQ(stacks.take_to_forget(), (std::set<std::uint64_t>{1001, 1002, 1003, 2000}));
    EXPECT_TRUE(stacks.take_to_forget().empty());
}

TEST_F(RecordStacksTest, OneThatComesAgainIsForgottenAgain) {
    for (int round = 0; round < 5; ++round) {
        for (std::uint64_t key = 1; key <= kRoom / 2; ++key) {
            find(process, key);
            find(process, key);
        }
        EXPECT_EQ(stacks.take_to_forget(), (std::set<std::uint64_t>{1, 2, 3, 4})) << round;
    }
    EXPECT_EQ(told.size(), kRoom / 2) << "the model knows them";
}

TEST_F(RecordStacksTest, AProcessWithoutEndTellsOfSoManyAndThenOfInnermostAddresses) {
    for (std::uint64_t key = 1; key <= RecordStacks::kMostOfProcess; ++key) {
        find(process, key << 8);
    }
    const auto before = told.size();
    EXPECT_EQ(before, RecordStacks::kMostOfProcess);
    (void)stacks.take_to_forget();
    const auto alone = find(process, 3);
    EXPECT_EQ(find(process, 4), alone) << "from the same place";
    EXPECT_EQ(find(process, 0), alone);
    EXPECT_EQ(told.size(), before + 1);
    EXPECT_EQ(told.back(), 0U);
    EXPECT_EQ(find(process, 1 << 8).value, 1U) << "what is known stays so";
    find(process, 5);
    EXPECT_EQ(stacks.take_to_forget(), (std::set<std::uint64_t>{3, 4, 5, 1 << 8})) << "they lie in the kernel half all the same";
    RecordStacks::Known other;
    find(other, 3);
    EXPECT_EQ(told.back(), 3U) << "others have room of their own";
}

} // namespace
} // namespace memtrace
