// What histories of known kinds are said to be. How often that is right on whole workloads: verdict_corpus_test.cpp.
#include "analyze/verdict.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace memtrace {
namespace {

using Series = std::vector<double>;

Series seconds_of(std::size_t size, double tick_s = 10) {
    Series seconds(size);
    for (std::size_t i = 0; i < size; ++i) {
        seconds[i] = tick_s * static_cast<double>(i + 1);
    }
    return seconds;
}

/// Blocks of 100 bytes that come and stay, so many a tick on average.
Series accumulate(std::size_t size, unsigned seed, const std::function<double(std::size_t)>& rate) {
    std::mt19937_64 random(seed);
    Series values;
    double live = 0;
    for (std::size_t i = 0; i < size; ++i) {
        live += rate(i) > 0 ? 100.0 * static_cast<double>(std::poisson_distribution<int>(rate(i))(random)) : 0;
        values.push_back(live);
    }
    return values;
}

/// A site none of whose blocks die.
SiteHistory kept(const Series& seconds, const Trend& trend) {
    SiteHistory history;
    history.points = seconds.size();
    history.lasted_s = seconds.back() - seconds[trend.begin];
    history.allocs = 5'000;
    history.live_objects = 5'000;
    history.ages_known = true;
    history.plateau = {true, 4, 600, 1, 1, 0.03, 4'000};
    return history;
}

SiteJudgement judge(const Series& values) {
    const auto seconds = seconds_of(values.size());
    const auto trend = find_trend(seconds, values, {});
    return judge_site(kept(seconds, trend), trend, trend.p);
}

constexpr unsigned kRuns = 200;

int count(const std::function<Series(unsigned seed)>& make, const std::function<bool(const SiteJudgement&)>& is) {
    int number = 0;
    for (unsigned seed = 0; seed < kRuns; ++seed) {
        number += is(judge(make(seed))) ? 1 : 0;
    }
    return number;
}
bool leaks(const SiteJudgement& judgement) {
    return judgement.verdict >= SiteVerdict::probable;
}

// ---- shapes -------------------------------------------------------------------------------------------------------------------

TEST(Verdict, SteadyGrowthOfWhatStaysIsALeak) {
    EXPECT_GE(count([](unsigned seed) { return accumulate(60, seed, [](auto) { return 20.0; }); },
                    [](const auto& judgement) { return judgement.verdict == SiteVerdict::definite; }),
              165)
        << "the others have seemed to slow down, or to have begun anew within the last five minutes";
}

TEST(Verdict, GrowthThatBeginsLateIsDatedFromThere) {
    const auto values = accumulate(60, 1, [](std::size_t i) { return i < 20 ? 0.0 : 20.0; });
    const auto trend = find_trend(seconds_of(60), values, {});
    EXPECT_NEAR(static_cast<double>(trend.begin), 20, 2);
    EXPECT_NEAR(trend.slope.per_s, 200, 10);
    EXPECT_LE(trend.slope.low, trend.slope.per_s);
    EXPECT_GE(trend.slope.high, trend.slope.per_s);
}

TEST(Verdict, WhatLevelsOffIsLikeACache) {
    const auto warm_up = [](unsigned seed) {
        return accumulate(60, seed, [](std::size_t i) { return 200 * std::exp(-static_cast<double>(i) / 20); });
    };
    EXPECT_EQ(count(warm_up, leaks), 0);
    EXPECT_GE(count(warm_up, [](const auto& judgement) { return judgement.verdict == SiteVerdict::cache_like; }), 180);
}

TEST(Verdict, GrowthThatSlowsDownAsTheLoadDoesIsNoCache) {
    const auto values = accumulate(60, 3, [](std::size_t i) { return 200 * std::exp(-static_cast<double>(i) / 40); });
    Series cpu_s;
    for (std::size_t i = 0; i < 60; ++i) {
        cpu_s.push_back(40 * (1 - std::exp(-static_cast<double>(i) / 40)));
    }
    EXPECT_EQ(find_trend(seconds_of(60), values, {}).shape, Shape::saturating);
    EXPECT_EQ(find_trend(seconds_of(60), values, cpu_s).shape, Shape::linear);
}

TEST(Verdict, StepIsNoLeak) {
    for (std::size_t at = 3; at < 60; ++at) {
        const auto judgement = judge(accumulate(60, 1, [at](std::size_t i) { return i == at ? 3'000.0 : i == 0 ? 50.0 : 0.0; }));
        EXPECT_FALSE(leaks(judgement)) << "step at " << at << ": " << judgement.evidence;
    }
}

TEST(Verdict, SawtoothIsNoLeak) {
    for (const std::size_t period : {3U, 7U, 13U, 21U, 29U}) {
        Series values;
        for (std::size_t i = 0; i < 60; ++i) {
            values.push_back(1'000.0 * static_cast<double>(i % period));
        }
        EXPECT_FALSE(leaks(judge(values))) << "period " << period;
    }
}

// Taken for independent, values of a random walk made long rises by chance in a fifth of the runs.
TEST(Verdict, RandomWalksAreHardlyEverLeaks) {
    const auto walk = [](unsigned seed) {
        std::mt19937_64 random(seed);
        Series values{1e5};
        while (values.size() < 64) {
            values.push_back(values.back() + std::normal_distribution<double>(0, 500)(random));
        }
        return values;
    };
    EXPECT_LE(count(walk, leaks), 8) << "one in a hundred is what p < 0.01 means";
}

TEST(Verdict, NoiseIsStable) {
    const auto noise = [](unsigned seed) {
        std::mt19937_64 random(seed);
        Series values;
        while (values.size() < 64) {
            values.push_back(std::normal_distribution<double>(1e6, 1e5)(random));
        }
        return values;
    };
    EXPECT_EQ(count(noise, leaks), 0);
    EXPECT_GE(count(noise, [](const auto& judgement) { return judgement.verdict == SiteVerdict::stable; }), 185);
}

TEST(Verdict, ShortHistoryIsUnknown) {
    for (std::size_t size = 1; size < kLeastPoints; ++size) {
        const auto judgement = judge(accumulate(size, 1, [](auto) { return 20.0; }));
        EXPECT_EQ(judgement.verdict, SiteVerdict::unknown);
        EXPECT_EQ(judgement.evidence, "too short a history");
    }
    EXPECT_EQ(find_trend({}, {}, {}).slope.per_s, 0);
}

// ---- what else speaks for and against it ----------------------------------------------------------------------------------------

class Growth : public ::testing::Test {
protected:
    Growth() {
        trend.slope = {20'971.52, 20'000, 22'000};
        trend.p = 1e-6;
        trend.shape = Shape::linear;
        history.points = 60;
        history.lasted_s = 840;
        history.allocs = 10'000;
        history.frees = 9'000;
        history.live_objects = 1'000;
        history.ages_known = true;
        history.plateau = {true, 600, 2'400, 0.1, 0.995, 0.034, 900};
    }
    [[nodiscard]] SiteVerdict verdict(double p = 1e-6) const { return judge_site(history, trend, p).verdict; }
    Trend trend;
    SiteHistory history;
};

TEST_F(Growth, EvidenceIsInWords) {
    const auto judgement = judge_site(history, trend, 1e-6);
    EXPECT_EQ(judgement.verdict, SiteVerdict::definite);
    EXPECT_EQ(judgement.evidence,
              "grew 20 KiB/s for 14 min, p < 0.001; 99 % of its blocks older than 10 min were never freed; others at "
              "this age: 3 %; 10 % of its allocations get that old");
    EXPECT_NEAR(judgement.confidence, 0.995, 1e-3);
}

TEST_F(Growth, BlocksThatDieAreNoLeak) {
    history.plateau.found = false;
    history.plateau.retained = 0.3;
    EXPECT_EQ(verdict(), SiteVerdict::suspect);
}

TEST_F(Growth, WithoutAgesTheShareThatWasFreedDecides) {
    history.ages_known = false;
    EXPECT_EQ(verdict(), SiteVerdict::suspect) << "90 % were freed";
    history.frees = 3'000;
    EXPECT_EQ(verdict(), SiteVerdict::probable);
    history.frees = 500;
    EXPECT_EQ(verdict(), SiteVerdict::definite);
    history.frees = 20'000;
    EXPECT_EQ(verdict(), SiteVerdict::suspect) << "more frees than allocations";
}

TEST_F(Growth, WhatReplacesOlderBlocksIsSuspectAtMost) {
    history.may_replace = true;
    EXPECT_EQ(verdict(), SiteVerdict::suspect);
}

TEST_F(Growth, MoreDoubtIsLessOfAVerdict) {
    EXPECT_EQ(verdict(0.0005), SiteVerdict::definite);
    EXPECT_EQ(verdict(0.005), SiteVerdict::probable);
    EXPECT_EQ(verdict(0.02), SiteVerdict::suspect);
    EXPECT_EQ(verdict(0.2), SiteVerdict::stable);
    history.lasted_s = 60;
    EXPECT_EQ(verdict(), SiteVerdict::probable) << "a minute";
    history.live_objects = 9;
    EXPECT_EQ(verdict(), SiteVerdict::suspect) << "a handful of blocks";
}

/// As Redis's log of slow commands does until it has its 128 entries.
TEST_F(Growth, LittleGrowthTakesMinutesToBeCalledALeak) {
    trend.slope = {273, 260, 290};
    history.lasted_s = 60;
    EXPECT_EQ(verdict(), SiteVerdict::suspect) << "16 KiB";
    history.lasted_s = 250;
    EXPECT_EQ(verdict(), SiteVerdict::probable) << "67 KiB";
    trend.slope = {10, 9, 11};
    history.lasted_s = 299;
    EXPECT_EQ(verdict(), SiteVerdict::suspect);
    history.lasted_s = 300;
    EXPECT_GE(verdict(), SiteVerdict::probable);
    history.counted = Counted::resources;
    history.lasted_s = 60;
    EXPECT_EQ(verdict(), SiteVerdict::probable) << "a thousand cursors are not little";
}

TEST(SiteVerdictNames, AreThoseOfTheCommandLine) {
    EXPECT_STREQ(site_verdict_name(SiteVerdict::unknown), "unknown");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::stable), "stable");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::cache_like), "cache-like");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::suspect), "suspect");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::probable), "probable");
    EXPECT_STREQ(site_verdict_name(SiteVerdict::definite), "definite");
}

} // namespace
} // namespace memtrace
