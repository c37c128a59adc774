// Profiles on their way to a store: addresses, labels, queries and bodies; what is dropped and counted.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "app/delivery_queue.hpp"
#include "config/push_target.hpp"
#include "report/profile_post.hpp"
#include "tests/unit/said_fixture.hpp"
#include "tests/unit/temporary_directory.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kLong = 60'000'000'000;

TEST(PushTarget, SaysWhatIsThereByItsSchemeOrItsPath) {
    const auto url = [](const char* text) { return parse_push_target(text)->url; };
    EXPECT_EQ(url("pyroscope+http://host:4040"), "http://host:4040/ingest");
    EXPECT_EQ(url("pyroscope+https://host/a/ingest/"), "https://host/a/ingest");
    EXPECT_EQ(url("parca+https://host/prefix/"), "https://host/prefix/api/profiles/writeraw");
    EXPECT_EQ(parse_push_target("http://host:4040/ingest")->store, ProfileStore::pyroscope);
    EXPECT_EQ(parse_push_target("http://host/profiles/writeraw")->store, ProfileStore::parca);
    for (const auto* text :
         {"", "http://", "http://host", "pyroscope+", "pyroscope+host", "pyroscope+http:///ingest", "parca+ftp://host",
          "parca+http://host?a=b", "parca+http://host#a", "parca+http://a host", "jaeger+http://host"}) {
        EXPECT_FALSE(parse_push_target(text)) << text;
    }
}

TEST(PushLabels, HaveNamesThatBothStoresTake) {
    const auto labels = parse_push_labels({"a=1", "_b2=x=y", "pid="});
    EXPECT_EQ(*labels, (ProfileLabels{{"a", "1"}, {"_b2", "x=y"}, {"pid", ""}}));
    for (const auto* text : {"", "a", "=1", "1a=1", "a-b=1", "__name__=x", "ä=1"}) {
        EXPECT_FALSE(parse_push_labels({text})) << text;
    }
    EXPECT_FALSE(parse_push_labels({"a=1", "a=2"}));
}

Report report_of(std::vector<ReportSite> sites) {
    Report report;
    report.duration_s = 7;
    report.sites = std::move(sites);
    return report;
}

ReportSite site(const char* id, std::uint64_t allocs, std::uint64_t bytes) {
    ReportSite site;
    site.id = id;
    site.allocs = allocs;
    site.allocated_bytes = bytes;
    site.live_bytes = 5;
    site.verdict = "probable";
    return site;
}

TEST(ProfilePart, TellsWhatWasAllocatedSinceTheOneBefore) {
    AllocatedBefore before;
    auto first = profile_part(report_of({site("a", 10, 100), site("b", 1, 1)}), &before);
    EXPECT_EQ(first.sites[0].allocs, 10U);
    EXPECT_EQ(first.duration_s, 0);
    EXPECT_EQ(first.sites[0].id + first.sites[0].verdict, "") << "labels of samples are series of their own in a store";
    const auto second = profile_part(report_of({site("b", 3, 4), site("a", 9, 130), site("c", 2, 2)}), &before);
    EXPECT_EQ(second.sites[0].allocs, 2U);
    EXPECT_EQ(second.sites[0].allocated_bytes, 3U);
    EXPECT_EQ(second.sites[1].allocs, 0U) << "an estimate fell";
    EXPECT_EQ(second.sites[1].allocated_bytes, 30U);
    EXPECT_EQ(second.sites[2].allocs, 2U);
    EXPECT_EQ(second.sites[2].live_bytes, 5U);
    EXPECT_EQ(profile_part(report_of({site("a", 11, 140)}), &before).sites[0].allocs, 1U) << "told once, though it fell between";
    EXPECT_EQ(profile_part(report_of({site("a", 11, 140)}), nullptr).sites[0].allocs, 11U);
}

TEST(PyroscopeQuery, HasNothingInItThatItsParserStumblesOver) {
    EXPECT_EQ(pyroscope_query("postgres", {{"a", "1"}, {"b", "x y"}}, 10, 25),
              "?name=postgres%7Ba%3D1%2Cb%3Dx%20y%7D&from=10&until=25&spyName=memtrace&format=pprof");
    EXPECT_EQ(pyroscope_query("a {b}\n", {{"l", "1,2}3\n\x7f"}}, 0, 1),
              "?name=a__b__%7Bl%3D1_2_3__%7D&from=0&until=1&spyName=memtrace&format=pprof");
    EXPECT_TRUE(pyroscope_query("", {}, 0, 1).starts_with("?name=unknown%7B%7D&"));
}

