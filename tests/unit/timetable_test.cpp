// When the loop of a run does what, while the distances between two times change.
#include "app/timetable.hpp"

#include <gtest/gtest.h>

namespace memtrace {
namespace {

constexpr std::uint64_t kBegin = 1'000 * kNanosPerSecond;

Options ten_seconds() {
    Options options;
    options.interval_ns = 10 * kNanosPerSecond;
    options.snapshot_interval_ns = 60 * kNanosPerSecond;
    options.push_profiles = "http://host/ingest";
    options.push_interval_ns = 20 * kNanosPerSecond;
    return options;
}

TEST(Timetable, OtherPeriodsBeginWithTheNextMoment) {
    Timetable times(ten_seconds(), true, kBegin);
    EXPECT_EQ(times.ticks.next(), kBegin + kNanosPerSecond);
    times.set_periods(5, 40, 240, 80);
    EXPECT_EQ(times.reports.next(), kBegin + 10 * kNanosPerSecond);
    EXPECT_TRUE(times.ticks.due(times.ticks.next()));
    EXPECT_EQ(times.ticks.next(), kBegin + 6 * kNanosPerSecond);
    EXPECT_TRUE(times.reports.due(times.reports.next()));
    EXPECT_EQ(times.reports.next(), kBegin + 50 * kNanosPerSecond);
    EXPECT_TRUE(times.snapshot_due(times.snapshots.next()));
    EXPECT_EQ(times.snapshots.next(), kBegin + 300 * kNanosPerSecond);
    EXPECT_TRUE(times.pushes.due(times.pushes.next()));
    EXPECT_EQ(times.pushes.next(), kBegin + 100 * kNanosPerSecond);
}

TEST(Timetable, OtherPeriodsLeaveTheCalendarAlone) {
    auto options = ten_seconds();
    options.snapshot_by_interval = false;
    options.push_profiles.clear();
    options.snapshot_at = {*parse_schedule("daily")};
    Timetable times(options, true, kBegin);
    times.set_periods(5, 40, 0, 0); // as OwnControl says where no snapshots come by interval, and nothing is pushed
    constexpr auto kDay = 25 * 3'600 * kNanosPerSecond; // of those on which clocks change
    EXPECT_LE(times.calendar.next(), monotonic_ns() + kDay);
    EXPECT_FALSE(times.snapshots.due(kBegin + 1'000 * kDay));
    EXPECT_FALSE(times.pushes.due(kBegin + 1'000 * kDay));
}

} // namespace
} // namespace memtrace
