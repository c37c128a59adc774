// The snapshot reader: what the writer wrote comes back, and nothing foreign gets further than an error.
#include <gtest/gtest.h>

#include <chrono>
#include <limits>

#include <nlohmann/json.hpp>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

/// The sample as JSON, changed by `change`, read.
template <typename Change>
Result<Report> parse_changed(Change change) {
    Json json = Json::parse(json_of(sample_report()));
    change(json);
    return parse_json_report(json.dump());
}

std::string error_of(const Result<Report>& result) {
    return result ? "(no error)" : result.error().message;
}

TEST(ParseJsonReport, EveryFieldComesBack) {
    Report report = sample_report();
    report.coverage.mode = "sampled";
    report.coverage.sample_interval_bytes = 65536;
    report.coverage.lost = {{"live_map_full", 7}};
    report.coverage.overhead.budget = 0.05;
    report.coverage.from_start = true;
    report.min_age_s = 2.5;
    report.sites[0].stack_truncated = true;
    report.sites[0].stack[0].inlined = true;
    report.sites[0].stack[1].offset = std::numeric_limits<std::uint64_t>::max();
    report.totals.live_bytes_ci95[0] = 1.5;
    report.totals.other_sites = 7;
    report.totals.other_live_bytes = 8;
    report.totals.other_live_objects = 9;
    report.coverage.collector = {0.5, 0.01, 1, 2, 3.5, 4.5, 5.5, 6, 7, 8, "why"};
    const auto back = parse_json_report(json_of(report));
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_EQ(json_of(*back), json_of(report));
    EXPECT_EQ(back->totals.other_live_objects, 9U);
    EXPECT_EQ(back->coverage.collector->reason, "why");
    EXPECT_EQ(back->coverage.collector->forgotten, 8U);
    EXPECT_EQ(back->sites[0].stack, report.sites[0].stack);
    EXPECT_EQ(back->process.cmdline, report.process.cmdline);
    EXPECT_EQ(back->coverage.lost, report.coverage.lost);
    EXPECT_EQ(back->coverage.overhead.budget, 0.05);
    EXPECT_EQ(back->verdict.evidence, report.verdict.evidence);
}

TEST(ParseJsonReport, MomentComesFromTheTime) {
    const auto back = parse_json_report(json_of(sample_report()));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->time_unix_ns, sample_report().time_unix_ns);
    const auto whole = parse_changed([](Json& json) { json["time"] = "2026-01-02T03:04:05Z"; });
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->time_unix_ns, 1'767'323'045'000'000'000U);
    for (const char* strange : {"", "yesterday", "0000-00-00T00:00:00Z", "9999-01-01T00:00:00Z", "2026-01-02"}) {
        const auto other = parse_changed([&](Json& json) { json["time"] = strange; });
        ASSERT_TRUE(other) << strange;
        EXPECT_EQ(other->time_unix_ns, 0U) << strange;
    }
}

TEST(ParseJsonReport, EmptyReportComesBack) {
    const auto back = parse_json_report(json_of(Report{}));
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_TRUE(back->sites.empty());
}

TEST(ParseJsonReport, SchemaMayStandBehindTheSites) {
    const auto back = parse_changed([](Json& json) {
        json.erase("schema");
        json["schema"] = "memtrace.snapshot/1";
    });
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_EQ(back->sites.size(), 2U);
}

TEST(ParseJsonReport, UnknownFieldsAreIgnored) {
    const auto back = parse_changed([](Json& json) {
        json["later"] = {{"sites", Json::array({1, 2})}};
        json["sites"][0]["later"] = Json::array({Json::array(), nullptr});
        json["sites"][0]["stack"][0]["later"] = true;
        json["coverage"]["overhead"]["later"] = 1;
    });
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_EQ(back->sites.size(), 2U);
}

TEST(ParseJsonReport, MissingOptionalFieldsKeepTheirDefault) {
    const auto back = parse_json_report(R"({"schema":"memtrace.snapshot/1","process":{"pid":7},"totals":{"live_bytes":9},
                                           "sites":[{"id":"x"}]})");
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_EQ(back->process.pid, 7);
    EXPECT_EQ(back->process.state, "running");
    EXPECT_EQ(back->coverage.mode, "exact");
    EXPECT_FALSE(back->coverage.overhead.budget);
    EXPECT_EQ(back->totals.live_bytes_ci95[0], 9);
    ASSERT_EQ(back->sites.size(), 1U);
    EXPECT_TRUE(back->sites[0].stack.empty());
}

