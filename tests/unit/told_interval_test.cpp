// The interval that a program samples by, from the weights that it tells: of both kinds that there are.
#include "app/told_interval.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace memtrace {
namespace {

constexpr std::uint64_t kInterval = 524'288;

std::uint64_t by_probability(std::uint64_t size, std::uint64_t interval = kInterval) {
    const auto bytes = static_cast<double>(size);
    return static_cast<std::uint64_t>(std::llround(bytes / -std::expm1(-bytes / static_cast<double>(interval))));
}

TEST(ToldInterval, NothingIsKnownWithoutBlocks) {
    ToldInterval told;
    EXPECT_FALSE(told.add(0, 1000));
    EXPECT_FALSE(told.add(1000, 0));
    EXPECT_EQ(told.value(), 0U);
}

TEST(ToldInterval, ProbabilitiesOfBlocksOfAnySizeSayIt) {
    for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{5000}, kInterval, 3 * kInterval}) {
        ToldInterval told;
        EXPECT_TRUE(told.add(size, by_probability(size)));
        EXPECT_NEAR(static_cast<double>(told.value()), kInterval, 0.01 * kInterval) << size;
        EXPECT_FALSE(told.add(size, by_probability(size))) << "it is known";
    }
}

TEST(ToldInterval, SmallBlocksAreBelievedAndOthersNotBesideThem) {
    ToldInterval told;
    told.add(kInterval, 3 * kInterval); // three marks in a block of one interval
    for (int i = 0; i < 100; ++i) {
        told.add(64, kInterval);
        told.add(kInterval, 3 * kInterval);
    }
    EXPECT_EQ(told.value(), kInterval - 32);
}

TEST(ToldInterval, MarksAreCounted) {
    std::mt19937_64 random(1);
    std::poisson_distribution<std::uint64_t> marks(64.0 / 8192);
    ToldInterval told;
    int changes = 0;
    for (int i = 0; i < 1'000'000; ++i) {
        changes += told.add(64, 8192 * marks(random)) ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(told.value()), 8192, 82);
    EXPECT_LE(changes, 2);
}

TEST(ToldInterval, OfLargeBlocksAloneTheLeastWeightIsIt) {
    ToldInterval told;
    told.add(700'000, 2 * kInterval);
    told.add(700'000, kInterval);
    told.add(700'000, 3 * kInterval);
    EXPECT_EQ(told.value(), kInterval);
}

TEST(ToldInterval, AnotherOneIsBelievedWhenSmallBlocksAgree) {
    ToldInterval told;
    told.add(64, 8192);
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(told.add(64, 4096));
    }
    EXPECT_TRUE(told.add(64, 4096));
    EXPECT_EQ(told.value(), 4096U - 32);
}

} // namespace
} // namespace memtrace
