// Sampling as a whole, by the kernel's own code: estimates centre on the truth and intervals cover it as often as they say.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "analyze/estimate.hpp"
#include "bpf/sampling.h"
#include "tests/unit/sampling_fixture.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kSites = 7;
constexpr std::size_t kThreads = 3;
constexpr int kRuns = 4000;
// Two-sided false-alarm rate of 6e-5 for each of some hundred z-tests; the seeds are fixed, so they pass or fail for good.
constexpr double kLargestZ = 4;

struct Allocation {
    std::uint64_t size;
    std::size_t site;
    std::size_t thread;
    bool lives; ///< is still there at the end
};

/// What a site's total is estimated from; what is asked for is bytes or objects, of all blocks or of those that live.
struct Total {
    double value = 0;
    double variance = 0;
};
enum Quantity : std::size_t { kAllBytes, kAllObjects, kLiveBytes, kLiveObjects, kQuantities };
using SiteTotals = std::array<Total, kQuantities>;
using Totals = std::array<SiteTotals, kSites>;

std::vector<Allocation> make_workload() {
    std::mt19937_64 random(11);
    std::lognormal_distribution<double> mixed(7, 1.5);
    std::vector<Allocation> out;
    const auto put = [&](std::size_t site, int count, const std::function<std::uint64_t()>& size) {
        for (int i = 0; i < count; ++i) {
            out.push_back({size(), site, random() % kThreads, random() % 3 == 0});
        }
    };
    put(0, 4000, [] { return 256U; });
    put(1, 6000, [] { return 512U; });
    put(2, 2000, [] { return 4096U; });
    put(3, 200, [] { return 40'000U; });
    put(4, 3000, [&] { return static_cast<std::uint64_t>(mixed(random)); });
    put(5, 40, [] { return 1U << 20; });
    put(6, 400, [&] { return random() % 100 == 0 ? 30'000U : 100U; });
    std::shuffle(out.begin(), out.end(), random);
    return out;
}

void add(SiteTotals& totals, const Allocation& allocation, Total bytes, Total objects) {
    const auto put = [](Total& total, Total part) {
        total.value += part.value;
        total.variance += part.variance;
    };
    put(totals[kAllBytes], bytes);
    put(totals[kAllObjects], objects);
    if (allocation.lives) {
        put(totals[kLiveBytes], bytes);
        put(totals[kLiveObjects], objects);
    }
}

Totals truth_of(const std::vector<Allocation>& workload) {
    Totals totals;
    for (const auto& allocation : workload) {
        add(totals[allocation.site], allocation, {static_cast<double>(allocation.size), 0}, {1, 0});
    }
    return totals;
}

const testing::SamplingTables kTables;

/// The interval for the allocation with this number, when so many have been kept up to then.
using IntervalRule = std::function<std::uint64_t(std::size_t number, std::size_t kept)>;

/// One run of the kernel half's sampler over the workload.
Totals sample(const std::vector<Allocation>& workload, const IntervalRule& interval_at, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::array<mt_sampler, kThreads> samplers{};
    Totals totals;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < workload.size(); ++i) {
        const auto& allocation = workload[i];
        const auto interval = interval_at(i, kept);
        if (interval != 0) {
            auto* sampler = &samplers[allocation.thread];
            if (!mt_sampler_is_set(sampler, interval)) {
                mt_sampler_set(sampler, interval, static_cast<std::uint32_t>(random()), kTables.draws.data());
            }
            if (!mt_sampler_takes(sampler, allocation.size)) {
                continue;
            }
        }
        ++kept;
        mt_weight weight{};
        mt_weigh(allocation.size, interval, kTables.weights.data(), &weight);
        add(totals[allocation.site], allocation,
            {static_cast<double>(weight.bytes), std::ldexp(static_cast<double>(weight.bytes_variance), MT_BYTES_VARIANCE_SHIFT)},
            {std::ldexp(static_cast<double>(weight.objects), -MT_OBJECT_SHIFT),
             std::ldexp(static_cast<double>(weight.objects_variance), -MT_OBJECTS_VARIANCE_SHIFT)});
    }
    return totals;
}

/// What many runs say of one quantity of one site.
struct Outcome {
    double truth = 0;
    double sum = 0;
    double squares = 0;
    double variance = 0; ///< sum of the estimates of it
    double covered = 0;

    [[nodiscard]] double mean() const { return sum / kRuns; }
    [[nodiscard]] double true_variance() const { return squares / kRuns; } ///< about the truth
    [[nodiscard]] double z() const { return (mean() - truth) / std::sqrt(true_variance() / kRuns); }
    [[nodiscard]] double coverage() const { return covered / kRuns; }
    /// How many records of equal weight would be this precise.
    [[nodiscard]] double records() const { return truth * truth / true_variance(); }
};

std::vector<Outcome> outcomes_of(const IntervalRule& interval_at, double largest_interval) {
    const auto workload = make_workload();
    const auto truth = truth_of(workload);
    std::vector<Outcome> outcomes(kSites * kQuantities);
    for (int run = 0; run < kRuns; ++run) {
        const auto totals = sample(workload, interval_at, static_cast<std::uint32_t>(run + 1));
        for (std::size_t at = 0; at < outcomes.size(); ++at) {
            const auto site = at / kQuantities;
            const auto quantity = at % kQuantities;
            const auto& total = totals[site][quantity];
            auto& outcome = outcomes[at];
            outcome.truth = truth[site][quantity].value;
            const auto size = truth[site][kAllBytes].value / truth[site][kAllObjects].value;
            const bool bytes = quantity == kAllBytes || quantity == kLiveBytes;
            const auto interval = interval95(total.value, total.variance, bytes ? largest_interval : largest_interval / size);
            outcome.sum += total.value;
            outcome.squares += (total.value - outcome.truth) * (total.value - outcome.truth);
            outcome.variance += total.variance;
            outcome.covered += interval.low <= outcome.truth && outcome.truth <= interval.high ? 1 : 0;
        }
    }
    return outcomes;
}

void expect_sound(const std::vector<Outcome>& outcomes) {
    for (std::size_t at = 0; at < outcomes.size(); ++at) {
        const auto& outcome = outcomes[at];
        SCOPED_TRACE(::testing::Message() << "site " << at / kQuantities << ", quantity " << at % kQuantities
                                          << ", as precise as " << outcome.records() << " records, coverage "
                                          << outcome.coverage());
        if (outcome.true_variance() <= 1e-6 * outcome.truth * outcome.truth) {
            EXPECT_NEAR(outcome.mean() / outcome.truth, 1, 1e-4) << "practically every block is kept";
            continue;
        }
        EXPECT_LT(std::fabs(outcome.z()), kLargestZ);
        EXPECT_NEAR(outcome.variance / kRuns / outcome.true_variance(), 1, 0.15);
        // A handful of records come in steps: no interval can cover 95 % of each truth.
        if (outcome.records() >= 30) {
            EXPECT_GE(outcome.coverage(), 0.93);
        } else if (outcome.records() >= 5) {
            EXPECT_GE(outcome.coverage(), 0.87);
        }
        // Where most blocks are kept, the interval allows for small ones that were not seen.
        if (outcome.records() >= 5 && outcome.records() < 1000) {
            EXPECT_LE(outcome.coverage(), 0.97);
        }
    }
}

TEST(SamplingStatistics, OneInterval) {
    expect_sound(outcomes_of([](std::size_t, std::size_t) { return 65'536; }, 65'536));
}

TEST(SamplingStatistics, IntervalThatChangesWhileRunning) {
    constexpr std::array<std::uint64_t, 5> kIntervals{65'536, 16'384, 262'144, 0, 32'768};
    expect_sound(outcomes_of([&](std::size_t i, std::size_t) { return kIntervals[i / 700 % kIntervals.size()]; }, 262'144));
}

// As a governor does: more was kept than wanted, so the interval grows.
TEST(SamplingStatistics, IntervalThatFollowsWhatWasKept) {
    expect_sound(outcomes_of(
        [](std::size_t i, std::size_t kept) { return kept * 25 > i ? std::uint64_t{131'072} : std::uint64_t{32'768}; }, 131'072));
}

// Blocks of one size under one interval: what is claimed of 95 %.
TEST(SamplingStatistics, IntervalsOfEqualRecordsCoverFromFiveRecordsOn) {
    const auto outcomes = outcomes_of([](std::size_t, std::size_t) { return 65'536; }, 65'536);
    for (std::size_t at = 0; at < 3 * kQuantities; ++at) {
        ASSERT_GE(outcomes[at].records(), 4.5);
        EXPECT_GE(outcomes[at].coverage(), 0.93) << at;
        EXPECT_LE(outcomes[at].coverage(), 0.97) << at;
    }
}

TEST(Interval95, NothingSampledIsNotNothingThere) {
    const auto interval = interval95(0, 0, 65'536);
    EXPECT_EQ(interval.low, 0);
    EXPECT_NEAR(interval.high, 3.84 * 65'536, 100);
}

TEST(Interval95, ExactTotalHasNoWidth) {
    const auto interval = interval95(1000, 0, 0);
    EXPECT_EQ(interval.low, 1000);
    EXPECT_EQ(interval.high, 1000);
}

TEST(Interval95, ManyRecordsMakeItTheUsualOne) {
    const auto interval = interval95(1e6, 1e6, 1);
    EXPECT_NEAR(interval.low, 1e6 - 1960, 3);
    EXPECT_NEAR(interval.high, 1e6 + 1960, 3);
}

} // namespace
} // namespace memtrace
