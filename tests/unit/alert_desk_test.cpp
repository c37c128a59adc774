// What fires at the end of a run: alerts of what is followed until then go on, and nothing of a process that was left before.
#include "app/alert_desk.hpp"

#include <gtest/gtest.h>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

AlertConfig config() {
    AlertConfig config;
    config.rules = {{.name = "grows", .subject = AlertSubject::rss_bytes, .threshold = 1, .clear = 1}};
    return config;
}

std::vector<Report> reports(std::string state) {
    auto report = test::sample_report();
    report.process.rss_bytes = 1 << 20;
    report.process.state = std::move(state);
    return {report};
}

/// How many alerts of it there are then.
std::size_t look(AlertDesk& desk, std::string state, bool last = false) {
    auto seen = reports(std::move(state));
    desk.look(seen, last);
    return seen.front().alerts.size();
}

TEST(AlertDesk, WhatIsFollowedUntilTheEndKeepsItsAlerts) {
    AlertDesk desk(config());
    EXPECT_EQ(look(desk, "running"), 1U);
    EXPECT_EQ(look(desk, "detached", true), 1U);
}

TEST(AlertDesk, AProcessThatWasLeftHasNoAlertsAgainAtTheEnd) {
    AlertDesk desk(config());
    EXPECT_EQ(look(desk, "running"), 1U);
    EXPECT_EQ(look(desk, "detached"), 0U);
    EXPECT_EQ(look(desk, "detached", true), 0U);
}

TEST(AlertDesk, AProcessThatIsFollowedAgainHasThemAsBefore) {
    AlertDesk desk(config());
    EXPECT_EQ(look(desk, "detached"), 0U);
    EXPECT_EQ(look(desk, "running"), 1U);
    EXPECT_EQ(look(desk, "detached", true), 1U);
}

} // namespace
} // namespace memtrace