TEST(ParseJsonReport, MissingRequiredFieldsAreNamed) {
    const std::pair<const char*, const char*> cases[] = {{"process", "process is missing"},
                                                         {"totals", "totals is missing"},
                                                         {"sites", "sites is missing"},
                                                         {"schema", "it names no schema"}};
    for (const auto& [field, error] : cases) {
        const auto back = parse_changed([&](Json& json) { json.erase(field); });
        EXPECT_EQ(error_of(back), std::string("not a memtrace snapshot: ") + error);
    }
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["sites"][1].erase("id"); })),
              "not a memtrace snapshot: sites[1].id is missing");
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["process"].erase("pid"); })),
              "not a memtrace snapshot: process.pid is missing");
}

TEST(ParseJsonReport, AnotherSchemaIsNamed) {
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["schema"] = "memtrace.snapshot/2"; })),
              "not a memtrace snapshot: its schema is \"memtrace.snapshot/2\", this version reads \"memtrace.snapshot/1\"");
    EXPECT_EQ(error_of(parse_json_report("{}")), "not a memtrace snapshot: it names no schema");
    EXPECT_EQ(error_of(parse_json_report(R"({"schema":1})")), "not a memtrace snapshot: it names no schema");
}

TEST(ParseJsonReport, ForeignBytesAreAnError) {
    EXPECT_EQ(error_of(parse_json_report("")), "not a memtrace snapshot: the file is empty");
    EXPECT_EQ(error_of(parse_json_report(" \n\t ")), "not a memtrace snapshot: the file is empty");
    for (const std::string text :
         {"\x1f\x8b\x08 gzip", "hello", "{", "[1,", "{\"a\":}", "\xff\xff", "nul", "{\"schema\":\"\xff\"}"}) {
        EXPECT_EQ(error_of(parse_json_report(text)), "not a memtrace snapshot: not valid JSON, or cut short") << text;
    }
    EXPECT_EQ(error_of(parse_json_report(std::string("\0\0\0", 3))), "not a memtrace snapshot: not valid JSON, or cut short");
    for (const char* text : {"null", "1", "\"x\"", "[]", "[{}]", "true"}) {
        EXPECT_EQ(error_of(parse_json_report(text)), "not a memtrace snapshot: not a JSON object") << text;
    }
}

TEST(ParseJsonReport, EveryTruncationIsAnError) {
    const std::string text = json_of(sample_report());
    for (std::size_t length = 0; length + 1 < text.size(); ++length) { // the line break at the end may go
        EXPECT_FALSE(parse_json_report(text.substr(0, length))) << length;
    }
}

TEST(ParseJsonReport, EveryFlippedByteIsReadOrRefused) {
    const std::string text = json_of(sample_report());
    std::size_t refused = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        for (const char byte : {'\0', '"', '{', ']', '9', '-', '\xff'}) {
            std::string damaged = text;
            damaged[i] = byte;
            const auto back = parse_json_report(damaged);
            if (!back) {
                ++refused;
                EXPECT_TRUE(back.error().message.starts_with("not a memtrace snapshot: ")) << back.error().message;
            }
        }
    }
    EXPECT_GT(refused, text.size()); // \0 and \xff alone make every text bad
}

