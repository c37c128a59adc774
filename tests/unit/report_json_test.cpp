// The snapshot JSON as written: the fixed schema, read back by the library and not by our own reader.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

Json parsed(const Report& report) {
    return Json::parse(json_of(report), nullptr, false);
}

std::vector<std::string> keys(const Json& object) {
    std::vector<std::string> names;
    for (const auto& [name, value] : object.items()) {
        names.push_back(name);
    }
    return names;
}

using Names = std::vector<std::string>;

TEST(RenderJson, TopLevelHasTheFixedFieldsInOrder) {
    const Json json = parsed(sample_report());
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(keys(json), (Names{"schema", "tool", "time", "duration_s", "min_age_s", "process", "coverage", "totals", "verdict",
                                 "sites", "resources", "references", "alerts"}));
    EXPECT_EQ(json["schema"], "memtrace.snapshot/1");
    EXPECT_EQ(json["tool"], (Json{{"name", "memtrace"}, {"version", "0.1.0"}}));
    EXPECT_EQ(json["time"], "2026-01-02T03:04:05.678Z");
    EXPECT_EQ(json["duration_s"], 90.0);
}

TEST(RenderJson, ProcessCoverageTotalsAndVerdictCarryTheirValues) {
    const Json json = parsed(sample_report());
    EXPECT_EQ(keys(json["process"]), (Names{"pid", "start_time", "comm", "exe", "cmdline", "rss_bytes", "anon_bytes",
                                            "file_bytes", "shmem_bytes", "swap_bytes", "stack_bytes", "state"}));
    EXPECT_EQ(json["process"]["pid"], 1234);
    EXPECT_EQ(json["process"]["cmdline"], (Json{"lightning", "--port", "7000"}));
    EXPECT_EQ(json["coverage"]["mode"], "exact");
    EXPECT_EQ(json["coverage"]["unmatched_frees"], 3);
    EXPECT_EQ(json["coverage"]["lost"], Json::object());
    EXPECT_EQ(json["coverage"]["counters"]["allocs_seen"], 100);
    EXPECT_EQ(keys(json["coverage"]["overhead"]), (Names{"ratio", "budget", "trap_ns", "hits_per_s"}));
    EXPECT_EQ(json["coverage"]["overhead"]["hits_per_s"], 4200.0);
    EXPECT_EQ(json["totals"]["live_bytes"], 7 << 20);
    EXPECT_EQ(json["totals"]["live_bytes_ci95"], (Json::array({7.0 * (1 << 20), 7.0 * (1 << 20)})));
    EXPECT_EQ(keys(json["verdict"]), (Names{"class", "text", "evidence"}));
    EXPECT_EQ(json["verdict"]["class"], "leak");
    EXPECT_EQ(json["verdict"]["evidence"]["slope"], "200 KiB/s");
}

TEST(RenderJson, SitesAndFramesCarryTheirValues) {
    Report report = sample_report();
    report.sites[0].stack[0].inlined = true;
    report.sites[0].stack_truncated = true;
    const Json json = parsed(report);
    ASSERT_EQ(json["sites"].size(), 2U);
    const Json& site = json["sites"][0];
    EXPECT_EQ(keys(site), (Names{"id",
                                 "live_bytes",
                                 "live_objects",
                                 "allocs",
                                 "frees",
                                 "allocated_bytes",
                                 "freed_bytes",
                                 "live_bytes_ci95",
                                 "live_objects_ci95",
                                 "unverified_bytes",
                                 "unverified_objects",
                                 "oldest_age_s",
                                 "growth_bytes_per_s",
                                 "growth_bytes_per_s_ci95",
                                 "p_value",
                                 "shape",
                                 "verdict",
                                 "confidence",
                                 "evidence",
                                 "allocator",
                                 "function",
                                 "stack_truncated",
                                 "stack"}));
    EXPECT_EQ(site["id"], "00000000000000bb");
    EXPECT_EQ(site["live_bytes"], 4 << 20);
    EXPECT_EQ(site["stack_truncated"], true);
    EXPECT_EQ(json["sites"][1]["growth_bytes_per_s"], 200.0 * 1024);
    ASSERT_EQ(site["stack"].size(), 2U);
    EXPECT_EQ(site["stack"][0], (Json{{"function", "open_00000000000000bb"},
                                      {"file", "/src/cursor.cpp"},
                                      {"line", 42},
                                      {"column", 11},
                                      {"module", "/usr/lib/db/bin/lightning"},
                                      {"offset", 0x1234},
                                      {"inlined", true},
                                      {"build_id", "a1b2c3"}}));
}

