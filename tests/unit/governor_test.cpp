// The governor against a simulated target: governor_simulation.hpp.
#include "app/governor.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "governor_simulation.hpp"

namespace memtrace {
namespace {

GovernorSettings settings_with(double budget, bool declinable = true) {
    GovernorSettings settings;
    settings.budget = budget;
    settings.costs = {.enter_ns = 800, .return_ns = 900, .free_ns = 800, .return_declinable = declinable};
    return settings;
}

SimulatedLoad load_of(double allocs, bool greedy = true) {
    SimulatedLoad load;
    load.allocs = allocs;
    load.greedy = greedy;
    return load;
}

/// One interval of a second in which probes were attached all the time.
GovernorInterval attached(double allocs, double cpu_s = 1, const ProbeCosts& costs = settings_with(0.05).costs) {
    GovernorInterval m;
    m.seconds = m.open_seconds = 1;
    m.cpu_seconds = m.open_cpu_seconds = cpu_s;
    m.enters = m.kept = m.returns = m.frees = allocs;
    m.kept_bytes = 100 * allocs;
    m.added_ns = allocs * (costs.enter_ns + costs.return_ns + costs.free_ns);
    return m;
}

// ---- constant loads -----------------------------------------------------------------------------------------------------------

struct Expected {
    double allocs;
    TraceMode mode;
};

void expect_mode(const GovernorSettings& settings, const Expected& expected) {
    GovernorSimulation simulation(settings);
    simulation.run(10, load_of(expected.allocs));
    simulation.forget();
    simulation.run(600, load_of(expected.allocs));
    EXPECT_STREQ(trace_mode_name(simulation.state.knobs.mode), trace_mode_name(expected.mode))
        << expected.allocs << " allocations/s";
}

// 2.5 us for each recorded pair, 1.6 us for one that is not: 5 % are 21,000 and 33,000 pairs in a second of own work.
TEST(Governor, ConstantLoadsEndInTheFinestModeThatFits) {
    for (const auto& expected :
         {Expected{1e3, TraceMode::exact}, Expected{1e4, TraceMode::exact}, Expected{2.5e4, TraceMode::sampled},
          Expected{1e5, TraceMode::windowed}, Expected{1e6, TraceMode::windowed}, Expected{1e7, TraceMode::windowed}}) {
        expect_mode(settings_with(0.05), expected);
    }
}

TEST(Governor, WithoutDeclinableReturnsSamplingSavesNothingAndIsSkipped) {
    expect_mode(settings_with(0.05, false), {2.5e4, TraceMode::windowed});
    expect_mode(settings_with(0.05, false), {1e4, TraceMode::exact});
}

// 26,000 pairs a second cost 4.0 % where none is kept: 64 KiB keeps nearly every block of a megabyte.
TEST(Governor, IntervalGrowsWithTheBlocks) {
    auto load = load_of(2.6e4);
    GovernorSimulation small(settings_with(0.05));
    small.run(120, load);
    EXPECT_EQ(small.state.knobs.interval_bytes, 64U << 10);
    load.bytes = 1 << 20;
    GovernorSimulation large(settings_with(0.05));
    large.run(120, load);
    EXPECT_EQ(large.state.knobs.mode, TraceMode::sampled);
    EXPECT_GE(large.state.knobs.interval_bytes, 4U << 20);
}

TEST(Governor, KeepsTheBudgetUnderEveryLoadWithAndWithoutNoise) {
    for (const double budget : {0.005, 0.05, 0.2}) {
        for (double allocs = 1e3; allocs <= 1e8; allocs *= std::sqrt(10.0)) {
            for (const bool greedy : {true, false}) {
                for (const bool declinable : {true, false}) {
                    for (const double noise : {0.0, 0.3}) {
                        SCOPED_TRACE(::testing::Message()
                                     << budget << " " << allocs << " greedy " << greedy << " noise " << noise);
                        GovernorSimulation simulation(settings_with(budget, declinable));
                        simulation.noise = noise;
                        simulation.uneven = noise > 0;
                        simulation.run(10, load_of(allocs, greedy));
                        simulation.forget();
                        simulation.run(600, load_of(allocs, greedy));
                        EXPECT_LE(simulation.overhead(), budget * 1.1);
                        EXPECT_LE(simulation.mode_changes, 4);
                        EXPECT_LE(simulation.changes, 12);
                    }
                }
            }
        }
    }
}

TEST(Governor, FixedWorkThatBurnsEveryProcessorGetsPages) {
    GovernorSimulation simulation(settings_with(0.005));
    simulation.run(60, load_of(1e7, false));
    EXPECT_EQ(simulation.state.knobs.mode, TraceMode::pages);
    EXPECT_GT(simulation.state.knobs.period_s, 0) << "and a look now and then";
    simulation.run(1500, load_of(1e3, false));
    EXPECT_EQ(simulation.state.knobs.mode, TraceMode::exact) << "the load has fallen";
}

// A window that ends with the interval leaves a few milliseconds without probes, in which the kernel adds no CPU time up: the target
// looked a hundred times busier under probes, and windows that cost little were given up for pages.
TEST(Governor, MillisecondsBetweenWindowsSayNothingOfHowBusyTheTargetIs) {
    auto settings = settings_with(0.05);
    GovernorState state = initial_governor_state(settings);
    state.knobs = {TraceMode::windowed, 0, 1, 4};
    GovernorInterval m;
    m.seconds = 1.005;
    m.open_seconds = 1;
    m.cpu_seconds = 0.5001;
    m.open_cpu_seconds = 0.5;
    m.enters = m.returns = m.kept = m.frees = 3e4;
    m.kept_bytes = 3e6;
    m.added_ns = 3e4 * 2500;
    for (int i = 0; i < 4; ++i) {
        state = govern(state, settings, m).state;
        EXPECT_EQ(state.knobs.mode, TraceMode::windowed) << i;
    }
}

// ---- changing loads -----------------------------------------------------------------------------------------------------------

TEST(Governor, LoadThatRisesIsAnsweredWithinThreeIntervals) {
    for (const double allocs : {5e4, 2e5, 1e6, 1e7}) {
        GovernorSimulation simulation(settings_with(0.05));
        simulation.run(60, load_of(1e3));
        ASSERT_EQ(simulation.state.knobs.mode, TraceMode::exact);
        simulation.run(3, load_of(allocs));
        EXPECT_NE(simulation.state.knobs.mode, TraceMode::exact) << allocs;
    }
}

TEST(Governor, LoadThatFallsIsFollowedUpAgain) {
    for (const double allocs : {3e4, 2e5, 1e7}) {
        GovernorSimulation simulation(settings_with(0.05));
        simulation.run(60, load_of(allocs));
        ASSERT_NE(simulation.state.knobs.mode, TraceMode::exact) << allocs;
        simulation.run(200, load_of(1e3));
        EXPECT_EQ(simulation.state.knobs.mode, TraceMode::exact) << allocs;
        EXPECT_LE(simulation.mode_changes, 3) << allocs;
    }
}

TEST(Governor, OscillatingLoadDoesNotMakeItFlap) {
    for (const double period : {4.0, 20.0, 60.0, 120.0}) {
        for (const double noise : {0.0, 0.3}) {
            GovernorSimulation simulation(settings_with(0.05));
            simulation.noise = noise;
            simulation.run(1800, [period](double now) { return load_of(std::fmod(now, period) < period / 2 ? 1e3 : 2e5); });
            EXPECT_LE(simulation.mode_changes, 14) << "a period of " << period << " s";
            EXPECT_LE(simulation.overhead(), 0.05 * 1.1) << "a period of " << period << " s";
        }
    }
}

TEST(Governor, HitsThatCostMoreThanCalibratedAreLearntFromTheMeasuredTime) {
    GovernorSimulation simulation(settings_with(0.05));
    simulation.true_cost = 2;
    simulation.run(30, load_of(1.5e4));
    EXPECT_NE(simulation.state.knobs.mode, TraceMode::exact) << "7 % at twice the cost, 3.6 % as calibrated";
    simulation.forget();
    simulation.run(600, load_of(1.5e4));
    EXPECT_LE(simulation.overhead(), 0.055);
}

// ---- evidence -----------------------------------------------------------------------------------------------------------------

TEST(Governor, IdleTargetChangesNothing) {
    GovernorSimulation simulation(settings_with(0.05));
    simulation.run(60, load_of(2.5e4));
    ASSERT_EQ(simulation.state.knobs.mode, TraceMode::sampled);
    SimulatedLoad idle;
    idle.work = 0;
    const auto changes = simulation.changes;
    simulation.run(600, idle);
    EXPECT_EQ(simulation.changes, changes);
}

TEST(Governor, NonsenseIsNoEvidence) {
    const auto settings = settings_with(0.05);
    auto state = initial_governor_state(settings);
    for (const double value : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        for (double GovernorInterval::* field :
             {&GovernorInterval::seconds, &GovernorInterval::open_seconds, &GovernorInterval::cpu_seconds,
              &GovernorInterval::open_cpu_seconds, &GovernorInterval::enters, &GovernorInterval::kept,
              &GovernorInterval::kept_bytes, &GovernorInterval::returns, &GovernorInterval::frees, &GovernorInterval::added_ns}) {
            auto interval = attached(1e3);
            interval.*field = value;
            const auto decision = govern(state, settings, interval);
            EXPECT_FALSE(decision.changed);
            EXPECT_TRUE(std::isfinite(decision.overhead));
            state = decision.state;
        }
    }
    const auto decision = govern(state, settings, GovernorInterval{});
    EXPECT_FALSE(decision.changed);
    EXPECT_FALSE(decision.state.settling);
}

TEST(Governor, MoreTimeAddedThanThereWasIsTakenAsNextToAllOfIt) {
    const auto settings = settings_with(0.05);
    const auto decision = govern(initial_governor_state(settings), settings, attached(1e7));
    EXPECT_TRUE(decision.changed);
    EXPECT_GT(decision.overhead, 0.9);
    EXPECT_LE(decision.overhead, 1);
}

TEST(Governor, OverheadIsTimeAddedOverAllTimeThatTheThreadsHad) {
    const auto settings = settings_with(0.05);
    const auto decision = govern(initial_governor_state(settings), settings, attached(1.6e4));
    EXPECT_NEAR(decision.overhead, 0.04, 1e-9) << "16,000 pairs of 2.5 us in one second of CPU time";
    EXPECT_FALSE(decision.changed);
}

// ---- the user's wish ----------------------------------------------------------------------------------------------------------

TEST(Governor, ExactByRequestStaysAndReports) {
    auto settings = settings_with(0.05);
    settings.choice = SampleChoice::exact;
    GovernorSimulation simulation(settings);
    simulation.run(60, load_of(1e6));
    EXPECT_EQ(simulation.changes, 0);
    EXPECT_EQ(simulation.state.knobs.mode, TraceMode::exact);
    EXPECT_NEAR(expected_overhead(simulation.state, settings, simulation.state.knobs), 2.5 / 3.5, 0.01);
}

TEST(Governor, IntervalByRequestStays) {
    auto settings = settings_with(0.05);
    settings.choice = SampleChoice::fixed;
    settings.fixed_interval = 100'000;
    GovernorSimulation simulation(settings);
    simulation.run(60, load_of(1e6));
    EXPECT_EQ(simulation.changes, 0);
    EXPECT_EQ(simulation.state.knobs.mode, TraceMode::sampled);
    EXPECT_EQ(simulation.state.knobs.interval_bytes, 100'000U);
}

TEST(Governor, ReasonNamesWhatItCostsTheBudgetAndWhatIsExpected) {
    const auto settings = settings_with(0.05);
    const auto down = govern(initial_governor_state(settings), settings, attached(2.4e4));
    EXPECT_EQ(down.reason, "exact costs 6.0 % of the target's CPU time, budget 5.0 %: sampling every 64 KiB, expected 3.9 %");
    const auto windows = govern(initial_governor_state(settings), settings, attached(1e5));
    EXPECT_EQ(windows.state.knobs.mode, TraceMode::windowed);
    EXPECT_EQ(windows.reason.find("exact costs 25 % of the target's CPU time, budget 5.0 %: windows of "), 0U) << windows.reason;

    GovernorSimulation simulation(settings);
    simulation.run(30, load_of(2.5e4));
    simulation.run(60, load_of(1e3));
    ASSERT_EQ(simulation.state.knobs.mode, TraceMode::exact);
    EXPECT_EQ(simulation.reasons.back().find("sampling every 64 KiB leaves room in the budget of 5.0 %: exact, expected 0."), 0U)
        << simulation.reasons.back();
}

} // namespace
} // namespace memtrace