TEST(ParseJsonReport, WrongTypesAreNamed) {
    const std::pair<const char*, const char*> cases[] = {
        {"/time", "time is not a string"},
        {"/process", "process is not an object"},
        {"/process/cmdline", "process.cmdline is not an array"},
        {"/process/cmdline/1", "process.cmdline holds something that is not a string"},
        {"/process/pid", "process.pid is not a number"},
        {"/coverage/lost", "coverage.lost is not an object"},
        {"/coverage/from_start", "coverage.from_start is not true or false"},
        {"/coverage/overhead", "coverage.overhead is not an object"},
        {"/coverage/overhead/ratio", "coverage.overhead.ratio is not a number"},
        {"/totals/live_bytes", "totals.live_bytes is not a number"},
        {"/totals/live_bytes_ci95/0", "totals.live_bytes_ci95 is not two numbers"},
        {"/verdict/evidence", "verdict.evidence is not an object"},
        {"/verdict/evidence/slope", "verdict.evidence holds something that is not a string"},
        {"/sites", "sites is not an array"},
        {"/sites/1", "sites[1] is not an object"},
        {"/sites/1/stack", "sites[1].stack is not an array"},
        {"/sites/1/stack/0", "sites[1].stack[0] is not an object"},
        {"/sites/1/stack/0/line", "sites[1].stack[0].line is not a number"},
    };
    for (const auto& [pointer, error] : cases) {
        const bool array_wanted = std::string(error).find("not an object") != std::string::npos ||
                                  contains(error, "not a string") || contains(error, "something");
        const auto back =
            parse_changed([&](Json& json) { json[Json::json_pointer(pointer)] = array_wanted ? Json::array() : Json::object(); });
        EXPECT_EQ(error_of(back), std::string("not a memtrace snapshot: ") + error);
    }
}

TEST(ParseJsonReport, NegativeCountsAreRefused) {
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["sites"][0]["live_bytes"] = -1; })),
              "not a memtrace snapshot: sites[0].live_bytes is negative");
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["process"]["pid"] = -5; })),
              "not a memtrace snapshot: process.pid is negative");
    EXPECT_EQ(error_of(parse_changed([](Json& json) { json["coverage"]["lost"]["x"] = -1e300; })),
              "not a memtrace snapshot: coverage.lost is negative");
}

TEST(ParseJsonReport, HugeCountsAreBounded) {
    const auto back = parse_changed([](Json& json) {
        json["sites"][0]["live_bytes"] = 1e300;
        json["sites"][1]["live_bytes"] = std::numeric_limits<std::uint64_t>::max();
        json["process"]["pid"] = std::uint64_t{1} << 40;
        json["sites"][0]["stack"][0]["line"] = 1e18;
    });
    ASSERT_TRUE(back) << error_of(back);
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(back->sites[0].live_bytes, most);
    EXPECT_EQ(back->sites[1].live_bytes, most);
    EXPECT_EQ(back->process.pid, std::numeric_limits<std::int32_t>::max());
    EXPECT_EQ(back->sites[0].stack[0].line, std::numeric_limits<std::uint32_t>::max());
    EXPECT_FALSE(text_of(*back).empty()); // and their sums do not run over
    EXPECT_FALSE(parse_json_report(R"({"schema":"memtrace.snapshot/1","duration_s":1e999})"));
}

TEST(ParseJsonReport, DeepNestingIsRefusedWithoutDeepRecursion) {
    constexpr std::size_t depth = 2'000'000;
    const std::string brackets = std::string(depth, '[') + std::string(depth, ']');
    EXPECT_FALSE(parse_json_report(brackets));
    EXPECT_FALSE(parse_json_report(std::string(depth, '[')));
    std::string text = json_of(sample_report());
    text.insert(1, "\"later\":" + brackets + ",");
    EXPECT_EQ(error_of(parse_json_report(text)), "not a memtrace snapshot: nested too deeply");
    std::string objects;
    for (int i = 0; i < 100'000; ++i) {
        objects += "{\"a\":";
    }
    EXPECT_FALSE(parse_json_report(objects));
}

TEST(ParseJsonReport, StackBeyondAnyRealOneIsRefused) {
    const auto back = parse_changed([](Json& json) {
        Json& stack = json["sites"][0]["stack"];
        const Json frame = stack[0];
        for (int i = 0; i < 5000; ++i) {
            stack.push_back(frame);
        }
    });
    EXPECT_EQ(error_of(back), "not a memtrace snapshot: sites[0].stack has more than 4096 frames");
}

TEST(ParseJsonReport, FiftyThousandSitesTakeSecondsAtMost) {
    const std::string text = json_of(large_report(50'000, 8));
    const auto start = std::chrono::steady_clock::now();
    const auto back = parse_json_report(text);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(back) << error_of(back);
    EXPECT_EQ(back->sites.size(), 50'000U);
    EXPECT_EQ(back->sites[49'999].stack.size(), 8U);
    EXPECT_LT(took.count(), 30.0); // some 1.5 s; the rest is for a sanitizer and a busy machine
    RecordProperty("seconds", std::to_string(took.count()));
}

} // namespace
} // namespace memtrace