TEST(RenderJson, WhatIsNotTracedYetIsThereAndEmpty) {
    const Json json = parsed(Report{});
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["sites"], Json::array());
    EXPECT_EQ(json["resources"], Json::array());
    EXPECT_EQ(json["alerts"], Json::array());
    EXPECT_EQ(json["references"], (Json{{"objects", 0}, {"edges", 0}, {"cycles", Json::array()}, {"errors", Json::array()}}));
    EXPECT_EQ(json["process"]["cmdline"], Json::array());
    EXPECT_EQ(json["coverage"]["sources"], Json::array());
    EXPECT_EQ(json["verdict"]["evidence"], Json::object());
}

TEST(RenderJson, FieldsMarkedNotInTheJsonStayOut) {
    const std::string text = json_of(sample_report());
    EXPECT_FALSE(contains(text, "grown_bytes"));
    EXPECT_FALSE(contains(text, "interval_s"));
    EXPECT_FALSE(contains(text, "time_unix_ns"));
    EXPECT_FALSE(contains(text, "class_name"));
}

TEST(RenderJson, BudgetIsNullWhereNoneIsKept) {
    Report report = sample_report();
    EXPECT_TRUE(parsed(report)["coverage"]["overhead"]["budget"].is_null());
    report.coverage.overhead.budget = 0.05;
    EXPECT_EQ(parsed(report)["coverage"]["overhead"]["budget"], 0.05);
}

TEST(RenderJson, IsOneLine) {
    const std::string text = json_of(sample_report());
    EXPECT_EQ(occurrences(text, "\n"), 1U);
    EXPECT_EQ(text.back(), '\n');
}

TEST(RenderJson, InvalidUtf8InCmdlineIsReplaced) {
    Report report = sample_report();
    report.process.cmdline = {"lightning", "\xff\xfe", "caf\xc3\xa9"};
    report.process.comm = "bad\xc3";
    const Json json = parsed(report);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["process"]["cmdline"][1], "\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_EQ(json["process"]["cmdline"][2], "caf\xc3\xa9");
    EXPECT_EQ(json["process"]["comm"], "bad\xef\xbf\xbd");
}

TEST(RenderJson, HostileNamesInFramesAndMapsAreEscaped) {
    Report report = sample_report();
    report.sites[0].stack[0].function = "operator\"\"_x\\\n\x01\xff\x7f";
    report.coverage.lost["a\"b\xff"] = 1;
    report.verdict.evidence["k\xff"] = "v\xff";
    const Json json = parsed(report);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["sites"][0]["stack"][0]["function"], "operator\"\"_x\\\n\x01\xef\xbf\xbd\x7f");
    EXPECT_EQ(json["coverage"]["lost"]["a\"b\xef\xbf\xbd"], 1);
    EXPECT_EQ(json["verdict"]["evidence"]["k\xef\xbf\xbd"], "v\xef\xbf\xbd");
}

TEST(RenderJson, CountersThatLookLikePairsStayAnObject) {
    Report report = sample_report();
    report.coverage.counters = {{"one", 1}};
    EXPECT_TRUE(parsed(report)["coverage"]["counters"].is_object());
    report.coverage.counters.clear();
    EXPECT_EQ(parsed(report)["coverage"]["counters"], Json::object());
}

TEST(RenderJson, NumbersThatJsonLacksBecomeZeroAndLargeOnesStayExact) {
    Report report = sample_report();
    report.coverage.overhead.ratio = std::nan("");
    report.sites[0].growth_bytes_per_s = std::numeric_limits<double>::infinity();
    report.sites[0].stack[0].offset = std::numeric_limits<std::uint64_t>::max();
    report.totals.allocated_bytes = (std::uint64_t{1} << 53) + 1;
    const Json json = parsed(report);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["coverage"]["overhead"]["ratio"], 0.0);
    EXPECT_EQ(json["sites"][0]["growth_bytes_per_s"], 0.0);
    EXPECT_EQ(json["sites"][0]["stack"][0]["offset"], std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(json["totals"]["allocated_bytes"], (std::uint64_t{1} << 53) + 1);
}

TEST(RenderJson, FiftyThousandSitesTakeSecondsAtMost) {
    const Report report = large_report(50'000, 8);
    const auto start = std::chrono::steady_clock::now();
    const std::string text = json_of(report);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(occurrences(text, "\"stack\":["), 50'000U);
    EXPECT_LT(took.count(), 10.0); // some 0.4 s; the rest is for a sanitizer and a busy machine
    RecordProperty("seconds", std::to_string(took.count()));
}

} // namespace
} // namespace memtrace
