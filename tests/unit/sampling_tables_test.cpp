// The tables that the kernel half samples with, and the weights that it computes from them, held to long double.
#include "kernel/sampling_tables.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "tests/unit/sampling_fixture.hpp"

namespace memtrace {
namespace {

const testing::SamplingTables kTables;

mt_weight weigh(std::uint64_t size, std::uint64_t interval) {
    mt_weight weight{};
    mt_weigh(size, interval, kTables.weights.data(), &weight);
    return weight;
}

long double true_p(std::uint64_t size, std::uint64_t interval) {
    return -std::expm1(-static_cast<long double>(size) / static_cast<long double>(interval));
}

std::vector<std::uint64_t> intervals() {
    std::vector<std::uint64_t> out{512, 1000, 4095, 70'000, 524'287, 1'000'003, 1'000'000'000};
    for (std::uint64_t interval = 512; interval <= MT_MAX_INTERVAL; interval *= 2) {
        out.push_back(interval);
    }
    return out;
}

/// Sizes from 1 up with S/R from 1e-7 to 100, 200 in each power of ten; and around the end of the table.
std::vector<std::uint64_t> sizes_for(std::uint64_t interval) {
    std::vector<std::uint64_t> out{1, 2, 3, 16 * interval - 1, 16 * interval, 16 * interval + 1};
    for (int i = -1400; i <= 400; ++i) {
        const double size = static_cast<double>(interval) * std::pow(10.0, i / 200.0);
        if (size >= 1) {
            out.push_back(static_cast<std::uint64_t>(size));
        }
    }
    return out;
}

// ---- draws --------------------------------------------------------------------------------------------------------------------

long double draw_at(std::size_t i) {
    return std::ldexp(static_cast<long double>(kTables.draws[i]), -MT_DRAW_SHIFT);
}

/// P(draw < x) of the table read with unlimited random bits.
long double drawn_below(long double x) {
    for (std::size_t i = 0; i + 1 < MT_DRAWS; ++i) {
        if (x < draw_at(i + 1)) {
            return (static_cast<long double>(i) + (x - draw_at(i)) / (draw_at(i + 1) - draw_at(i))) / (MT_DRAWS - 1);
        }
    }
    return 1;
}

TEST(Draws, RiseFromZeroAndHaveMeanOne) {
    EXPECT_EQ(kTables.draws.front(), 0U);
    EXPECT_EQ(std::adjacent_find(kTables.draws.begin(), kTables.draws.end(), std::greater_equal<>()), kTables.draws.end());
    long double mean = 0;
    for (std::size_t i = 0; i + 1 < MT_DRAWS; ++i) {
        mean += (draw_at(i) + draw_at(i + 1)) / 2;
    }
    EXPECT_NEAR(static_cast<double>(mean / (MT_DRAWS - 1)), 1, 1e-9);
}

// The first allocation after a draw, and those of a stream of equal sizes in the long run (one kept for each E[ceil(draw / x)]).
TEST(Draws, ProbabilityOfBeingKeptIsWithinATenthOfAPerMille) {
    double worst_first = 0;
    double worst_stream = 0;
    for (int i = -600; i <= 130; ++i) {
        const long double x = std::pow(10.0L, i / 100.0L);
        const long double p = -std::expm1(-x);
        worst_first = std::max(worst_first, static_cast<double>(std::fabs(drawn_below(x) / p - 1)));
        if (i % 10 == 0 && x >= 1e-2L) {
            long double tries = 0;
            for (long double at = 0; at <= draw_at(MT_DRAWS - 1); at += x) {
                tries += 1 - drawn_below(at);
            }
            worst_stream = std::max(worst_stream, static_cast<double>(std::fabs(1 / tries / p - 1)));
        }
    }
    RecordProperty("worst_first", std::to_string(worst_first));
    RecordProperty("worst_stream", std::to_string(worst_stream));
    EXPECT_LT(worst_first, 1.3e-4);
    EXPECT_LT(worst_stream, 4e-5);
}

TEST(Draws, LargestDrawOfTheLargestIntervalFits) {
    mt_sampler sampler{};
    mt_sampler_set(&sampler, MT_MAX_INTERVAL, 0xffff'ffff, kTables.draws.data());
    EXPECT_NEAR(static_cast<double>(sampler.remaining), std::ldexp(std::log(4096.0) + 2, 30), 1e6);
    mt_sampler_set(&sampler, MT_MAX_INTERVAL, 0, kTables.draws.data());
    EXPECT_EQ(sampler.remaining, 0U);
}

// ---- the sampler's step -------------------------------------------------------------------------------------------------------

TEST(Sampler, TakesTheAllocationThatTheMarkFallsInto) {
    mt_sampler sampler{.remaining = 100, .interval = 1024};
    EXPECT_EQ(mt_sampler_takes(&sampler, 60), 0);
    EXPECT_EQ(mt_sampler_takes(&sampler, 40), 0) << "the mark lies on the byte after";
    EXPECT_EQ(sampler.remaining, 0U);
    EXPECT_EQ(mt_sampler_takes(&sampler, 1), 1);
    EXPECT_FALSE(mt_sampler_is_set(&sampler, 1024)) << "a kept allocation asks for a new mark";
}

TEST(Sampler, NoBytesCountAsOne) {
    mt_sampler sampler{.remaining = 1, .interval = 1024};
    EXPECT_EQ(mt_sampler_takes(&sampler, 0), 0);
    EXPECT_EQ(mt_sampler_takes(&sampler, 0), 1);
}

TEST(Sampler, FreshOneAndNewIntervalAskForAMark) {
    mt_sampler sampler{};
    EXPECT_FALSE(mt_sampler_is_set(&sampler, 4096));
    mt_sampler_set(&sampler, 4096, 0x8000'0000, kTables.draws.data());
    EXPECT_NEAR(static_cast<double>(sampler.remaining), 4096 * std::log(2.0), 1);
    EXPECT_TRUE(mt_sampler_is_set(&sampler, 4096));
    EXPECT_FALSE(mt_sampler_is_set(&sampler, 8192));
}

// ---- weights ------------------------------------------------------------------------------------------------------------------

TEST(Weights, ExactRecordsStandForThemselves) {
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{1} << 63}) {
        const auto weight = weigh(size, 0);
        EXPECT_EQ(weight.bytes, size);
        EXPECT_EQ(weight.objects, MT_OBJECT_ONE);
        EXPECT_EQ(weight.bytes_variance, 0U);
        EXPECT_EQ(weight.objects_variance, 0U);
    }
}

TEST(Weights, AgreeWithLongDoubleForEverySizeAndInterval) {
    for (const auto interval : intervals()) {
        for (const auto size : sizes_for(interval)) {
            const auto weight = weigh(size, interval);
            const long double p = true_p(size, interval);
            const long double bytes = static_cast<long double>(size) / p;
            ASSERT_NEAR(static_cast<double>(weight.bytes / bytes), 1, 6e-6 + static_cast<double>(0.5L / bytes))
                << size << " of " << interval;
            ASSERT_NEAR(static_cast<double>(std::ldexp(weight.objects * p, -MT_OBJECT_SHIFT)), 1, 2e-5)
                << size << " of " << interval;
            ASSERT_GE(weight.bytes, size);
            ASSERT_GE(weight.objects, MT_OBJECT_ONE);
        }
    }
}

TEST(Weights, BytesAreWithinATenthOfAPerMilleFromEightKibibytesOn) {
    for (const auto interval : intervals()) {
        if (interval < 8192) {
            continue;
        }
        for (const auto size : sizes_for(interval)) {
            ASSERT_NEAR(
                static_cast<double>(static_cast<long double>(weigh(size, interval).bytes) * true_p(size, interval) / size), 1,
                1e-4)
                << size << " of " << interval;
        }
    }
}

// In units of the largest that it can be, R^2 for bytes; relative for objects, but for what rounding o to 2^-16 takes.
TEST(Weights, VariancesAgreeWithHorvitzAndThompson) {
    for (const auto interval : intervals()) {
        for (const auto size : sizes_for(interval)) {
            const auto weight = weigh(size, interval);
            const long double p = true_p(size, interval);
            const long double object_weight = 1 / p;
            const long double bytes_variance = (1 - p) * (size * object_weight) * (size * object_weight);
            const long double unit = std::ldexp(1.0L, MT_BYTES_VARIANCE_SHIFT);
            const long double square = static_cast<long double>(interval) * interval;
            ASSERT_NEAR(static_cast<double>((weight.bytes_variance * unit - bytes_variance) / square), 0,
                        static_cast<double>(3e-5L + (unit / 2 + 8.0L * interval) / square))
                << size << " of " << interval;
            const long double objects_variance = (1 - p) * object_weight * object_weight;
            if (object_weight >= 1 << 24) {
                ASSERT_EQ(weight.objects_variance, ~std::uint64_t{0});
                continue;
            }
            ASSERT_NEAR(
                static_cast<double>(std::ldexp(static_cast<long double>(weight.objects_variance), -MT_OBJECTS_VARIANCE_SHIFT)),
                static_cast<double>(objects_variance), static_cast<double>(4e-5L + 1e-4L * objects_variance))
                << size << " of " << interval;
        }
    }
}

TEST(Weights, ToldOnesAreThoseOfADrawOfTheSameProbability) {
    for (const std::uint64_t interval : intervals()) {
        for (const auto size : sizes_for(interval)) {
            const auto p = true_p(size, interval);
            const auto whole = static_cast<std::uint64_t>(std::llround(static_cast<long double>(size) / p));
            const auto told = weigh(size, mt_told_interval(whole));
            const auto w = static_cast<long double>(whole);
            const auto s = static_cast<long double>(size);
            EXPECT_EQ(told.bytes, whole);
            EXPECT_NEAR(std::ldexp(static_cast<long double>(told.objects), -MT_OBJECT_SHIFT) / (w / s), 1, 2e-5)
                << size << ' ' << whole;
            const auto variance = std::ldexp(static_cast<long double>(told.bytes_variance), MT_BYTES_VARIANCE_SHIFT);
            EXPECT_NEAR(variance, w * (w - s), 1e-5L * w * (w - s) + 65536) << size << ' ' << whole;
            if (w / s < 1 << 23) {
                const auto objects = std::ldexp(static_cast<long double>(told.objects_variance), -MT_OBJECTS_VARIANCE_SHIFT);
                EXPECT_NEAR(objects, w / s * (w / s - 1), 1e-4L * (w / s) * (w / s - 1) + 1e-4L) << size << ' ' << whole;
            }
        }
    }
}

TEST(Weights, ToldOnesThatMakeNoSenseStandForTheBlockAlone) {
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4096}, ~std::uint64_t{0} >> 1}) {
        for (const std::uint64_t whole : {std::uint64_t{0}, size}) {
            const auto told = weigh(size, mt_told_interval(whole));
            EXPECT_EQ(told.bytes, size);
            EXPECT_EQ(told.objects, MT_OBJECT_ONE);
            EXPECT_EQ(told.bytes_variance, 0U);
            EXPECT_EQ(told.objects_variance, 0U);
        }
    }
    EXPECT_EQ(weigh(0, mt_told_interval(1000)).bytes, 1000U); // told of no bytes that stand for some: they do
    EXPECT_EQ(weigh(0, mt_told_interval(1000)).objects, MT_OBJECT_ONE);
    EXPECT_EQ(weigh(1, mt_told_interval(~std::uint64_t{0})).bytes, MT_MAX_TOLD_WEIGHT);
}

