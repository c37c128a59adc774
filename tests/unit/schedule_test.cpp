// Moments by the calendar; what clocks do in spring and autumn.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/schedule.hpp"
#include "tests/unit/zone.hpp"

namespace memtrace {
namespace {

using test::Zone;

// As POSIX writes them, so that no package is needed.
constexpr const char* kBerlin = "CET-1CEST,M3.5.0,M10.5.0/3"; // 2025: forward on 30 March, 2 -> 3; back on 26 October, 3 -> 2
constexpr const char* kLordHowe = "LHST-10:30LHDT-11,M10.1.0,M4.1.0"; // half an hour; 2025: back on 6 April, 2 -> 1:30

/// The moments that follow, in UTC.
std::vector<std::string> moments(const std::string& schedule, const std::string& from, std::size_t count) {
    const auto parsed = parse_schedule(schedule);
    EXPECT_TRUE(parsed) << schedule;
    std::vector<std::string> found;
    for (auto at = parse_rfc3339(from); parsed && found.size() < count;) {
        at = next_moment(*parsed, at);
        found.push_back(rfc3339(at).substr(5, 11));
    }
    return found;
}

using Texts = std::vector<std::string>;

TEST(Schedule, daily_is_in_local_time) {
    const Zone zone(kBerlin);
    EXPECT_EQ(moments("03:00", "2025-01-15T12:00:00Z", 2), (Texts{"01-16T02:00", "01-17T02:00"}));
    EXPECT_EQ(moments("daily 03:00", "2025-07-15T12:00:00Z", 2), (Texts{"07-16T01:00", "07-17T01:00"}));
}

TEST(Schedule, the_moment_itself_is_over) {
    const Zone zone("UTC0");
    EXPECT_EQ(moments("03:00", "2025-01-15T03:00:00Z", 1), (Texts{"01-16T03:00"}));
    EXPECT_EQ(moments("03:00", "2025-01-15T02:59:59Z", 1), (Texts{"01-15T03:00"}));
    EXPECT_EQ(rfc3339(next_moment(*parse_schedule("03:00:05"), parse_rfc3339("2025-01-15T03:00:04.999Z"))),
              "2025-01-15T03:00:05.000Z");
}

TEST(Schedule, days_of_the_week) {
    const Zone zone("UTC0"); // 2025-01-15 is a Wednesday
    EXPECT_EQ(moments("mon 03:00", "2025-01-15T12:00:00Z", 2), (Texts{"01-20T03:00", "01-27T03:00"}));
    EXPECT_EQ(moments("mon-fri 22:30", "2025-01-16T23:00:00Z", 3), (Texts{"01-17T22:30", "01-20T22:30", "01-21T22:30"}));
    EXPECT_EQ(moments("sat,sun 12:00", "2025-01-15T12:00:00Z", 3), (Texts{"01-18T12:00", "01-19T12:00", "01-25T12:00"}));
    EXPECT_EQ(moments("fri-mon 0:00", "2025-01-15T12:00:00Z", 5),
              (Texts{"01-17T00:00", "01-18T00:00", "01-19T00:00", "01-20T00:00", "01-24T00:00"}));
    EXPECT_EQ(moments("weekly", "2025-01-20T00:00:00Z", 1), (Texts{"01-27T00:00"}));
}

TEST(Schedule, every_hour) {
    const Zone zone("UTC0");
    EXPECT_EQ(moments("*:15", "2025-01-15T12:00:00Z", 2), (Texts{"01-15T12:15", "01-15T13:15"}));
    EXPECT_EQ(moments("wed *:00", "2025-01-15T22:30:00Z", 2), (Texts{"01-15T23:00", "01-22T00:00"}));
    EXPECT_EQ(moments("hourly", "2025-01-15T22:30:00Z", 1), (Texts{"01-15T23:00"}));
}

TEST(Schedule, a_moment_that_the_clock_skips_is_when_it_is_put_forward) {
    const Zone zone(kBerlin);
    EXPECT_EQ(moments("02:30", "2025-03-29T00:00:00Z", 3), (Texts{"03-29T01:30", "03-30T01:00", "03-31T00:30"}));
    EXPECT_EQ(moments("sun 02:30", "2025-03-29T00:00:00Z", 2), (Texts{"03-30T01:00", "04-06T00:30"}));
    EXPECT_EQ(moments("03:00", "2025-03-29T12:00:00Z", 2), (Texts{"03-30T01:00", "03-31T01:00"}));
}

TEST(Schedule, a_moment_that_comes_twice_counts_once) {
    const Zone zone(kBerlin);
    EXPECT_EQ(moments("02:30", "2025-10-25T12:00:00Z", 2), (Texts{"10-26T00:30", "10-27T01:30"}));
    EXPECT_EQ(moments("03:00", "2025-10-25T12:00:00Z", 2), (Texts{"10-26T02:00", "10-27T02:00"}));
    EXPECT_EQ(moments("02:30", "2025-10-26T00:45:00Z", 1), (Texts{"10-27T01:30"})); // between the two
}

TEST(Schedule, every_hour_that_passes_has_its_moment) {
    const Zone zone(kBerlin);
    EXPECT_EQ(moments("*:30", "2025-03-30T00:00:00Z", 3), (Texts{"03-30T00:30", "03-30T01:30", "03-30T02:30"}));
    EXPECT_EQ(moments("*:30", "2025-10-26T00:00:00Z", 3), (Texts{"10-26T00:30", "10-26T01:30", "10-26T02:30"}));
}

TEST(Schedule, clocks_that_go_by_half_an_hour) {
    const Zone zone(kLordHowe);
    EXPECT_EQ(moments("01:45", "2025-04-05T00:00:00Z", 2), (Texts{"04-05T14:45", "04-06T15:15"}));
    EXPECT_EQ(moments("02:10", "2025-10-04T00:00:00Z", 2), (Texts{"10-04T15:30", "10-05T15:10"}));
}

TEST(Schedule, what_is_none) {
    for (const char* text : {"",
                             "3",
                             "3:0",
                             "24:00",
                             "12:60",
                             "mon",
                             "mon tue 03:00",
                             "monday 03:00",
                             "mon- 03:00",
                             ",mon 03:00",
                             "*",
                             "*:*",
                             "03:00 mon",
                             "03:00:60",
                             "1:2:3:4",
                             "-1:00",
                             "daily",
                             "hourly 03:00",
                             "0x3:00",
                             "mon,,tue 3:00"}) {
        EXPECT_EQ(parse_schedule(text).has_value(), std::string(text) == "daily") << text;
    }
}

} // namespace
} // namespace memtrace
