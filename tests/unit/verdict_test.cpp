// What call sites of known behaviour are said to do. Sites are simulated block by block, so that their live bytes and their counts
// of allocations and frees belong together.
#include "analyze/verdict.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <vector>

namespace memtrace {
namespace {

constexpr double kBlock = 100;

/// A call site over some ticks, the first one being the moment of attaching, when nothing of it is known to live.
class SimulatedSite {
public:
    explicit SimulatedSite(unsigned seed, double tick_seconds = 2) : random_(seed), tick_seconds_(tick_seconds) { note(); }

    void allocate(std::uint64_t blocks) { allocs_ += blocks; }
    void free(std::uint64_t blocks) { frees_ += std::min(blocks, live()); }
    [[nodiscard]] std::uint64_t live() const { return allocs_ - frees_; }
    /// A random count whose mean is that.
    std::uint64_t about(double mean) { return mean > 0 ? std::poisson_distribution<std::uint64_t>(mean)(random_) : 0; }
    /// What has been done since the last tick happened in this one.
    void note() {
        seconds_.push_back(tick_seconds_ * static_cast<double>(seconds_.size()));
        values_.push_back(kBlock * static_cast<double>(live()));
    }
    [[nodiscard]] SiteJudgement judge(std::size_t sites_tested) const {
        return judge_site({seconds_, values_, allocs_, frees_}, sites_tested);
    }

private:
    std::mt19937_64 random_;
    double tick_seconds_;
    std::uint64_t allocs_ = 0;
    std::uint64_t frees_ = 0;
    std::vector<double> seconds_;
    std::vector<double> values_;
};

using Behaviour = std::function<void(SimulatedSite&, int tick)>;
using Verdicts = std::array<int, 5>; ///< how often each was given, by SiteVerdict

constexpr int kRuns = 200;

SiteJudgement judge_run(const Behaviour& behaviour, int ticks, unsigned seed, std::size_t sites_tested) {
    SimulatedSite site(seed);
    for (int tick = 1; tick < ticks; ++tick) {
        behaviour(site, tick);
        site.note();
    }
    return site.judge(sites_tested);
}

Verdicts judge_runs(const Behaviour& behaviour, int ticks, std::size_t sites_tested = 50) {
    Verdicts given{};
    for (unsigned seed = 0; seed < kRuns; ++seed) {
        ++given[static_cast<std::size_t>(judge_run(behaviour, ticks, seed, sites_tested).verdict)];
    }
    return given;
}

int count(const Verdicts& given, SiteVerdict verdict) {
    return given[static_cast<std::size_t>(verdict)];
}
int leaks(const Verdicts& given) {
    return count(given, SiteVerdict::probable) + count(given, SiteVerdict::definite);
}

// ---- leaks --------------------------------------------------------------------------------------------------------------------

TEST(Verdict, SteadyLeakIsDefiniteAfterAMinute) {
    const Behaviour leak = [](SimulatedSite& site, int) { site.allocate(site.about(5)); };
    EXPECT_EQ(count(judge_runs(leak, 33), SiteVerdict::definite), kRuns);
    EXPECT_EQ(count(judge_runs(leak, 64), SiteVerdict::definite), kRuns);
    EXPECT_GT(leaks(judge_runs(leak, 20)), kRuns * 9 / 10) << "probable before that";
    EXPECT_EQ(count(judge_runs(leak, 20), SiteVerdict::definite), 0);
}

TEST(Verdict, LeakKeepsItsRateAndItsReasons) {
    const auto judgement = judge_run([](SimulatedSite& site, int) { site.allocate(10); }, 61, 1, 1);
    EXPECT_EQ(judgement.verdict, SiteVerdict::definite);
    EXPECT_NEAR(judgement.growth_bytes_per_s, 500, 1e-6);
    EXPECT_GT(judgement.confidence, 0.999999);
    EXPECT_LE(judgement.confidence, 1);
    EXPECT_EQ(judgement.evidence, "grew 0.5 KiB/s for 120 s, p < 1e-12; 100 % of its 600 allocations were never freed");
}

TEST(Verdict, LeakAfterALargeStartIsFound) {
    const Behaviour leak = [](SimulatedSite& site, int tick) { site.allocate(tick == 1 ? 10'000 : site.about(5)); };
    EXPECT_EQ(count(judge_runs(leak, 64), SiteVerdict::definite), kRuns);
}

TEST(Verdict, LeakInBurstsIsFound) {
    const Behaviour leak = [](SimulatedSite& site, int tick) { site.allocate(tick % 8 == 0 ? 50 : 0); };
    EXPECT_EQ(count(judge_runs(leak, 64), SiteVerdict::definite), kRuns);
}

TEST(Verdict, LeakThatBeginsLateIsFound) {
    const Behaviour leak = [](SimulatedSite& site, int tick) { site.allocate(tick > 38 ? site.about(5) : 0); };
    EXPECT_EQ(leaks(judge_runs(leak, 64)), kRuns);
}

// Half of what it allocates is freed: turnover may explain it, so it takes more than a trend to say leak.
TEST(Verdict, GrowthOfASiteThatAlsoFreesIsSuspect) {
    const Behaviour mixed = [](SimulatedSite& site, int) {
        const auto blocks = site.about(10);
        site.allocate(blocks);
        site.free(blocks / 2);
    };
    EXPECT_EQ(count(judge_runs(mixed, 64), SiteVerdict::suspect), kRuns);
}

TEST(Verdict, HandfulOfBlocksIsSuspectAtMost) {
    const Behaviour few = [](SimulatedSite& site, int tick) { site.allocate(tick % 7 == 0 ? 1 : 0); };
    EXPECT_EQ(leaks(judge_runs(few, 63)), 0) << "9 allocations are start-up work";
}

// ---- no leaks -----------------------------------------------------------------------------------------------------------------

TEST(Verdict, ShortHistoryIsUnknown) {
    const Behaviour leak = [](SimulatedSite& site, int) { site.allocate(100); };
    for (int ticks = 1; ticks < 8; ++ticks) {
        const auto judgement = judge_run(leak, ticks, 1, 1);
        EXPECT_EQ(judgement.verdict, SiteVerdict::unknown);
        EXPECT_EQ(judgement.confidence, 0);
        EXPECT_EQ(judgement.evidence, "too short a history");
    }
    EXPECT_NEAR(judge_run(leak, 2, 1, 1).growth_bytes_per_s, 5'000, 1e-6) << "its rate is told all the same";
    EXPECT_EQ(judge_run(leak, 1, 1, 1).growth_bytes_per_s, 0);
    EXPECT_EQ(judge_site({}, 0).verdict, SiteVerdict::unknown);
}

TEST(Verdict, ConstantIsStable) {
    const auto judgement = judge_run([](SimulatedSite& site, int tick) { site.allocate(tick == 1 ? 500 : 0); }, 64, 1, 1);
    EXPECT_EQ(judgement.verdict, SiteVerdict::stable);
    EXPECT_EQ(judgement.confidence, 0);
}

TEST(Verdict, CacheThatFillsUpAndStaysFullIsStable) {
    for (const int full : {8, 20, 40}) {
        const Behaviour cache = [full](SimulatedSite& site, int tick) {
            const auto blocks = site.about(20);
            site.allocate(blocks);
            site.free(tick > full ? blocks : 0);
        };
        EXPECT_EQ(count(judge_runs(cache, 64), SiteVerdict::stable), kRuns) << "full at tick " << full;
    }
}

// Every block lives for a random time: the live count approaches a level, which is what all turnover looks like after attaching.
TEST(Verdict, TurnoverThatLevelsOffIsNoLeak) {
    for (const double lifetime : {2.0, 8.0, 16.0}) {
        const Behaviour turnover = [lifetime](SimulatedSite& site, int) {
            site.allocate(site.about(20));
            site.free(site.about(static_cast<double>(site.live()) / lifetime));
        };
        EXPECT_EQ(leaks(judge_runs(turnover, 64)), 0) << "lifetime " << lifetime;
    }
}

TEST(Verdict, SawtoothIsNoLeak) {
    for (const int period : {2, 5, 13, 21, 32, 40}) {
        const Behaviour sawtooth = [period](SimulatedSite& site, int tick) {
            site.allocate(site.about(20));
            site.free(tick % period == 0 ? site.live() : 0);
        };
        EXPECT_EQ(leaks(judge_runs(sawtooth, 64)), 0) << "period " << period;
    }
}

// A table built once. To either side of it a block in a thousand comes and goes, which is enough for ranks to see a rise all along.
TEST(Verdict, OneStepIsNoLeak) {
    for (const int at : {34, 38, 45, 48, 51, 58}) {
        const Behaviour step = [at](SimulatedSite& site, int tick) {
            site.allocate((tick == at ? 1'000 : 0) + site.about(1));
            site.free(site.about(1));
        };
        EXPECT_EQ(count(judge_runs(step, 64, 1), SiteVerdict::stable), kRuns) << "step at tick " << at;
    }
}

TEST(Verdict, OneStepOfAnythingThatDoesNotMoveOtherwiseIsStable) {
    for (int at = 1; at < 64; ++at) {
        const Behaviour step = [at](SimulatedSite& site, int tick) { site.allocate(tick == at ? 1'000 : 0); };
        EXPECT_EQ(judge_run(step, 64, 1, 1).verdict, SiteVerdict::stable) << "step at tick " << at;
    }
}

TEST(Verdict, ShrinkingIsStable) {
    const Behaviour shrinking = [](SimulatedSite& site, int tick) {
        site.allocate(tick == 1 ? 10'000 : 0);
        site.free(site.about(20));
    };
    EXPECT_EQ(count(judge_runs(shrinking, 64, 1), SiteVerdict::stable), kRuns);
}

// ---- how often it errs --------------------------------------------------------------------------------------------------------

/// Values around a level, each independent of the others; counts that would let a leak be called.
SiteJudgement judge_noise(std::mt19937_64& random, std::size_t points, std::size_t sites_tested) {
    std::normal_distribution<double> noise(1e6, 1e5);
    std::vector<double> seconds;
    std::vector<double> values;
    for (std::size_t i = 0; i < points; ++i) {
        seconds.push_back(2 * static_cast<double>(i));
        values.push_back(noise(random));
    }
    return judge_site({seconds, values, 1'000, 0}, sites_tested);
}

// The correction promises that among all sites of a process together the chance of one false suspicion is one in a hundred.
TEST(Verdict, NoneOfTenThousandNoisySitesIsSuspected) {
    constexpr std::size_t kSites = 10'000;
    std::mt19937_64 random(20'260'101);
    for (std::size_t i = 0; i < kSites; ++i) {
        EXPECT_EQ(judge_noise(random, 33 + i % 32, kSites).verdict, SiteVerdict::stable) << "site " << i;
    }
}

TEST(Verdict, ASingleNoisySiteIsSuspectedLessThanOnceInAHundred) {
    constexpr int kSeries = 10'000;
    std::mt19937_64 random(4);
    Verdicts given{};
    for (int i = 0; i < kSeries; ++i) {
        ++given[static_cast<std::size_t>(judge_noise(random, 64, 1).verdict)];
    }
    EXPECT_EQ(count(given, SiteVerdict::definite), 0);
    EXPECT_LE(count(given, SiteVerdict::probable), 3) << "one in ten thousand, and three by chance";
    EXPECT_LE(count(given, SiteVerdict::suspect), 100);
}

TEST(Verdict, MoreSitesTestedNeedMoreEvidence) {
    const Behaviour slow = [](SimulatedSite& site, int) { site.allocate(site.about(5)); };
    auto before = SiteVerdict::definite;
    for (const std::size_t sites : {1UL, 100UL, 10'000UL, 1'000'000UL, 1'000'000'000'000'000'000UL}) {
        const auto now = judge_run(slow, 33, 3, sites).verdict;
        EXPECT_LE(now, before);
        before = now;
    }
    EXPECT_EQ(before, SiteVerdict::stable);
}

// ---- what it cannot do --------------------------------------------------------------------------------------------------------

// Successive values of a real heap are not independent. A number of live blocks that wanders, say that of sessions, makes long
// rises by chance, and on ranks they are no different from a slow leak's. Mann-Kendall assumes independence; one run cannot tell,
// a longer one mostly does. The test pins the size of the error, so that a change for better or worse shows.
TEST(VerdictLimits, RandomWalksAreTakenForLeaksInSomeRuns) {
    const Behaviour walk = [](SimulatedSite& site, int tick) {
        site.allocate((tick == 1 ? 1'000 : 0) + site.about(1));
        site.free(site.about(1));
    };
    const auto given = judge_runs(walk, 64);
    EXPECT_GT(leaks(given), 0);
    EXPECT_LT(leaks(given), kRuns / 5);
}

// Until a cache is full it grows like a leak, and nothing but time can tell.
TEST(VerdictLimits, CacheThatIsStillFillingLooksLikeALeak) {
    const Behaviour filling = [](SimulatedSite& site, int) { site.allocate(site.about(20)); };
    EXPECT_EQ(leaks(judge_runs(filling, 64)), kRuns);
}

// ---- odd input ----------------------------------------------------------------------------------------------------------------

TEST(Verdict, MoreFreesThanAllocationsAreNoSurvivors) {
    std::vector<double> rise;
    for (int i = 0; i < 64; ++i) {
        rise.push_back(i);
    }
    EXPECT_EQ(judge_site({rise, rise, 1'000, 1'001}, 1).verdict, SiteVerdict::suspect);
    EXPECT_EQ(judge_site({rise, rise, 0, 0}, 1).verdict, SiteVerdict::suspect);
}

TEST(Verdict, NamesAreThoseOfTheCommandLine) {
    EXPECT_STREQ(site_verdict_name(SiteVerdict::unknown), "unknown");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::stable), "stable");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::suspect), "suspect");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::probable), "probable");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::definite), "definite");
}

} // namespace
} // namespace memtrace
