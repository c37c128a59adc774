// Survival by age, from readings of what is live alone.
#include "analyze/survival.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "analyze/forecast.hpp"
#include "analyze/process_verdict.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

/// So many blocks a second for so long, each with a lifetime of its own; read every ten seconds.
SurvivalTable observe(int seconds, int per_second, const std::function<double()>& lifetime_s) {
    SurvivalTable table;
    std::vector<std::uint64_t> starts{kSecond};
    std::vector<std::pair<double, double>> blocks; ///< birth, death
    std::uint64_t allocs = 0;
    for (int now = 1; now <= seconds; ++now) {
        for (int i = 0; i < per_second; ++i, ++allocs) {
            const double born = now + static_cast<double>(i) / per_second;
            blocks.emplace_back(born, born + lifetime_s());
        }
        if (now % 10 != 0) {
            continue;
        }
        const double at = now + 1;
        std::vector<std::uint64_t> live(starts.size());
        for (const auto& [born, death] : blocks) {
            if (death > at) {
                const auto birth = static_cast<std::uint64_t>(born * 1e9);
                const auto next = std::upper_bound(starts.begin() + 1, starts.end(), birth);
                ++live[static_cast<std::size_t>(next - starts.begin() - 1)];
            }
        }
        const auto now_ns = static_cast<std::uint64_t>(at) * kSecond;
        table.read(starts, live, allocs, now_ns);
        auto next = starts;
        cut_cohorts(next, now_ns);
        table.cut(starts, next, allocs);
        starts = next;
    }
    return table;
}

