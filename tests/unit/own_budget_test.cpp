// The budget for memtrace itself, against work of a known cost.
#include "app/own_budget.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace memtrace {
namespace {

/// Memtrace as a machine: does what the knobs say, and each piece of work has its price.
class Machine {
public:
    explicit Machine(OwnSettings settings) : settings_(settings), state_(initial_own_state(settings)) {}

    double tick_cpu_s = 0.001;
    double ages_cpu_s = 0.002;
    double report_cpu_s = 0.005; ///< with 1,000 sites listed; half of it goes with their number
    double snapshot_cpu_s = 0;
    double push_cpu_s = 0;
    double other_share = 0.0005;
    std::uint64_t rss_bytes = 100 << 20;
    std::size_t sites = 1'000;

    /// Lets `seconds` pass. Returns the share of a core that it took.
    double run(double seconds) {
        double spent = 0;
        for (double passed = 0; passed < seconds; passed += kAsked) {
            const auto& knobs = state_.knobs;
            OwnUse use;
            use.seconds = kAsked;
            now_s_ += kAsked;
            use.ticks = work(ticked_s_, knobs.tick_s, tick_cpu_s);
            use.ages = work(aged_s_, knobs.ages_s, ages_cpu_s);
            use.reports =
                work(reported_s_, knobs.interval_s, report_cpu_s * (0.5 + 0.5 * static_cast<double>(knobs.sites_listed) / 1'000));
            use.snapshots = work(snapshot_s_, knobs.snapshot_s > 0 ? knobs.snapshot_s : 1e9, snapshot_cpu_s);
            use.pushes = work(pushed_s_, knobs.push_s > 0 ? knobs.push_s : 1e9, push_cpu_s);
            use.cpu_s = use.ticks.cpu_s + use.ages.cpu_s + use.reports.cpu_s + use.snapshots.cpu_s + use.pushes.cpu_s +
                        other_share * kAsked;
            use.rss_bytes = rss_bytes;
            use.sites = sites;
            spent += use.cpu_s;
            const auto decision = keep_own_budget(state_, settings_, use);
            state_ = decision.state;
            if (decision.changed) {
                reasons.push_back(decision.reason);
            }
        }
        return spent / seconds;
    }

    void change(const OwnSettings& settings) {
        settings_ = settings;
        state_ = change_own_settings(std::move(state_), settings);
    }

    [[nodiscard]] const OwnKnobs& knobs() const { return state_.knobs; }
    [[nodiscard]] std::size_t step() const { return state_.step; }
    std::vector<std::string> reasons;

private:
    static constexpr double kAsked = 5; ///< seconds
    /// All of it at the time when it is due.
    OwnWork work(double& last_s, double period_s, double each) const {
        OwnWork work;
        for (; last_s + period_s <= now_s_; last_s += period_s) {
            work.times += 1;
            work.cpu_s += each;
        }
        return work;
    }

    double now_s_ = 0;
    double ticked_s_ = 0;
    double aged_s_ = 0;
    double reported_s_ = 0;
    double snapshot_s_ = 0;
    double pushed_s_ = 0;
    OwnSettings settings_;
    OwnState state_;
};

OwnSettings ten_seconds() {
    return {.cpu_budget = 0.01, .memory_budget = 512ULL << 20, .interval_s = 10, .tick_s = 1, .snapshot_s = 0, .push_s = 0};
}

TEST(OwnBudget, SmallWorkIsLeftAlone) {
    Machine machine(ten_seconds());
    machine.run(3'600);
    EXPECT_EQ(machine.step(), 0U);
    EXPECT_TRUE(machine.reasons.empty());
}

TEST(OwnBudget, ABurstAtTheBeginningIsNoReason) {
    Machine machine(ten_seconds());
    machine.other_share = 0.1; // 0.5 s of CPU time: below what a minute may take
    machine.run(5);
    machine.other_share = 0.0005;
    machine.run(600);
    EXPECT_TRUE(machine.reasons.empty());
}

TEST(OwnBudget, GivesWayUntilItFits) {
    for (const double dear : {1.0, 3.0, 10.0, 30.0}) {
        Machine machine(ten_seconds());
        machine.tick_cpu_s = 0.005 * dear;
        machine.ages_cpu_s = 0.2 * dear;
        machine.report_cpu_s = 0.05 * dear;
        machine.run(120);
        EXPECT_GT(machine.step(), 0U) << dear;
        EXPECT_LE(machine.run(600), 0.01) << dear;
        ASSERT_FALSE(machine.reasons.empty());
        EXPECT_NE(machine.reasons.front().find("--own-cpu"), std::string::npos) << machine.reasons.front();
    }
}

TEST(OwnBudget, AgesGoFirstAndReportsLast) {
    Machine machine(ten_seconds());
    machine.ages_cpu_s = 0.2;
    machine.run(300);
    EXPECT_GT(machine.knobs().ages_s, 10);
    EXPECT_EQ(machine.knobs().interval_s, 10);
}

// Hundreds of processes that come and go: reports every ten minutes would make that no cheaper.
TEST(OwnBudget, NoMoreIsGivenUpThanHelps) {
    Machine machine(ten_seconds());
    machine.other_share = 0.5;
    machine.run(3'600);
    EXPECT_EQ(machine.knobs().interval_s, 10);
    machine.ages_cpu_s = 0.5;
    machine.run(3'600);
    EXPECT_GT(machine.knobs().ages_s, 10);
    EXPECT_EQ(machine.knobs().interval_s, 10);
    EXPECT_LE(machine.reasons.size(), 3U) << "it does not say so again and again";
}

TEST(OwnBudget, TheLastStepIsTheLast) {
    Machine machine(ten_seconds());
    machine.report_cpu_s = 1'000;
    machine.run(4 * 3'600);
    EXPECT_EQ(machine.knobs().interval_s, 600);
    EXPECT_LE(machine.reasons.size(), 14U);
}

TEST(OwnBudget, ClimbsBackWhenTheWorkIsDone) {
    Machine machine(ten_seconds());
    machine.ages_cpu_s = 1;
    machine.report_cpu_s = 1;
    machine.run(300);
    ASSERT_GT(machine.step(), 2U);
    machine.ages_cpu_s = 0.002;
    machine.report_cpu_s = 0.005;
    machine.run(4 * 3'600);
    EXPECT_EQ(machine.step(), 0U);
    EXPECT_EQ(machine.knobs().interval_s, 10);
    EXPECT_EQ(machine.knobs().sites_listed, 1'000U);
}

TEST(OwnBudget, DoesNotOscillate) {
    for (double ages = 0.02; ages < 2; ages *= 1.13) { // wherever the cost lies between two steps
        Machine machine(ten_seconds());
        machine.ages_cpu_s = ages;
        machine.tick_cpu_s = ages / 40;
        machine.run(600);
        const auto before = machine.reasons.size();
        machine.run(4 * 3'600);
        EXPECT_LE(machine.reasons.size(), before + 2) << ages << " s: " << machine.reasons.back();
    }
}

TEST(OwnBudget, NoBudgetIsNeverExceeded) {
    auto settings = ten_seconds();
    settings.cpu_budget = 0;
    settings.memory_budget = 0;
    Machine machine(settings);
    machine.other_share = 0.9;
    machine.rss_bytes = 1ULL << 40;
    machine.run(3'600);
    EXPECT_TRUE(machine.reasons.empty());
}

TEST(OwnBudget, SnapshotsGiveWayToo) {
    auto settings = ten_seconds();
    settings.snapshot_s = 60;
    Machine machine(settings);
    machine.snapshot_cpu_s = 2;
    machine.run(1'200);
    EXPECT_GT(machine.knobs().snapshot_s, 60);
    EXPECT_LE(machine.run(3'600), 0.01);
}

TEST(OwnBudget, PushesGiveWayToo) {
    auto settings = ten_seconds();
    settings.push_s = 15;
    Machine machine(settings);
    machine.push_cpu_s = 0.5;
    machine.run(1'200);
    EXPECT_GT(machine.knobs().push_s, 15);
    EXPECT_LE(machine.run(3'600), 0.01);
}

TEST(OwnBudget, WithoutMemoryNoMoreSitesAreToldApart) {
    Machine machine(ten_seconds());
    machine.sites = 40'000;
    machine.rss_bytes = 500ULL << 20;
    machine.run(5);
    EXPECT_EQ(machine.knobs().max_sites, 40'000U);
    EXPECT_LT(machine.knobs().ended_kept, 50U);
    ASSERT_EQ(machine.reasons.size(), 1U);
    EXPECT_NE(machine.reasons.front().find("--own-memory"), std::string::npos) << machine.reasons.front();
    machine.rss_bytes = 450ULL << 20; // between the two: it stays as it is
    machine.run(60);
    EXPECT_EQ(machine.knobs().max_sites, 40'000U);
    machine.rss_bytes = 300ULL << 20;
    machine.run(5);
    EXPECT_GT(machine.knobs().max_sites, 1'000'000U);
    EXPECT_EQ(machine.reasons.size(), 2U);
}

TEST(OwnBudget, OtherSettingsKeepWhatIsGivenUp) {
    auto settings = ten_seconds();
    Machine machine(settings);
    machine.report_cpu_s = 0.5;
    machine.rss_bytes = 500ULL << 20;
    machine.run(1'200);
    const auto step = machine.step();
    const auto before = machine.knobs();
    ASSERT_GT(before.interval_s, settings.interval_s);
    settings.interval_s *= 2;
    settings.tick_s *= 2;
    machine.change(settings);
    EXPECT_EQ(machine.step(), step);
    EXPECT_EQ(machine.knobs().interval_s, 2 * before.interval_s);
    EXPECT_EQ(machine.knobs().tick_s, 2 * before.tick_s);
    EXPECT_EQ(machine.knobs().max_sites, before.max_sites);
    EXPECT_EQ(machine.knobs().sites_listed, before.sites_listed);
    EXPECT_LE(machine.run(3'600), 0.01);
}

TEST(OwnBudget, NonsenseIsNoEvidence) {
    const auto settings = ten_seconds();
    auto state = initial_own_state(settings);
    for (const double value : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
        OwnUse use;
        use.seconds = value;
        use.cpu_s = value;
        const auto decision = keep_own_budget(state, settings, use);
        EXPECT_FALSE(decision.changed);
        EXPECT_EQ(decision.state.now_s, 0);
    }
}

TEST(OwnMemory, IsOfTheMachineAndWithinTheCgroup) {
    constexpr std::uint64_t kGiB = 1 << 30;
    EXPECT_EQ(usual_own_memory(4 * kGiB, 0), kGiB / 2);
    EXPECT_EQ(usual_own_memory(100 * kGiB, 0), 2 * kGiB);
    EXPECT_EQ(usual_own_memory(100 * kGiB, 16 * kGiB), 2 * kGiB);
    EXPECT_EQ(usual_own_memory(100 * kGiB, kGiB), kGiB / 2);
    EXPECT_EQ(usual_own_memory(4 * kGiB, kGiB / 4), kGiB / 8);
}

} // namespace
} // namespace memtrace
