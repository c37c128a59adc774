// What is kept of a process around an exec.
#include "app/image_change.hpp"

#include <gtest/gtest.h>

namespace memtrace {
namespace {

TEST(EarlyRecords, AreKeptInOrderUpToABound) {
    EarlyRecords<int> early;
    constexpr int kMost = static_cast<int>(EarlyRecords<int>::kMost);
    for (int i = 0; i < kMost + 3; ++i) {
        early.add(i);
    }
    const auto taken = early.take();
    ASSERT_EQ(taken.size(), EarlyRecords<int>::kMost);
    EXPECT_EQ(taken.front(), 0);
    EXPECT_EQ(taken.back(), kMost - 1);
    EXPECT_EQ(early.lost(), 3U);
    early.add(7);
    EXPECT_EQ(early.take(), std::vector<int>{7}) << "there is room again";
    EXPECT_TRUE(early.take().empty());
    EXPECT_EQ(early.lost(), 3U);
}

TEST(ImageCounters, TheImageBeforeIsTakenOffAsFarAsItWasRead) {
    ImageCounters counters;
    const auto shown = [&](std::uint64_t all) {
        mt_counters now{};
        now.value[MT_COUNTER_contract_records_lost] = all;
        mt_counters sum{};
        sum.value[MT_COUNTER_contract_records_lost] = 1000; // of other tiers
        counters.add(now, sum);
        return sum.value[MT_COUNTER_contract_records_lost] - 1000;
    };
    EXPECT_EQ(shown(5), 5U);
    counters.replace_image();
    EXPECT_EQ(shown(7), 2U) << "lost about the time of the exec: it may be the new image's";
    EXPECT_EQ(shown(9), 4U);
    EXPECT_EQ(shown(3), 0U) << "never below zero";
}

} // namespace
} // namespace memtrace
