#include "analyze/growth.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace memtrace {
namespace {

using Series = std::vector<double>;

Series counted(std::size_t size) {
    Series seconds;
    for (std::size_t i = 0; i < size; ++i) {
        seconds.push_back(static_cast<double>(i));
    }
    return seconds;
}

// ---- the slope ----------------------------------------------------------------------------------------------------------------

/// The median of all pairs' slopes, by sorting them all.
double slope_by_definition(const Series& seconds, const Series& values) {
    Series slopes;
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = 0; j < values.size(); ++j) {
            if (seconds[i] < seconds[j]) {
                slopes.push_back((values[j] - values[i]) / (seconds[j] - seconds[i]));
            }
        }
    }
    std::sort(slopes.begin(), slopes.end());
    const auto n = slopes.size();
    return n == 0 ? 0 : n % 2 == 1 ? slopes[n / 2] : (slopes[n / 2 - 1] + slopes[n / 2]) / 2;
}

TEST(TheilSen, TooFewPointsHaveNoSlope) {
    EXPECT_EQ(theil_sen({}, {}).per_s, 0);
    EXPECT_EQ(theil_sen(Series{1}, Series{5}).per_s, 0);
    EXPECT_EQ(theil_sen(Series{1, 1, 1}, Series{5, 6, 7}).per_s, 0) << "one moment is no time";
}

TEST(TheilSen, ExactOnALine) {
    EXPECT_DOUBLE_EQ(theil_sen(Series{0, 2, 3, 10}, Series{100, 106, 109, 130}).per_s, 3);
    EXPECT_DOUBLE_EQ(theil_sen(Series{0, 1}, Series{10, 4}).per_s, -6);
    EXPECT_DOUBLE_EQ(theil_sen(counted(50), Series(50, 7)).per_s, 0);
}

// Sen 1968, the worked example: 21 pairs, slope 4.
TEST(TheilSen, WorkedExampleOfThePaper) {
    EXPECT_DOUBLE_EQ(theil_sen(Series{1, 2, 3, 4, 10, 12, 18}, Series{9, 15, 19, 20, 45, 55, 78}).per_s, 4);
}

TEST(TheilSen, EqualsItsDefinitionOnRandomSeries) {
    std::mt19937_64 random(11);
    for (std::size_t size = 2; size < 70; ++size) {
        Series seconds;
        Series values;
        double now = 0;
        for (std::size_t i = 0; i < size; ++i) {
            now += static_cast<double>(random() % 4); // some moments come twice
            seconds.push_back(now);
            values.push_back(static_cast<double>(random() % 50));
        }
        EXPECT_DOUBLE_EQ(theil_sen(seconds, values).per_s, slope_by_definition(seconds, values)) << "size " << size;
    }
}

TEST(TheilSen, OutliersUpToAQuarterDoNotMoveIt) {
    const auto seconds = counted(40);
    Series values;
    for (const double at : seconds) {
        values.push_back(1000 + 5 * at);
    }
    std::mt19937_64 random(5);
    for (int i = 0; i < 10; ++i) {
        values[random() % values.size()] = 1e9;
    }
    EXPECT_NEAR(theil_sen(seconds, values).per_s, 5, 1e-9);
}

TEST(TheilSen, IntervalHoldsTheSlopeInNineteenOfTwentySeries) {
    std::mt19937_64 random(3);
    std::normal_distribution<double> noise(0, 20);
    int held = 0;
    constexpr int kSeries = 2'000;
    for (int i = 0; i < kSeries; ++i) {
        const auto seconds = counted(30);
        Series values;
        for (const double at : seconds) {
            values.push_back(3 * at + noise(random));
        }
        const auto slope = theil_sen(seconds, values);
        EXPECT_LE(slope.low, slope.per_s);
        EXPECT_GE(slope.high, slope.per_s);
        held += slope.low <= 3 && 3 <= slope.high ? 1 : 0;
    }
    EXPECT_NEAR(held, 1'900, 45) << "four standard deviations";
}

// ---- the trend ----------------------------------------------------------------------------------------------------------------

double statistic(const Series& values) {
    double s = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = i + 1; j < values.size(); ++j) {
            s += (values[j] > values[i]) - (values[j] < values[i]);
        }
    }
    return s;
}

/// The share of all orders of these values whose statistic is at least theirs: the p-value by definition. next_permutation goes
/// through the distinct orders of values with ties, which are equally likely.
double p_by_permutation(Series values) {
    const double s = statistic(values);
    std::sort(values.begin(), values.end());
    double all = 0;
    double at_least = 0;
    do {
        ++all;
        at_least += statistic(values) >= s ? 1 : 0;
    } while (std::next_permutation(values.begin(), values.end()));
    return at_least / all;
}

