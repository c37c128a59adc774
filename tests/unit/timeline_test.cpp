// The history that verdicts are judged on: bounded, yet of the whole run.
#include <gtest/gtest.h>

#include "model/model.hpp"

namespace memtrace {
namespace {

constexpr ProcessId kProcess{1};
constexpr std::uint64_t kTick = 10;

SiteSample live(SiteId site, std::uint64_t bytes) {
    SiteSample sample;
    sample.site = site;
    sample.allocs = sample.allocated_bytes = bytes;
    return sample;
}

Model attached() {
    Model model;
    ProcessStarted started;
    started.process = kProcess;
    model.apply(started); // attached at 0
    return model;
}

/// Tick number `n`, at which the site holds as many bytes as nanoseconds have passed: a history must hold equal pairs.
void tick(Model& model, SiteId site, std::uint64_t n) {
    model.apply(live(site, n * kTick));
    model.apply(TickEnded{0, n * kTick});
}

void expect_consistent(const Model& model, SiteId site, std::uint64_t newest) {
    const auto& timeline = model.process(kProcess)->timeline;
    const auto& ticks = timeline.mono_ns;
    ASSERT_LE(ticks.size(), Timeline::kMaxTicks);
    ASSERT_EQ(ticks.back(), newest * kTick) << "the newest tick is the last entry";
    ASSERT_EQ(ticks.front(), 0U) << "the moment of attaching is the first";
    for (std::size_t i = 1; i + 1 < ticks.size(); ++i) {
        ASSERT_EQ(ticks[i], i * timeline.stride * kTick) << "of " << ticks.size() << " after tick " << newest;
    }
    ASSERT_EQ(model.site(site)->live_bytes_ticks, ticks) << "values belong to their times";
}

TEST(Timeline, StaysBoundedEvenAndCompleteHoweverLongTheRun) {
    auto model = attached();
    model.apply(SiteDefined{{1}, kProcess, {}, "libc", "malloc"});
    for (std::uint64_t n = 1; n <= 5'000; ++n) {
        tick(model, {1}, n);
        expect_consistent(model, {1}, n);
        if (HasFatalFailure()) {
            FAIL() << "at tick " << n;
        }
    }
    const auto& timeline = model.process(kProcess)->timeline;
    EXPECT_GE(timeline.mono_ns.size(), Timeline::kMaxTicks / 2);
    EXPECT_EQ(timeline.stride, 128U) << "5,000 ticks in at most 64 entries";
}

TEST(Timeline, ThinningHalvesWhatIsKept) {
    auto model = attached();
    model.apply(SiteDefined{{1}, kProcess, {}, "libc", "malloc"});
    for (std::uint64_t n = 1; n < Timeline::kMaxTicks; ++n) {
        tick(model, {1}, n);
    }
    EXPECT_EQ(model.process(kProcess)->timeline.mono_ns.size(), Timeline::kMaxTicks);
    tick(model, {1}, Timeline::kMaxTicks);
    EXPECT_EQ(model.process(kProcess)->timeline.mono_ns.size(), Timeline::kMaxTicks / 2 + 1);
    EXPECT_EQ(model.process(kProcess)->timeline.stride, 2U);
}

TEST(Timeline, SiteThatAppearsLateHeldNothingBefore) {
    for (const std::uint64_t born : {1U, 2U, 40U, 63U, 64U, 65U, 66U, 127U, 128U, 200U}) {
        auto model = attached();
        for (std::uint64_t n = 1; n < born; ++n) {
            model.apply(TickEnded{0, n * kTick});
        }
        model.apply(SiteDefined{{1}, kProcess, {}, "libc", "malloc"});
        for (std::uint64_t n = born; n < born + 100; ++n) {
            tick(model, {1}, n);
            const auto& times = model.process(kProcess)->timeline.mono_ns;
            const auto& values = model.site({1})->live_bytes_ticks;
            ASSERT_EQ(values.size(), times.size()) << "born at " << born << ", tick " << n;
            for (std::size_t i = 0; i < times.size(); ++i) {
                ASSERT_EQ(values[i], times[i] >= born * kTick ? times[i] : 0) << "born at " << born << ", tick " << n;
            }
        }
    }
}

TEST(Timeline, SiteThatIsNotSampledKeepsItsLastValue) {
    auto model = attached();
    model.apply(SiteDefined{{1}, kProcess, {}, "libc", "malloc"});
    model.apply(live({1}, 500));
    for (std::uint64_t n = 1; n <= 5; ++n) {
        model.apply(TickEnded{0, n * kTick});
    }
    EXPECT_EQ(model.site({1})->live_bytes_ticks, (std::vector<std::uint64_t>{0, 500, 500, 500, 500, 500}));
}

TEST(Timeline, EachProcessHasItsOwn) {
    auto model = attached();
    for (std::uint64_t n = 1; n <= 100; ++n) {
        model.apply(TickEnded{0, n * kTick});
    }
    ProcessStarted late;
    late.process = {2};
    late.attach_mono_ns = 1'005;
    model.apply(late);
    model.apply(TickEnded{0, 1'010});
    EXPECT_EQ(model.process({2})->timeline.mono_ns, (std::vector<std::uint64_t>{1'005, 1'010}));
    EXPECT_EQ(model.process({2})->timeline.stride, 1U);
    EXPECT_EQ(model.process(kProcess)->timeline.stride, 2U);
}

} // namespace
} // namespace memtrace
