#include "kernel/hit_cost_model.hpp"

#include <gtest/gtest.h>

#include "kernel/working_set.hpp"

namespace memtrace {
namespace {

HitCosts costs_with(std::vector<GapCost> gaps) {
    HitCosts costs;
    costs.emulated_ns = 400;
    costs.stepped_ns = 1'000;
    costs.return_ns = 200;
    costs.declined_ns = 410;
    costs.gaps = std::move(gaps);
    return costs;
}

const std::vector<GapCost> kGaps{{500, 20}, {2'000, 80}, {9'000, 150}};
constexpr ProgramCosts kPrograms{100, 150, 120, false};

TEST(HitCostModel, MoreIsOnLinesBetweenWhatWasMeasured) {
    EXPECT_EQ(more_at_gap(kGaps, -1), 0);
    EXPECT_EQ(more_at_gap(kGaps, 0), 0);
    EXPECT_DOUBLE_EQ(more_at_gap(kGaps, 250), 10);
    EXPECT_DOUBLE_EQ(more_at_gap(kGaps, 500), 20);
    EXPECT_DOUBLE_EQ(more_at_gap(kGaps, 1'250), 50);
    EXPECT_DOUBLE_EQ(more_at_gap(kGaps, 5'500), 115);
    EXPECT_EQ(more_at_gap(kGaps, 1e9), 150) << "beyond what was measured";
    EXPECT_EQ(more_at_gap({}, 1e9), 0);
}

TEST(HitCostModel, WithoutGapsAHitCostsWhatItsKindDoes) {
    const HitCounts hits{10, 6, 8, 3};
    EXPECT_DOUBLE_EQ(probe_time_ns(costs_with({}), kPrograms, hits, 1e6), 10 * 500 + 6 * 350 + 8 * 520 + 3 * 600);
    auto sessions = kPrograms;
    sessions.sessions = true;
    EXPECT_DOUBLE_EQ(probe_time_ns(costs_with({}), sessions, hits, 1e6), 10 * 510 + 6 * 350 + 8 * 520 + 3 * 600);
}

TEST(HitCostModel, WhatAProgramTellsOfItselfIsHitOnNops) {
    auto programs = kPrograms;
    programs.told_ns = 3'000;
    const HitCounts hits{0, 0, 0, 0, 20};
    EXPECT_DOUBLE_EQ(probe_time_ns(costs_with({}), programs, hits, 1e6), 20 * 3'400);
    EXPECT_NEAR(probe_time_ns(costs_with(kGaps), programs, hits, 20 * 2'000 + 20 * 3'480), 20 * 3'480, 1e-3);
}

TEST(HitCostModel, HeapsToldOfAndRecipesCountToo) {
    auto programs = kPrograms;
    programs.told_heap_ns = 2'000;
    programs.mapped_ns = 1'000;
    const HitCounts told{.told_heap = 20};
    EXPECT_DOUBLE_EQ(probe_time_ns(costs_with({}), programs, told, 1e6), 20 * 2'400);
    EXPECT_NEAR(probe_time_ns(costs_with(kGaps), programs, told, 20 * 2'000 + 20 * 2'480), 20 * 2'480, 1e-3);
    const auto costs = costs_with({});
    const HitCounts recipes{.mapped = 20, .mapped_returns = 5};
    EXPECT_DOUBLE_EQ(probe_time_ns(costs, programs, recipes, 1e6),
                     20 * (costs.emulated_ns + 1'000) + 5 * (costs.return_ns + 1'000));
}

TEST(HitCostModel, OwnTimeBetweenCallsDecidesTheGap) {
    const HitCounts hits{50, 50, 50, 0};
    const double hot = 50 * 500 + 50 * 350 + 50 * 520;
    // 100 calls of 2,000 ns own time each: 80 ns more for each of them, none for returns.
    EXPECT_NEAR(probe_time_ns(costs_with(kGaps), kPrograms, hits, 100 * 2'000 + hot + 100 * 80), hot + 100 * 80, 1e-3);
    EXPECT_NEAR(probe_time_ns(costs_with(kGaps), kPrograms, hits, 100 * 250 + hot + 100 * 10), hot + 100 * 10, 1e-3);
    EXPECT_NEAR(probe_time_ns(costs_with(kGaps), kPrograms, hits, 1e12), hot + 100 * 150, 1e-3);
}

TEST(HitCostModel, WhereProbesTakeAllHitsAreHot) {
    const HitCounts hits{50, 50, 50, 0};
    const double hot = 50 * 500 + 50 * 350 + 50 * 520;
    for (const double cpu_ns : {-1.0, 0.0, hot / 2, hot}) {
        EXPECT_NEAR(probe_time_ns(costs_with(kGaps), kPrograms, hits, cpu_ns), hot, 1e-3) << cpu_ns;
    }
}

TEST(HitCostModel, NeverFallsAsCpuTimeRises) {
    const HitCounts hits{1'000, 900, 950, 100};
    double before = 0;
    for (double cpu_ns = 0; cpu_ns < 4e7; cpu_ns += 1e5) {
        const double now = probe_time_ns(costs_with(kGaps), kPrograms, hits, cpu_ns);
        EXPECT_GE(now, before - 1e-3) << cpu_ns;
        before = now;
    }
}

TEST(HitCostModel, NoHitsCostNothing) {
    EXPECT_EQ(probe_time_ns(costs_with(kGaps), kPrograms, {}, 1e9), 0);
    EXPECT_EQ(probe_time_ns(costs_with(kGaps), kPrograms, {0, 2, 0, 0}, 1e9), 2 * 350)
        << "calls that the interval before has counted";
}

TEST(HitCostModel, OwnWorkRunsForAnyNumberOfStepsFromWhereItStopped) {
    WorkingSet work;
    for (const std::size_t steps :
         {std::size_t{0}, std::size_t{1}, std::size_t{7}, WorkingSet::kSteps - 8, std::size_t{300}, 3 * WorkingSet::kSteps + 1}) {
        work.run(steps); // enters code at a reckoned address, over reckoned data: a sanitizer or a crash would tell
    }
}

} // namespace
} // namespace memtrace