TEST(CutCohorts, StayBoundedAndFinestWhereYoungest) {
    std::vector<std::uint64_t> starts{1};
    for (std::uint64_t now = 2; now < 5'000; ++now) {
        cut_cohorts(starts, now * kSecond);
        ASSERT_LE(starts.size(), kMaxCohorts);
        ASSERT_EQ(starts.back(), now * kSecond);
        ASSERT_EQ(starts.front(), 1U);
        ASSERT_TRUE(std::is_sorted(starts.begin(), starts.end()));
    }
    EXPECT_EQ(starts[kMaxCohorts - 2], 4'998 * kSecond);
    EXPECT_GT(starts[2] - starts[1], 300 * kSecond);
    const auto before = starts;
    cut_cohorts(starts, starts.back());
    EXPECT_EQ(starts, before) << "no time has passed";
}

TEST(Survival, NothingDiesIsAPlateauFromTheFirstReadingOn) {
    const auto table = observe(600, 5, [] { return 1e9; });
    const auto plateau = find_plateau(table.ages(), {}, 1);
    EXPECT_TRUE(plateau.found);
    EXPECT_DOUBLE_EQ(plateau.retained, 1);
    EXPECT_DOUBLE_EQ(plateau.reaching, 1);
    EXPECT_LT(plateau.others_retained, 0) << "there are none";
    std::uint64_t live = 0;
    for (const auto& cohort : table.cohorts()) {
        live += cohort.live;
    }
    EXPECT_EQ(live, 3'000U);
}

TEST(Survival, CurveFollowsTheLifetimes) {
    std::mt19937_64 random(1);
    const auto table = observe(1'200, 20, [&] { return std::exponential_distribution<double>(1 / 60.0)(random); });
    const SurvivalCurve curve(table.ages());
    for (const std::size_t of_class : {5U, 6U, 7U, 8U}) { // 16 s to 128 s
        EXPECT_NEAR(curve.reaching(of_class), std::exp(-AgeClasses::age_s(of_class) / 60), 0.05)
            << AgeClasses::age_s(of_class) << " s";
    }
    EXPECT_FALSE(find_plateau(table.ages(), {}, 1).found);
}

TEST(Survival, TheLeakedPartOfASiteIsFoundBehindTheOthers) {
    std::mt19937_64 random(2);
    const auto leaky = [&] { return random() % 50 == 0 ? 1e9 : std::exponential_distribution<double>(1 / 5.0)(random); };
    const auto table = observe(1'200, 20, leaky);
    const auto others = observe(1'200, 20, [&] { return std::exponential_distribution<double>(1 / 100.0)(random); });
    const auto plateau = find_plateau(table.ages(), others.ages(), 1);
    ASSERT_TRUE(plateau.found);
    EXPECT_NEAR(plateau.reaching, 0.02, 0.01);
    EXPECT_GT(plateau.retained, 0.95);
    EXPECT_GT(plateau.age_s, 8);
    EXPECT_LT(plateau.others_retained, 0.1);
    EXPECT_FALSE(find_plateau(table.ages(), {}, 1'000).found) << "a few records that stand for thousands are no evidence";
}

TEST(Survival, LifetimesLongerThanWhatWasSeenAreNoPlateauOfFewBlocks) {
    std::mt19937_64 random(3);
    EXPECT_FALSE(find_plateau(observe(60, 1, [] { return 1e9; }).ages(), {}, 1).found) << "a minute, sixty blocks";
    EXPECT_FALSE(
        find_plateau(observe(600, 2, [&] { return std::exponential_distribution<double>(1 / 900.0)(random); }).ages(), {}, 1)
            .found);
}

// Readings a little less than an age class apart leave a sliver of exposure in the class below.
TEST(Survival, DistanceOfReadingsDoesNotDecideWhenALeakIsSeen) {
    for (const std::uint64_t distance_ms : {1'900U, 1'998U, 2'000U, 3'998U, 7'990U, 8'000U}) {
        SurvivalTable table;
        std::vector<std::uint64_t> starts{kSecond};
        const auto allocs = [](std::uint64_t now_ns) { return (now_ns - kSecond) / (kSecond / 20); }; // 20 a second, for good
        bool found = false;
        std::uint64_t now = kSecond;
        while (!found && now < 40 * kSecond) {
            now += distance_ms * 1'000'000;
            std::vector<std::uint64_t> live;
            for (std::size_t i = 0; i < starts.size(); ++i) {
                live.push_back(allocs(i + 1 < starts.size() ? starts[i + 1] : now) - allocs(starts[i]));
            }
            table.read(starts, live, allocs(now), now);
            auto next = starts;
            cut_cohorts(next, now);
            table.cut(starts, next, allocs(now));
            starts = next;
            found = find_plateau(table.ages(), {}, 1).found;
        }
        EXPECT_TRUE(found) << "read every " << distance_ms << " ms, after " << (now - kSecond) / kSecond << " s";
    }
}

TEST(Survival, OddReadingsDoNoHarm) {
    SurvivalTable table;
    const std::vector<std::uint64_t> starts{5, 10};
    table.read({}, {}, 5, 1);
    table.read(starts, std::vector<std::uint64_t>{1}, 5, 20);
    table.cut(starts, {}, 5);
    EXPECT_TRUE(table.cohorts().empty());
    table.read(starts, std::vector<std::uint64_t>{~0ull, ~0ull}, 5, 20);
    table.read(starts, std::vector<std::uint64_t>{7, 3}, 4, 10);
    table.cut(starts, std::vector<std::uint64_t>{7, 8, 9}, 2);
    EXPECT_EQ(table.cohorts().size(), 3U);
    EXPECT_GE(SurvivalCurve(table.ages()).reaching(5), 0);
}

// ---- what hangs on it -----------------------------------------------------------------------------------------------------------

TEST(Forecast, IsWhatIsLeftByTheGrowthAndItsInterval) {
    const auto left = forecast(1'000, 400, {2, 1, 3});
    EXPECT_DOUBLE_EQ(left.seconds, 300);
    EXPECT_DOUBLE_EQ(left.low, 200);
    EXPECT_DOUBLE_EQ(left.high, 600);
    EXPECT_TRUE(std::isinf(forecast(1'000, 400, {2, -1, 3}).high)) << "it may not grow at all";
    EXPECT_EQ(forecast(1'000, 4'000, {2, 1, 3}).seconds, 0) << "met already";
}

class ProcessGrowthOf : public ::testing::Test {
protected:
    static constexpr double kMiB = 1 << 20;
    ProcessGrowthOf() {
        for (int i = 0; i < 40; ++i) {
            seconds.push_back(10 * i);
        }
        flat.assign(40, 100 * kMiB);
        rising = flat;
        std::mt19937_64 random(4);
        for (std::size_t i = 0; i < 40; ++i) {
            rising[i] += kMiB * static_cast<double>(i) + static_cast<double>(random() % 100'000);
        }
    }
    [[nodiscard]] ProcessGrowth of(const std::vector<double>& live, const std::vector<double>& rss,
                                   const std::vector<double>& file, const std::vector<double>& stacks, double freed = 0) const {
        return judge_process({seconds, live, rss, rss, file, stacks, freed}, find_trend(seconds, rss, {})).growth;
    }
    std::vector<double> seconds, flat, rising;
};

TEST_F(ProcessGrowthOf, IsPutDownToWhatMakesUpMostOfIt) {
    EXPECT_EQ(of(flat, flat, flat, flat), ProcessGrowth::none);
    EXPECT_EQ(of(rising, rising, flat, flat), ProcessGrowth::heap);
    EXPECT_EQ(of(flat, rising, rising, flat), ProcessGrowth::mapped_files);
    EXPECT_EQ(of(flat, rising, flat, rising), ProcessGrowth::stacks);
    EXPECT_EQ(of(flat, rising, flat, flat, 1e12), ProcessGrowth::fragmentation);
    EXPECT_EQ(of(flat, rising, flat, flat, 1e6), ProcessGrowth::unexplained) << "nothing much was freed";
    EXPECT_EQ(of(flat, rising, std::vector<double>(40), flat, 1e6), ProcessGrowth::unexplained) << "not read at first";
}

} // namespace
} // namespace memtrace