TEST(ParcaBody, IsAWriteRawRequest) {
    for (const auto& [bytes, base64] :
         {std::pair{"", ""}, {"a", "YQ=="}, {"ab", "YWI="}, {"abc", "YWJj"}, {"\xff\xfe\xfd?", "//79Pw=="}}) {
        const auto json = nlohmann::json::parse(parca_body({{"host", "h\xff"}}, bytes));
        const auto& series = json["series"][0];
        EXPECT_EQ(series["samples"][0]["rawProfile"], base64);
        EXPECT_EQ(series["labels"]["labels"][0], (nlohmann::json{{"name", "__name__"}, {"value", "memory"}}));
        EXPECT_EQ(series["labels"]["labels"][1]["name"], "host");
    }
}

/// A queue to a program that fails, and what it says.
class DeliveryQueueTest : public test::SaidFixture {
protected:
    static DeliverySettings failing(const char* script) {
        DeliverySettings settings;
        settings.name = "store";
        settings.what = "profiles";
        settings.command = {"sh", "-c", script};
        settings.timeout_ns = kLong;
        settings.first_pause_ns = kLong;
        return settings;
    }
};

TEST_F(DeliveryQueueTest, WhatIsHopelessIsDroppedAndWhatFollowsGoesThrough) {
    auto settings = failing("read text; test \"$text\" != bad || { echo returned error: 413 >&2; exit 22; }");
    settings.first_pause_ns = 1;
    settings.hopeless = [](const Error& error) { return error.message.ends_with("413"); };
    DeliveryQueue queue(settings, say());
    queue.send("bad\n");
    queue.send("good\n");
    await([&] { return queue.counts().delivered == 1; });
    EXPECT_EQ(queue.counts().lost, 1U);
    EXPECT_EQ(queue.counts().failures, 1U);
    EXPECT_EQ(said(), "store: sh failed with status 22: returned error: 413; it is dropped\nstore takes profiles again\n");
}

TEST_F(DeliveryQueueTest, ARefusalIsNoOutage) {
    {
        auto settings = failing("read text; test \"$text\" != bad || { echo returned error: 413 >&2; exit 22; }");
        settings.hopeless = [](const Error& error) { return error.message.ends_with("413"); };
        DeliveryQueue queue(settings, say());
        queue.send("bad\n");
        await([&] { return queue.counts().failures == 1; }); // it would be a minute until the next attempt
        queue.send("bad\n");
        queue.send("good\n");
    }
    EXPECT_EQ(said(), "store: sh failed with status 22: returned error: 413; it is dropped\nstore takes profiles again\n");
}

TEST_F(DeliveryQueueTest, SoManyWaitAtMostWhileOneHangs) {
    const test::TemporaryDirectory directory;
    auto settings = failing("touch \"$0/begun\"; until test -e \"$0/go\"; do sleep 0.01; done");
    settings.command.push_back(directory.path(""));
    settings.most_waiting = 10;
    DeliveryQueue queue(settings, say());
    queue.send("one that hangs");
    await([&] { return std::filesystem::exists(directory.path("begun")); });
    for (int i = 0; i < 100; ++i) {
        queue.send("x");
    }
    EXPECT_EQ(queue.waiting(), 11U) << "and the one that hangs";
    EXPECT_EQ(queue.counts().lost, 90U);
    std::ofstream(directory.path("go"));
    await([&] { return queue.counts().delivered >= 11; });
    EXPECT_EQ(said(), "store: 90 of its oldest profiles are dropped: 10 wait already\n");
}

TEST_F(DeliveryQueueTest, SoManyBytesWaitAtMostButOneMessageAlways) {
    auto settings = failing("exit 1");
    settings.most_bytes = 100;
    DeliveryQueue queue(settings, say());
    queue.send(std::string(1'000, 'x'));
    await([&] { return queue.counts().failures == 1; });
    EXPECT_EQ(queue.counts().lost, 0U);
    for (int i = 0; i < 3; ++i) {
        queue.send(std::string(50, 'y'));
    }
    await([&] { return queue.counts().lost == 2 && queue.waiting() == 2; });
    await([&] { return said().find("of its oldest profiles are dropped") != std::string::npos; });
}

TEST_F(DeliveryQueueTest, ArgumentsOfOneMessageAreItsOwn) {
    auto settings = failing("test \"$(cat)\" = \"$1\"");
    settings.command.emplace_back("sh");
    DeliveryQueue queue(settings, say());
    queue.send("one", {"one"});
    queue.send("two", {"two"});
    await([&] { return queue.waiting() == 0; });
    EXPECT_EQ(queue.counts().delivered, 2U);
    EXPECT_EQ(said(), "");
}

} // namespace
} // namespace memtrace
