// What fires at the end of a run: alerts of what is followed until then go on, and nothing of a process that was left before. Sinks that hang
// keep nobody.
#include "app/alert_desk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/report_sample.hpp"
#include "tests/unit/said_fixture.hpp"
#include "tests/unit/temporary_directory.hpp"

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

/// Sinks that append what they get to a file.
class AlertDeskSinks : public test::SaidFixture {
protected:
    /// A sink, with a spool; `script` is run in the directory for each message.
    [[nodiscard]] AlertConfig telling(const std::string& script) const {
        auto alerts = config();
        SinkConfig sink;
        sink.name = "ops";
        sink.type = SinkType::command;
        sink.command = {"sh", "-c", "cd " + directory_.path("") + " && " + script};
        sink.timeout_ns = 60'000'000'000;
        alerts.sinks = {sink};
        alerts.spool = directory_.path("spool");
        return alerts;
    }
    [[nodiscard]] bool has(const std::string& file) const { return std::filesystem::exists(directory_.path(file)); }
    void make(const std::string& file) const { std::ofstream(directory_.path(file)); }
    [[nodiscard]] std::string text_of(const std::string& file) const {
        std::stringstream text;
        text << std::ifstream(directory_.path(file)).rdbuf();
        return text.str();
    }
    [[nodiscard]] std::size_t spooled() const {
        std::size_t files = 0;
        for (const auto& entry : std::filesystem::directory_iterator(directory_.path("spool"))) {
            files += entry.path().extension() == ".json" ? 1 : 0;
        }
        return files;
    }

    const test::TemporaryDirectory directory_;
};

constexpr const char* kHangs = "touch started; while [ ! -e go ]; do sleep 0.01; done; cat >> got";

std::vector<Report> reports_of(std::int32_t pid) {
    auto seen = reports("running");
    seen.front().process.pid = pid;
    return seen;
}

TEST_F(AlertDeskSinks, AnotherConfigurationDoesNotWaitForASinkThatHangs) {
    {
        AlertDesk desk(telling(kHangs), false, {}, say());
        auto seen = reports_of(1);
        desk.look(seen, false);
        await([&] { return has("started"); });
        desk.change(telling("cat >> got"), false);
        seen = reports_of(2);
        desk.look(seen, false);
        EXPECT_FALSE(has("got"));
        EXPECT_EQ(said(), "") << "the time of the one that hangs is not over";
        make("go");
    }
    const auto got = text_of("got");
    const auto first = got.find("\"pid\":1,");
    const auto second = got.find("\"pid\":2,");
    EXPECT_LT(first, second) << got << "the spool has been the first one's until its end";
    EXPECT_NE(second, std::string::npos) << got;
    EXPECT_EQ(spooled(), 0U);
    EXPECT_EQ(said(), "");
}

TEST_F(AlertDeskSinks, AtTheEndOfTheRunWhatFiresIsToldAsResolvedWithTheReason) {
    {
        AlertDesk desk(telling("cat >> got"), false, {}, say());
        EXPECT_EQ(look(desk, "running"), 1U);
        EXPECT_EQ(look(desk, "detached", true), 1U) << "reports have it still";
    }
    const auto got = text_of("got");
    const auto fires = got.find("\"state\":\"firing\"");
    const auto resolved = got.find("\"state\":\"resolved\"");
    EXPECT_LT(fires, resolved) << got;
    EXPECT_NE(got.find("\"text\":\"memtrace ends, and whether this goes on is not known: "), std::string::npos) << got;
    EXPECT_EQ(std::ranges::count(got, '\n'), 2) << got;
}

TEST_F(AlertDeskSinks, WhatIsNewOfAProcessIsOneMessage) {
    auto alerts = telling("cat >> got");
    alerts.rules.push_back({.name = "lives", .subject = AlertSubject::live_bytes, .threshold = 1, .clear = 1});
    {
        AlertDesk desk(alerts, false, {}, say());
        auto seen = reports_of(1);
        seen.push_back(reports_of(2).front());
        desk.look(seen, false);
    }
    std::istringstream lines(text_of("got"));
    for (const auto* const process : {"\"pid\":1,", "\"pid\":2,"}) {
        std::string line;
        ASSERT_TRUE(std::getline(lines, line));
        EXPECT_NE(line.find(process), std::string::npos) << line;
        EXPECT_NE(line.find("\"name\":\"grows\""), std::string::npos) << line;
        EXPECT_NE(line.find("\"name\":\"lives\""), std::string::npos) << line;
    }
    EXPECT_EQ(lines.peek(), std::istringstream::traits_type::eof());
}

TEST_F(AlertDeskSinks, MoreAlertsThanThereCanBeAreSaidOnce) {
    AlertDesk desk(config(), false, {}, say());
    std::vector<Report> seen;
    for (std::size_t i = 0; i <= AlertBook::kMaxAlerts; ++i) {
        seen.push_back(reports_of(static_cast<std::int32_t>(i) + 1).front());
    }
    desk.look(seen, false);
    desk.look(seen, false);
    EXPECT_EQ(said(), "1000 alerts pend or fire, more are not followed: rules should match less\n");
}

TEST_F(AlertDeskSinks, WhatIsToldWhileAnAttemptHangsIsInTheSpool) {
    AlertDesk desk(telling(kHangs), false, {}, say());
    auto seen = reports_of(1);
    desk.look(seen, false);
    await([&] { return has("started"); });
    seen = reports_of(2);
    desk.look(seen, false);
    await([&] { return spooled() == 2 || has("got") || !said().empty(); });
    EXPECT_EQ(spooled(), 2U);
    EXPECT_FALSE(has("got"));
    make("go");
}

} // namespace
} // namespace memtrace
