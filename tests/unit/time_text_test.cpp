#include "config/time_text.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "tests/unit/zone.hpp"

namespace memtrace {
namespace {

class TimeText : public ::testing::Test {
protected:
    /// What comes of a text at a moment, both in UTC.
    static std::string at(const char* now, const std::string& text) {
        const auto moment = parse_time(text, parse_rfc3339(now));
        return moment ? rfc3339(*moment) : moment.error().message;
    }
    static std::string refusal(const std::string& text) {
        const auto moment = parse_time(text, parse_rfc3339("2026-11-26T16:00:00Z"));
        return moment ? "taken for " + rfc3339(*moment) : moment.error().message;
    }

private:
    const test::Zone zone_{"Europe/Berlin"};
};

constexpr const char* kThursday = "2026-11-26T16:00:00.500Z"; // 17:00 in Berlin

TEST_F(TimeText, NowAndAgo) {
    EXPECT_EQ(at(kThursday, "now"), kThursday);
    EXPECT_EQ(at(kThursday, " Now "), kThursday);
    EXPECT_EQ(at(kThursday, "2h ago"), "2026-11-26T14:00:00.500Z");
    EXPECT_EQ(at(kThursday, "90s ago"), "2026-11-26T15:58:30.500Z");
    EXPECT_EQ(at(kThursday, "1d  ago"), "2026-11-25T16:00:00.500Z");
    EXPECT_EQ(at(kThursday, "2 h ago"), "2026-11-26T14:00:00.500Z");
}

TEST_F(TimeText, DaysByTheirNames) {
    EXPECT_EQ(at(kThursday, "yesterday 03:00"), "2026-11-25T02:00:00.000Z");
    EXPECT_EQ(at(kThursday, "yesterday"), "2026-11-24T23:00:00.000Z");
    EXPECT_EQ(at(kThursday, "today 14:00"), "2026-11-26T13:00:00.000Z");
    EXPECT_EQ(at(kThursday, "today 23:30"), "2026-11-26T22:30:00.000Z"); // it says which day, so it may lie ahead
    EXPECT_EQ(at(kThursday, "monday 09:00"), "2026-11-23T08:00:00.000Z");
    EXPECT_EQ(at(kThursday, "Thursday 16:59:59"), "2026-11-26T15:59:59.000Z");
    EXPECT_EQ(at(kThursday, "thursday 17:01"), "2026-11-19T16:01:00.000Z"); // has not been yet
    EXPECT_EQ(at(kThursday, "fri 9:00"), "2026-11-20T08:00:00.000Z");
}

TEST_F(TimeText, ATimeOfDayIsTheLastThatWas) {
    EXPECT_EQ(at(kThursday, "03:00"), "2026-11-26T02:00:00.000Z");
    EXPECT_EQ(at(kThursday, "3:00"), "2026-11-26T02:00:00.000Z");
    EXPECT_EQ(at(kThursday, "17:00"), "2026-11-26T16:00:00.000Z");
    EXPECT_EQ(at(kThursday, "17:00:01"), "2026-11-25T16:00:01.000Z");
}

TEST_F(TimeText, DatesAreLocalWhereTheyNameNoZone) {
    EXPECT_EQ(at(kThursday, "2026-11-25 03:00"), "2026-11-25T02:00:00.000Z");
    EXPECT_EQ(at(kThursday, "2026-11-25T03:00:07.25"), "2026-11-25T02:00:07.250Z");
    EXPECT_EQ(at(kThursday, "2026-11-25"), "2026-11-24T23:00:00.000Z");
    EXPECT_EQ(at(kThursday, "2026-11-25T03:00:00Z"), "2026-11-25T03:00:00.000Z");
    EXPECT_EQ(at(kThursday, "2026-11-25T03:00:00.678+05:30"), "2026-11-24T21:30:00.678Z");
    EXPECT_EQ(at(kThursday, "2026-11-25T03:00:00-08:00"), "2026-11-25T11:00:00.000Z");
    EXPECT_EQ(at(kThursday, "2028-02-29 12:00"), "2028-02-29T11:00:00.000Z");
}

TEST_F(TimeText, TheNightThatClocksArePutForward) {
    constexpr const char* kAfter = "2026-03-29T10:00:00Z"; // at 02:00 it became 03:00, 01:00 UTC
    EXPECT_EQ(at(kAfter, "01:59"), "2026-03-29T00:59:00.000Z");
    EXPECT_EQ(at(kAfter, "02:30"), "2026-03-29T01:30:00.000Z"); // 03:30 by clocks that were put forward
    EXPECT_EQ(at(kAfter, "03:00"), "2026-03-29T01:00:00.000Z");
    EXPECT_EQ(at("2026-03-30T10:00:00Z", "yesterday 02:30"), "2026-03-29T01:30:00.000Z");
    EXPECT_EQ(at("2026-03-30T10:00:00Z", "yesterday 12:00"), "2026-03-29T10:00:00.000Z");
}

TEST_F(TimeText, TheNightThatClocksArePutBack) {
    constexpr const char* kAfter = "2026-10-25T10:00:00Z";      // at 03:00 it became 02:00, 01:00 UTC
    EXPECT_EQ(at(kAfter, "02:30"), "2026-10-25T00:30:00.000Z"); // the first of two
    EXPECT_EQ(at(kAfter, "01:59"), "2026-10-24T23:59:00.000Z");
    EXPECT_EQ(at(kAfter, "03:00"), "2026-10-25T02:00:00.000Z");
    EXPECT_EQ(at(kAfter, "yesterday 02:30"), "2026-10-24T00:30:00.000Z");
}

TEST_F(TimeText, OtherZones) {
    const test::Zone new_york("America/New_York");
    EXPECT_EQ(at(kThursday, "03:00"), "2026-11-26T08:00:00.000Z");
    const test::Zone lord_howe("Australia/Lord_Howe"); // half an hour of summer time
    EXPECT_EQ(at("2026-10-04T05:00:00Z", "02:15"), "2026-10-03T15:45:00.000Z");
    const test::Zone utc("UTC");
    EXPECT_EQ(at(kThursday, "yesterday 03:00"), "2026-11-25T03:00:00.000Z");
}

TEST_F(TimeText, AcrossMonthsAndYears) {
    EXPECT_EQ(at("2027-01-01T12:00:00Z", "yesterday 03:00"), "2026-12-31T02:00:00.000Z");
    EXPECT_EQ(at("2027-01-01T12:00:00Z", "monday 09:00"), "2026-12-28T08:00:00.000Z");
}

TEST_F(TimeText, WhatIsNoTimeTellsTheForms) {
    for (const auto* text : {"",
                             "noon",
                             "25:00",
                             "3",
                             "03:60",
                             "yesterday03:00",
                             "yesterday 3",
                             "2026-02-30 03:00",
                             "2026-13-01",
                             "26-11-25",
                             "ago",
                             "h ago",
                             "-1h ago",
                             "1h",
                             "1y ago",
                             "99999d ago",
                             "2026-11-25T03:00:00+5",
                             "monday x",
                             "mondays 09:00",
                             "2026-11-25 03:00 Z",
                             "now now",
                             "1969-12-31",
                             "9999-01-01",
                             "\xff\xfe",
                             "0x3:00"}) {
        EXPECT_EQ(refusal(text).rfind("\"" + std::string(text) + "\" is no time: write now, 2h ago, 03:00", 0), 0U)
            << refusal(text);
    }
}

} // namespace
} // namespace memtrace
