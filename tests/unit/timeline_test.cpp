// The histories that verdicts are judged on: bounded, yet of the whole run.
#include <gtest/gtest.h>

#include "model/model.hpp"

namespace memtrace {
namespace {

TEST(Rings, HoldTheNewestOfEachWidth) {
    Timeline line;
    for (std::uint64_t tick = 1; tick <= 5'000; ++tick) {
        line.add(tick, static_cast<float>(tick));
    }
    std::uint64_t width = 1;
    for (std::size_t level = 0; level < Timeline::kLevels; ++level, width *= Timeline::kFold) {
        const auto values = line.read(level, 5'000);
        const auto newest = 5'000 / width;
        ASSERT_EQ(values.size(), std::min<std::uint64_t>(newest, Timeline::kEntries)) << "level " << level;
        for (std::size_t i = 0; i < values.size(); ++i) { // of what only rises, each entry is the first of its ticks
            const auto entry = newest - values.size() + 1 + i;
            EXPECT_EQ(values[i], static_cast<double>((entry - 1) * width + 1)) << "level " << level;
        }
    }
}

TEST(Rings, FoldedEntriesAreWhatWasHeldAllTheTime) {
    Timeline line;
    for (std::uint64_t tick = 1; tick <= 256; ++tick) {
        line.add(tick, tick % 16 == 7 ? 10.0F : 500.0F);
    }
    for (const double floor : line.read(2, 256)) {
        EXPECT_EQ(floor, 10);
    }
    EXPECT_EQ(line.read(1, 256).back(), 500);
}

TEST(Rings, WholeRunTakesTheFinestThatReachesBack) {
    EXPECT_EQ(Timeline::whole_run(0), 0U);
    EXPECT_EQ(Timeline::whole_run(64), 0U);
    EXPECT_EQ(Timeline::whole_run(65), 1U);
    EXPECT_EQ(Timeline::whole_run(259), 1U) << "64 entries of four, and three ticks that are not an entry yet";
    EXPECT_EQ(Timeline::whole_run(260), 2U);
    EXPECT_EQ(Timeline::whole_run(~std::uint64_t{0}), Timeline::kLevels - 1);
}

TEST(Rings, StayWithinTheirBound) {
    Timeline line;
    EXPECT_EQ(line.bytes(), 0U);
    for (std::uint64_t tick = 1; tick <= 100'000; ++tick) {
        line.add(tick, 1);
    }
    EXPECT_EQ(line.bytes(), 2'048U) << "2 KiB, as the header says";
}

TEST(Rings, WhatBeginsLateWasZeroBefore) {
    for (const std::uint64_t born : {2U, 63U, 64U, 65U, 100U, 1'000U}) {
        Timeline line;
        for (std::uint64_t tick = born; tick < born + 30; ++tick) {
            line.add(tick, 7);
        }
        const auto newest = born + 29;
        const auto values = line.read(0, newest);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto tick = newest - values.size() + 1 + i;
            ASSERT_EQ(values[i], tick < born ? 0 : 7) << "born at " << born << ", tick " << tick;
        }
    }
}

class ModelHistory : public ::testing::Test {
protected:
    ModelHistory() {
        ProcessStarted started;
        started.process = kProcess;
        model_.apply(started);
        model_.apply(SiteDefined{kSite, kProcess, {}, "libc", "malloc"});
    }
    void live(std::uint64_t bytes) {
        SiteSample sample;
        sample.site = kSite;
        sample.allocs = sample.allocated_bytes = bytes;
        model_.apply(sample);
    }
    [[nodiscard]] std::vector<double> of_site() const {
        return model_.site(kSite)->live_bytes_history.read(0, model_.process(kProcess)->history.ticks,
                                                           static_cast<float>(model_.site(kSite)->live_bytes()));
    }
    static constexpr ProcessId kProcess{1};
    static constexpr SiteId kSite{1};
    Model model_;
};

TEST_F(ModelHistory, SiteThatIsNotSampledKeepsItsLastValue) {
    live(500);
    for (std::uint64_t tick = 1; tick <= 5; ++tick) {
        model_.apply(TickEnded{0, tick});
    }
    EXPECT_EQ(of_site(), (std::vector<double>{500, 500, 500, 500, 500}));
}

TEST_F(ModelHistory, ValuesOfSitesAndProcessBelongToOneMoment) {
    for (std::uint64_t tick = 1; tick <= 300; ++tick) {
        live(tick > 100 ? tick : 0);
        model_.apply(ProcessSample{kProcess, 2 * tick, 3'000'000'000 * tick});
        model_.apply(TickEnded{0, 10 * tick});
    }
    const auto& history = model_.process(kProcess)->history;
    const auto level = Timeline::whole_run(300);
    const auto times = history.mono_ns.read(level, 300);
    const auto site = model_.site(kSite)->live_bytes_history.read(level, 300, 300);
    ASSERT_EQ(site.size(), times.size());
    for (std::size_t i = 0; i < times.size(); ++i) {
        const double first = times[i] / 10;
        EXPECT_EQ(site[i], first > 100 ? first : 0);
        EXPECT_EQ(history.live_bytes.read(level, 300)[i], site[i]);
        EXPECT_EQ(history.rss_bytes.read(level, 300)[i], 2 * first);
        EXPECT_EQ(history.cpu_s.read(level, 300)[i], 3 * first);
    }
}

// Filled in late, it is what it would have been, had each tick been added at its time; also after more ticks than any ring reaches back.
TEST(LazyTimeline, IsTheTimelineOfTheSameValues) {
    for (const std::uint64_t stretch : {1ULL, 3ULL, 64ULL, 1'000ULL, 5'000ULL, 200'000ULL}) {
        Timeline eager;
        LazyTimeline lazy;
        std::uint64_t tick = 0;
        float value = 7;
        for (int change = 0; change < 5; ++change) {
            const auto until = tick + stretch;
            while (tick < until) {
                eager.add(++tick, value);
            }
            lazy.fill(tick, value);
            value = static_cast<float>(change * 100 % 300);
        }
        for (const auto until = tick + stretch; tick < until;) {
            eager.add(++tick, value);
        }
        for (std::size_t level = 0; level < Timeline::kLevels; ++level) {
            EXPECT_EQ(lazy.read(level, tick, value), eager.read(level, tick)) << stretch << " ticks, level " << level;
        }
    }
}

TEST(LazyTimeline, TakesNoMemoryBeforeItHeldSomething) {
    LazyTimeline figure;
    figure.fill(1'000'000, 0);
    EXPECT_EQ(figure.bytes(), 0U);
    EXPECT_FALSE(figure.any(1'000'001, 0));
    EXPECT_TRUE(figure.any(1'000'001, 5));
    EXPECT_FALSE(figure.any(1'000'000, 5)) << "not at a tick yet";
}

TEST_F(ModelHistory, EachProcessCountsItsOwnTicks) {
    model_.apply(TickEnded{0, 10});
    ProcessStarted late;
    late.process = {2};
    late.attach_mono_ns = 15;
    model_.apply(late);
    model_.apply(TickEnded{0, 20});
    EXPECT_EQ(model_.process({2})->history.mono_ns.read(0, 1), (std::vector<double>{20}));
    EXPECT_EQ(model_.process(kProcess)->history.ticks, 2U);
}

} // namespace
} // namespace memtrace
