// [resources]: what is understood, what is refused, and that reports keep to it.
#include "config/resource_config.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.hpp"
#include "report/build.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kSecond = kNanosPerSecond;

std::string complaint(const std::string& line) {
    const auto parsed = parse_resource_config("[resources]\n" + line + "\n", "a.toml");
    return parsed ? "none" : parsed.error().message;
}

TEST(ResourceConfig, HasWhatItSays) {
    const auto parsed = parse_resource_config("[resources]\nmin_released = 20\nfactor = 2.5\nmin_age = \"5s\"\nsettle = \"3s\"\n"
                                              "sure_released = 4\nmin_acquired = 30\nbusy_for = \"10s\"\n",
                                              "a.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(**parsed, (ResourceThresholds{20, 2.5, 5 * kSecond, 3 * kSecond, 4, 30, ResourceThresholds{}.busy_p, 10}));
}

TEST(ResourceConfig, WhatIsNotSaidStaysAsItIs) {
    EXPECT_FALSE(*parse_resource_config("[alerts]\ndefaults = true\n", "a.toml"));
    EXPECT_EQ(**parse_resource_config("[resources]\n[alerts]\ndefaults = true\n", "a.toml"), ResourceThresholds{});
    auto expected = ResourceThresholds{};
    expected.factor = 3;
    EXPECT_EQ(**parse_resource_config("[resources]\nfactor = 3\n", "a.toml"), expected);
    EXPECT_EQ(read_resource_config({}).value(), ResourceThresholds{});
}

TEST(ResourceConfig, ComplaintsSayWhere) {
    EXPECT_EQ(parse_resource_config("resources = 1\n", "a.toml").error().message, "a.toml:1: resources is a table: [resources]");
    EXPECT_EQ(complaint("colour = 1"), "a.toml:2: colour is unknown here");
    EXPECT_EQ(complaint("\"a\\nb\" = 1"), "a.toml:2: a?b is unknown here");
    EXPECT_EQ(complaint("min_released = 0"), "a.toml:2: min_released is no number from 1 on");
    EXPECT_EQ(complaint("min_acquired = -1"), "a.toml:2: min_acquired is no number from 1 on");
    EXPECT_EQ(complaint("sure_released = 1.5"), "a.toml:2: sure_released is no number from 1 on");
    EXPECT_EQ(complaint("factor = 0.5"), "a.toml:2: factor is no number from 1 to 1000000");
    EXPECT_EQ(complaint("factor = nan"), "a.toml:2: factor is no number from 1 to 1000000");
    EXPECT_EQ(complaint("factor = \"2x\""), "a.toml:2: factor is no number from 1 to 1000000");
    EXPECT_EQ(complaint("min_age = \"soon\"").substr(0, 17), "a.toml:2: min_age");
    EXPECT_EQ(complaint("settle = \"1s\""), "a.toml:2: settle is less than 2s, which threads may take to tell of what they did");
}

TEST(ResourceConfig, StandsInOneFile) {
    const auto path = (std::filesystem::temp_directory_path() / ("memtrace-resources-" + std::to_string(::getpid()))).string();
    std::ofstream(path) << "[resources]\nfactor = 3\n";
    const auto once = read_resource_config({path});
    const auto twice = read_resource_config({path, path});
    std::filesystem::remove(path);
    ASSERT_TRUE(once) << once.error().message;
    EXPECT_EQ(once->factor, 3);
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, path + ": [resources] is in " + path + " already");
}

/// 30 cursors of 10 ms, and one of 6 s.
Report report_of(const std::optional<ResourceThresholds>& thresholds) {
    Model model;
    const ProcessId process{1};
    model.apply(RunStarted{"9.9", kSecond, kSecond, 0, 1'000, 64'000, 500});
    if (thresholds) {
        model.apply(*thresholds);
    }
    ProcessStarted started;
    started.process = process;
    started.pid = 42;
    started.attach_mono_ns = kSecond;
    model.apply(started);
    model.apply(ContractStarted{process, {"memtrace: resource_acquire"}, 1});
    auto now = 2 * kSecond;
    const auto tell = [&](ResourceAction action, std::uint64_t id) {
        model.apply(ResourceTold{{process, now, 7, {}}, action, "cursor", id, 0, 0, "", 0, 0, false});
    };
    for (std::uint64_t id = 1; id <= 30; ++id) {
        tell(ResourceAction::acquired, id);
        now += kSecond / 100;
        tell(ResourceAction::released, id);
    }
    tell(ResourceAction::acquired, 99);
    now += 6 * kSecond;
    model.apply(TickEnded{now, now});
    return build_report(model, process);
}

TEST(ResourceConfig, ReportsKeepToIt) {
    const auto as_it_is = report_of(std::nullopt);
    ASSERT_EQ(as_it_is.resources.listed.size(), 1U);
    EXPECT_EQ(as_it_is.resources.listed[0].verdict, "stable");
    ResourceThresholds thresholds;
    thresholds.min_released = 20;
    thresholds.min_age_ns = 5 * kSecond;
    const auto stricter = report_of(thresholds);
    ASSERT_EQ(stricter.resources.listed.size(), 1U);
    EXPECT_EQ(stricter.resources.listed[0].verdict, "suspect");
    thresholds.factor = 10'000;
    EXPECT_EQ(report_of(thresholds).resources.listed.at(0).verdict, "stable");
}

} // namespace
} // namespace memtrace