/// The same without ties for any size: the probability of each statistic, by the recurrence over sizes.
std::map<int, double> distribution(std::size_t size) {
    std::map<int, double> share{{0, 1}};
    for (std::size_t n = 2; n <= size; ++n) {
        std::map<int, double> next;
        for (const auto& [value, weight] : share) {
            for (std::size_t below = 0; below < n; ++below) { // the new last value is larger than `below` of the others
                next[value + 2 * static_cast<int>(below) - static_cast<int>(n - 1)] += weight / static_cast<double>(n);
            }
        }
        share = std::move(next);
    }
    return share;
}

double p_by_counting(const std::map<int, double>& share, double s) {
    double p = 0;
    for (const auto& [value, weight] : share) {
        p += value >= s ? weight : 0;
    }
    return p;
}

TEST(MannKendall, TooFewOrEqualValuesSayNothing) {
    EXPECT_EQ(mann_kendall_rise({}), 1);
    EXPECT_EQ(mann_kendall_rise(Series{1, 2, 3}), 1);
    EXPECT_EQ(mann_kendall_rise(Series(64, 5)), 1);
}

// Kendall's table of the exact distribution, one-sided: what p_by_counting must give before it is used as a yardstick.
TEST(MannKendall, YardstickIsThatOfTheTables) {
    EXPECT_NEAR(p_by_counting(distribution(4), 6), 0.042, 5e-4);
    EXPECT_NEAR(p_by_counting(distribution(5), 8), 0.042, 5e-4);
    EXPECT_NEAR(p_by_counting(distribution(8), 16), 0.031, 5e-4);
    EXPECT_NEAR(p_by_counting(distribution(10), 21), 0.036, 5e-4);
    EXPECT_NEAR(p_by_counting(distribution(10), 27), 0.008, 5e-4);
    EXPECT_NEAR(p_by_permutation({1, 2, 3, 5, 4, 6, 7, 8}), p_by_counting(distribution(8), 26), 1e-12);
}

// The normal approximation against the exact p, for every rise that n values can have. It errs by little; far out, where verdicts
// are made, it gives more than the exact p: it errs to the side of silence.
TEST(MannKendall, ApproximationIsCloseToTheExactProbability) {
    for (const std::size_t size : {8U, 10U, 16U, 32U, 64U}) {
        const auto share = distribution(size);
        auto values = counted(size); // from a pure rise on, one exchange of neighbours at a time
        for (std::size_t end = size; end > 1; --end) {
            for (std::size_t at = 0; at + 1 < end && statistic(values) > 0; ++at) {
                const auto exact = p_by_counting(share, statistic(values));
                const auto given = mann_kendall_rise(values);
                ASSERT_NEAR(given, exact, 0.012) << "size " << size << ", statistic " << statistic(values);
                if (exact < 1e-4) {
                    ASSERT_GE(given, exact) << "size " << size << ", statistic " << statistic(values);
                }
                std::swap(values[at], values[at + 1]);
            }
        }
    }
}

TEST(MannKendall, TiesAreAllowedFor) {
    for (const Series& values : {Series{1, 1, 2, 2, 3, 3, 4, 4}, Series{1, 1, 1, 1, 2, 2, 2, 2}, Series{1, 2, 2, 2, 2, 2, 3, 3},
                                 Series{1, 1, 2, 1, 2, 2, 3, 2, 3}}) {
        EXPECT_NEAR(mann_kendall_rise(values), p_by_permutation(values), 0.035);
    }
    // Without the correction the variance would be too large and this rise of twos would seem less certain.
    const Series pairs{1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8};
    const double n = 16;
    const double uncorrected = n * (n - 1) * (2 * n + 5) / 18;
    EXPECT_LT(mann_kendall_rise(pairs), 0.5 * std::erfc((statistic(pairs) - 1) / std::sqrt(2 * uncorrected)));
}

// Sixteen values by hand: S = 120, variance 493.33, z = 119 / 22.211 = 5.3577.
TEST(MannKendall, PureRiseByHand) {
    EXPECT_NEAR(mann_kendall_rise(counted(16)), 4.21e-8, 2e-10);
}

TEST(MannKendall, FallIsNoRise) {
    auto values = counted(16);
    std::reverse(values.begin(), values.end());
    EXPECT_GT(mann_kendall_rise(values), 0.999999);
}

