// What histories of known kinds are said to be. How often that is right on whole workloads: verdict_corpus_test.cpp.
#include "analyze/verdict.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

// ---- a leak that begins late ------------------------------------------------------------------------------------------------------

/// A figure by ticks of a second, in rings as model/timeline's.
struct Rung {
    Series seconds, values;
};
std::vector<Rung> rungs(const std::vector<double>& ticks) {
    std::vector<Rung> levels{{seconds_of(ticks.size(), 1), ticks}};
    while (levels.back().values.size() > 64) {
        const auto& finer = levels.back();
        Rung coarser;
        for (std::size_t i = 0; i + 4 <= finer.values.size(); i += 4) {
            coarser.seconds.push_back(finer.seconds[i]);
            coarser.values.push_back(*std::min_element(finer.values.begin() + static_cast<std::ptrdiff_t>(i),
                                                       finer.values.begin() + static_cast<std::ptrdiff_t>(i + 4)));
        }
        levels.push_back(coarser);
    }
    for (auto& level : levels) {
        const auto old = level.values.size() > 64 ? static_cast<std::ptrdiff_t>(level.values.size() - 64) : 0;
        level.values.erase(level.values.begin(), level.values.begin() + old);
        level.seconds.erase(level.seconds.begin(), level.seconds.begin() + old);
    }
    return levels;
}

ResolvedTrend closer(const std::vector<double>& ticks) {
    const auto levels = rungs(ticks);
    std::vector<Moments> moments;
    for (const auto& level : levels) {
        moments.push_back({level.seconds, {}});
    }
    return find_trend_closer(moments, [&](std::size_t level) { return levels[level].values; });
}

bool is_line(const ResolvedTrend& found) {
    return found.trend.shape == Shape::linear && found.trend.p < 1e-4;
}

/// What `value` is at each second.
std::vector<double> over(std::size_t seconds, const std::function<double(std::size_t)>& value) {
    std::vector<double> ticks;
    for (std::size_t i = 0; i < seconds; ++i) {
        ticks.push_back(value(i));
    }
    return ticks;
}

constexpr std::size_t kFourHours = 14'400;

TEST(Closer, LeakThatBeginsAfterHoursIsALineWithinMinutes) {
    std::mt19937_64 random(5);
    const auto values = over(kFourHours + 180, [&](std::size_t i) {
        return 1e6 + static_cast<double>(random() % 20'000) + (i > kFourHours ? 1e4 * static_cast<double>(i - kFourHours) : 0);
    });
    const auto levels = rungs(values);
    EXPECT_NE(find_trend(levels.back().seconds, levels.back().values, {}).shape, Shape::linear)
        << "there it is half a point long";
    const auto found = closer(values);
    EXPECT_TRUE(is_line(found));
    EXPECT_LT(found.level, levels.size() - 1);
    EXPECT_NEAR(found.trend.slope.per_s, 1e4, 500);
    const auto& seconds = levels[found.level].seconds;
    EXPECT_NEAR(seconds.back() - seconds[found.trend.begin], 180, 32) << "dated from where it begins";
}

TEST(Closer, LeakFromTheStartIsThatOfTheWholeRun) {
    const auto values = over(kFourHours, [](std::size_t i) { return 100.0 * static_cast<double>(i); });
    const auto found = closer(values);
    EXPECT_TRUE(is_line(found));
    EXPECT_EQ(found.level, rungs(values).size() - 1);
}

TEST(Closer, LeakOnceSeenStaysSeen) {
    std::mt19937_64 random(6);
    auto values = over(kFourHours, [&](auto) { return 1e6 + static_cast<double>(random() % 20'000); });
    for (std::size_t second = 1; second <= 3'600; ++second) {
        values.push_back(1e6 + static_cast<double>(random() % 20'000) + 1e4 * static_cast<double>(second));
        if (second >= 180 && second % 60 == 0) {
            EXPECT_TRUE(is_line(closer(values))) << "after " << second << " s";
        }
    }
}

TEST(Closer, SawtoothOfHoursIsNone) {
    for (const std::size_t period : {1'500U, 3'000U, 5'000U}) { // seen twice and more by now
        for (std::size_t now = 2 * period + 100; now < 4 * period; now += 97) {
            const auto found = closer(over(now, [&](std::size_t i) { return 5e6 + 1e3 * static_cast<double>(i % period); }));
            EXPECT_FALSE(found.level + 1 < rungs(std::vector<double>(now)).size() && is_line(found))
                << period << " s, at " << now;
        }
    }
}

TEST(Closer, FullCacheThatTurnsOverIsNone) {
    for (unsigned seed = 0; seed < 40; ++seed) {
        std::mt19937_64 random(seed);
        double held = 0;
        const auto found = closer(over(kFourHours, [&](std::size_t i) { // full after half an hour; then it wanders about its size
            held += i < 1'800 ? 1'000 : (1.8e6 - held) / 600 + static_cast<double>(random() % 20'000) - 10'000;
            return held;
        }));
        EXPECT_FALSE(is_line(found)) << seed;
    }
}

TEST(Closer, NothingToReadIsNoTrend) {
    EXPECT_EQ(find_trend_closer({}, [](std::size_t) { return std::vector<double>{}; }).trend.p, 1);
    EXPECT_EQ(closer({1, 2, 3}).trend.p, 1);
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
    trend.slope = {35, 30, 40};
    history.lasted_s = 299;
    EXPECT_EQ(verdict(), SiteVerdict::suspect);
    history.lasted_s = 300;
    EXPECT_EQ(verdict(), SiteVerdict::probable) << "10 KiB, which is not definite";
    history.lasted_s = 1000;
    EXPECT_EQ(verdict(), SiteVerdict::definite) << "34 KiB";
    trend.slope = {10, 9, 11};
    history.lasted_s = 300;
    EXPECT_EQ(verdict(), SiteVerdict::suspect) << "3 KiB";
    history.lasted_s = 830;
    EXPECT_EQ(verdict(), SiteVerdict::probable) << "8 KiB";
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