/// OpenTelemetry's contract: a block stands for an interval for each mark in it, be that less than its size.
TEST(Weights, ToldOnesOfMarksAreTakenAsTheyAre) {
    const auto told = weigh(700'000, mt_told_interval(524'288));
    EXPECT_EQ(told.bytes, 524'288U);
    EXPECT_NEAR(std::ldexp(static_cast<double>(told.objects), -MT_OBJECT_SHIFT), 524'288.0 / 700'000, 2e-5);
    EXPECT_NEAR(std::ldexp(static_cast<double>(told.bytes_variance), MT_BYTES_VARIANCE_SHIFT), 175'712.0 * 175'712, 65'536);
    EXPECT_GT(told.objects_variance, 0U);
    const auto huge = weigh(std::uint64_t{1} << 62, mt_told_interval(4096));
    EXPECT_EQ(huge.bytes, 4096U);
    EXPECT_GT(huge.bytes_variance, std::uint64_t{1} << 62);
}

/// As they are, marks are unbiased for blocks of any size, and the variance said is no less than it is.
TEST(Weights, ToldOnesOfMarksAreUnbiased) {
    constexpr std::uint64_t kInterval = 65'536;
    constexpr double kDraws = 200'000;
    std::mt19937_64 random(1);
    for (const double x : {0.05, 0.5, 0.9, 1.0, 1.1, 2.0, 5.0, 20.0}) {
        const auto size = static_cast<std::uint64_t>(x * kInterval);
        std::poisson_distribution<std::uint64_t> marks(x);
        double bytes = 0;
        double objects = 0;
        double variance = 0;
        for (int i = 0; i < static_cast<int>(kDraws); ++i) {
            if (const auto n = marks(random); n != 0) {
                const auto told = weigh(size, mt_told_interval(n * kInterval));
                bytes += static_cast<double>(told.bytes);
                objects += std::ldexp(static_cast<double>(told.objects), -MT_OBJECT_SHIFT);
                variance += std::ldexp(static_cast<double>(told.bytes_variance), MT_BYTES_VARIANCE_SHIFT);
            }
        }
        const auto deviation = 1 / std::sqrt(x * kDraws); // relative, of what was told
        EXPECT_NEAR(bytes / (kDraws * static_cast<double>(size)), 1, 5 * deviation) << x;
        EXPECT_NEAR(objects / kDraws, 1, 5 * deviation) << x;
        const auto said = variance / (kDraws * x * kInterval * kInterval);
        EXPECT_GT(said, 0.95) << x;
        EXPECT_LT(said, 4) << x;
    }
}

TEST(Weights, LargestSizesDoNotOverflow) {
    for (const auto interval : intervals()) {
        for (int bit = 35; bit < 64; ++bit) {
            for (const auto size : {std::uint64_t{1} << bit, (std::uint64_t{1} << bit) - 1, (std::uint64_t{1} << bit) + 1}) {
                const auto weight = weigh(size, interval);
                ASSERT_EQ(weight.bytes, size);
                ASSERT_EQ(weight.objects, MT_OBJECT_ONE);
                ASSERT_EQ(weight.bytes_variance, 0U);
            }
        }
    }
}

TEST(Weights, BlockOfNoBytesIsAnObjectWithoutBytes) {
    const auto weight = weigh(0, 65'536);
    EXPECT_EQ(weight.bytes, 0U);
    EXPECT_EQ(weight.bytes_variance, 0U);
    EXPECT_EQ(weight.objects, weigh(1, 65'536).objects);
}

} // namespace
} // namespace memtrace