TEST(MannKendall, OnlyTheOrderCounts) {
    Series steep;
    for (const double value : counted(20)) {
        steep.push_back(std::exp(value));
    }
    EXPECT_EQ(mann_kendall_rise(steep), mann_kendall_rise(counted(20)));
}

TEST(MannKendall, PValuesOfNoiseAreSpreadEvenly) {
    std::mt19937_64 random(9);
    int below_a_tenth = 0;
    int below_a_hundredth = 0;
    constexpr int kSeries = 5'000;
    for (int i = 0; i < kSeries; ++i) {
        Series values;
        for (int at = 0; at < 40; ++at) {
            values.push_back(static_cast<double>(random() % 100'000));
        }
        const double p = mann_kendall_rise(values);
        below_a_tenth += p < 0.1 ? 1 : 0;
        below_a_hundredth += p < 0.01 ? 1 : 0;
    }
    EXPECT_NEAR(below_a_tenth, 500, 85) << "four standard deviations";
    EXPECT_NEAR(below_a_hundredth, 50, 28) << "four standard deviations";
}

// ---- values that are not independent ------------------------------------------------------------------------------------------

/// Each value keeps the share `memory` of the one before.
Series autocorrelated(std::mt19937_64& random, std::size_t size, double memory) {
    std::normal_distribution<double> noise(0, 1);
    Series values{noise(random)};
    while (values.size() < size) {
        values.push_back(memory * values.back() + noise(random));
    }
    return values;
}

TEST(RankInflation, IndependentValuesNeedHardlyAny) {
    std::mt19937_64 random(7);
    double sum = 0;
    for (int i = 0; i < 500; ++i) {
        sum += rank_inflation(counted(60), autocorrelated(random, 60, 0), 0);
    }
    EXPECT_NEAR(sum / 500, 1.1, 0.2);
}

TEST(RankInflation, CallsAutocorrelatedNoiseATrendLessOften) {
    std::mt19937_64 random(8);
    int naive = 0;
    int corrected = 0;
    constexpr int kSeries = 1'000;
    for (int i = 0; i < kSeries; ++i) {
        const auto seconds = counted(60);
        const auto values = autocorrelated(random, 60, 0.6);
        naive += mann_kendall_rise(values) < 0.05 ? 1 : 0;
        corrected += mann_kendall_rise(values, rank_inflation(seconds, values, theil_sen(seconds, values).per_s)) < 0.05 ? 1 : 0;
    }
    EXPECT_GT(naive, 150) << "taken as independent, one in six is a rise";
    EXPECT_LT(corrected, naive * 4 / 5);
    EXPECT_GE(rank_inflation(counted(4), Series{1, 1, 1, 1}, 0), 1) << "constant";
}

TEST(DriftRise, PValuesOfRandomWalksAreSpreadEvenly) {
    std::mt19937_64 random(5);
    int below_a_tenth = 0;
    int below_a_hundredth = 0;
    for (int i = 0; i < 5'000; ++i) {
        const double p = drift_rise(autocorrelated(random, 40, 1));
        below_a_tenth += p < 0.1 ? 1 : 0;
        below_a_hundredth += p < 0.01 ? 1 : 0;
    }
    EXPECT_NEAR(below_a_tenth, 500, 85) << "four standard deviations";
    EXPECT_NEAR(below_a_hundredth, 50, 28) << "four standard deviations";
    EXPECT_LT(drift_rise(counted(40)), 1e-12);
    EXPECT_EQ(drift_rise(Series{4, 3, 2, 1, 0}), 1);
    EXPECT_EQ(drift_rise(Series{1, 2, 3}), 1);
}

// Benjamini & Hochberg 1995, the worked example: of 15 tests, at 5 %, the four smallest are rejected.
TEST(AdjustedPValues, WorkedExampleOfThePaper) {
    const Series p{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                   0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1};
    const auto adjusted = adjusted_p_values(p);
    EXPECT_EQ(std::count_if(adjusted.begin(), adjusted.end(), [](double value) { return value <= 0.05; }), 4);
    EXPECT_NEAR(adjusted[0], 0.0015, 1e-12);
    EXPECT_NEAR(adjusted[3], 0.0095 * 15 / 4, 1e-12);
    EXPECT_EQ(adjusted[14], 1);
    EXPECT_TRUE(std::is_sorted(adjusted.begin(), adjusted.end()));
    EXPECT_TRUE(adjusted_p_values({}).empty());
}

} // namespace
} // namespace memtrace
