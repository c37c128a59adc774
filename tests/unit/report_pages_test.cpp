// The pages tier from events to every report that shows it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "report/build.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

constexpr ProcessId kProcess{1};
constexpr std::uint64_t kMiB = 1 << 20;

class ReportPagesTest : public ::testing::Test {
protected:
    void start(const std::vector<std::string>& allocators, bool pages = true) {
        model_.apply(RunStarted{"9.9", kNanosPerSecond, kNanosPerSecond, 0, 1'000, 64'000, 500});
        ProcessStarted started;
        started.process = kProcess;
        started.pid = 42;
        started.attach_mono_ns = kNanosPerSecond;
        started.comm = "db";
        started.sources = allocators;
        model_.apply(started);
        model_.apply(ModuleMapped{{1}, kProcess, "/opt/db", "aa"});
        if (pages) {
            model_.apply(PagesStarted{kProcess, {"pages: touched memory"}});
        }
    }
    void define(PageSiteId site, PageKind kind, const char* function) {
        const Frame frame{{1}, 0x100U * site.value};
        model_.apply(StackDefined{{site.value}, kProcess, false, {frame}});
        model_.apply(SymbolResolved{frame, {{function, "db.c", 7, false}}});
        model_.apply(PageSiteDefined{site, kProcess, {site.value}, kind});
    }
    void tick(std::uint64_t second) { model_.apply(TickEnded{second * kNanosPerSecond, second * kNanosPerSecond}); }
    [[nodiscard]] Report report() const { return build_report(model_, kProcess); }

    /// 12 MiB touched at one place; 8 MiB mapped at another and 5 of them given back.
    void grow() {
        define({1}, PageKind::fault, "touch_it");
        define({2}, PageKind::mmap, "map_it");
        model_.apply(PageSiteSample{{1}, 12 * kMiB, 0, 3072});
        model_.apply(PageSiteSample{{2}, 8 * kMiB, 5 * kMiB, 4});
        model_.apply(PageSample{kProcess, 12 * kMiB, 2 * kMiB, 8 * kMiB, 5 * kMiB});
        tick(5);
    }

    Model model_;
};

TEST_F(ReportPagesTest, WithoutTheTierNothingIsSaid) {
    start({"libc: malloc"}, false);
    tick(5);
    EXPECT_TRUE(report().pages.sources.empty());
    EXPECT_EQ(report().coverage.mode, "exact");
    EXPECT_FALSE(contains(json_of(report()), "\"pages\""));
    EXPECT_FALSE(contains(text_of(report()), "pages"));
}

TEST_F(ReportPagesTest, SitesCarryWhatTheyHoldLargestFirst) {
    start({"libc: malloc"});
    grow();
    const auto built = report();
    EXPECT_EQ(built.coverage.mode, "exact");
    EXPECT_EQ(built.coverage.sources, (std::vector<std::string>{"libc: malloc", "pages: touched memory"}));
    EXPECT_EQ(built.pages.faulted_bytes, 12 * kMiB);
    EXPECT_EQ(built.pages.returned_bytes, 2 * kMiB);
    EXPECT_EQ(built.pages.mapped_bytes, 8 * kMiB);
    EXPECT_EQ(built.pages.unmapped_bytes, 5 * kMiB);
    ASSERT_EQ(built.pages.sites.size(), 2U);
    EXPECT_EQ(built.pages.sites[0].kind, "fault");
    EXPECT_EQ(built.pages.sites[0].bytes, 12 * kMiB);
    EXPECT_EQ(built.pages.sites[0].events, 3072U);
    EXPECT_DOUBLE_EQ(built.pages.sites[0].bytes_per_s, 3.0 * kMiB);
    EXPECT_EQ(built.pages.sites[0].stack.at(0).function, "touch_it");
    EXPECT_EQ(built.pages.sites[1].kind, "mmap");
    EXPECT_EQ(built.pages.sites[1].bytes, 3 * kMiB);
    EXPECT_EQ(built.pages.sites[1].returned_bytes, 5 * kMiB);
    EXPECT_NE(built.pages.sites[0].id, built.pages.sites[1].id);
}

TEST_F(ReportPagesTest, RatesAreSinceTheReportBefore) {
    start({"libc: malloc"});
    grow();
    model_.apply(ReportDue{false});
    model_.apply(PageSiteSample{{1}, 16 * kMiB, 0, 4096});
    model_.apply(PageSiteSample{{2}, 8 * kMiB, 7 * kMiB, 4}); // it shrinks
    tick(7);
    const auto built = report();
    ASSERT_EQ(built.pages.sites.size(), 2U);
    EXPECT_DOUBLE_EQ(built.pages.sites[0].bytes_per_s, 2.0 * kMiB);
    EXPECT_DOUBLE_EQ(built.pages.sites[1].bytes_per_s, -1.0 * kMiB);
}

TEST_F(ReportPagesTest, WhatHoldsNothingIsLeftOut) {
    start({"libc: malloc"});
    grow();
    model_.apply(PageSiteSample{{2}, 8 * kMiB, 8 * kMiB, 4});
    EXPECT_EQ(report().pages.sites.size(), 1U);
    EXPECT_EQ(report().pages.other_sites, 0U);
}

TEST_F(ReportPagesTest, WhatIsMappedAgainAndAgainIsShownThoughNobodyTouchesIt) {
    start({"libc: malloc"});
    define({1}, PageKind::mmap, "map_it");
    const auto maps = [this](std::uint64_t times, std::uint64_t unmapped) {
        model_.apply(PageSiteSample{{1}, times * kMiB, unmapped * kMiB, times});
        model_.apply(PageSample{kProcess, 0, 0, times * kMiB, unmapped * kMiB});
        tick(5);
        return text_of(report());
    };
    EXPECT_FALSE(contains(maps(9, 0), " mapped,")) << "room that a program makes for itself";
    EXPECT_FALSE(contains(maps(40, 38), " mapped,")) << "it goes back";
    const auto text = maps(80, 38);
    EXPECT_TRUE(contains(text, "80.0 MiB mapped, 38.0 MiB of it unmapped")) << text;
    EXPECT_TRUE(contains(text, "it goes on mapping memory and keeps it, touched or not"));
    EXPECT_TRUE(contains(text, "map_it"));
}

TEST_F(ReportPagesTest, ManySmallPlacesAreSummed) {
    start({"libc: malloc"});
    for (std::uint32_t i = 1; i <= 130; ++i) {
        define({i}, PageKind::fault, "f");
        model_.apply(PageSiteSample{{i}, 4096U * i, 0, i});
    }
    tick(5);
    const auto built = report();
    EXPECT_EQ(built.pages.sites.size(), 100U);
    EXPECT_EQ(built.pages.sites.back().bytes, 4096U * 31);
    EXPECT_EQ(built.pages.other_sites, 30U);
    EXPECT_EQ(built.pages.other_bytes, 4096U * 30 * 31 / 2);
}

TEST_F(ReportPagesTest, WithoutAnAllocatorTheModeIsPages) {
    start({});
    grow();
    const auto built = report();
    EXPECT_EQ(built.coverage.mode, "pages");
    EXPECT_EQ(built.verdict.class_name, "unknown");
    const auto text = text_of(built);
    EXPECT_TRUE(contains(text, "pages     +10.0 MiB resident: 12.0 MiB touched, 2.0 MiB given back")) << text;
    EXPECT_TRUE(contains(text, "3.0 MiB mapped and kept (5.0 MiB unmapped)")) << text;
    EXPECT_TRUE(contains(text, "touch_it")) << text;
    EXPECT_FALSE(contains(text, "heap  ")) << "there is no heap to tell of\n" << text;
    EXPECT_FALSE(contains(text, "No call sites")) << text;
}

TEST_F(ReportPagesTest, AnAllocatorThatComesLaterEndsThePagesMode) {
    start({});
    ProcessStarted again;
    again.process = kProcess;
    again.sources = {"libc: malloc"};
    model_.apply(again);
    EXPECT_EQ(report().coverage.mode, "exact");
}

TEST_F(ReportPagesTest, TheTextIsSilentWhereTheHeapExplainsTheGrowth) {
    start({"libc: malloc"});
    grow();
    EXPECT_TRUE(contains(text_of(report()), "the heap above does not account for it"));
    model_.apply(StackDefined{{900}, kProcess, false, {{{1}, 0x9000}}});
    model_.apply(SiteDefined{{1}, kProcess, {900}, "libc", "malloc"});
    model_.apply(SiteSample{{1}, 9, 0, 9 * kMiB, 0, 0, 0, 0});
    tick(6);
    EXPECT_FALSE(contains(text_of(report()), "resident:"));
}

TEST_F(ReportPagesTest, JsonIsReadBackAsItWas) {
    start({});
    grow();
    const auto written = json_of(report());
    const auto json = nlohmann::json::parse(written);
    EXPECT_EQ(json["pages"]["sites"][0]["kind"], "fault");
    EXPECT_EQ(json["pages"]["sites"][1]["bytes"], 3 * kMiB);
    EXPECT_EQ(json["pages"]["sources"], nlohmann::json({"pages: touched memory"}));
    const auto read = parse_json_report(written);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(json_of(*read), written);
}

TEST_F(ReportPagesTest, ForeignJsonIsRefusedNotBelieved) {
    start({});
    grow();
    const auto written = json_of(report());
    const auto broken = [&](const std::string& from, const std::string& to) {
        auto text = written;
        text.replace(text.find(from), from.size(), to);
        const auto read = parse_json_report(text);
        return read ? std::string() : read.error().message;
    };
    EXPECT_TRUE(contains(broken(R"("kind":"fault")", R"("kind":7)"), "pages.sites[0].kind is not a string"));
    EXPECT_TRUE(contains(broken(R"("mapped_bytes":8388608)", R"("mapped_bytes":-1)"), "pages.mapped_bytes is negative"));
    EXPECT_TRUE(contains(broken(R"("pages":{)", R"("pages":7,"was":{)"), "pages is not an object"));
}

TEST_F(ReportPagesTest, DiffComparesWhatIsKnown) {
    start({});
    grow();
    const auto before = report();
    model_.apply(PageSample{kProcess, 20 * kMiB, 2 * kMiB, 9 * kMiB, 5 * kMiB});
    tick(9);
    std::ostringstream out;
    render_diff(before, report(), {}, out);
    EXPECT_TRUE(contains(out.str(), "touched   10.0 MiB -> 18.0 MiB (+8.0 MiB)")) << out.str();
    EXPECT_TRUE(contains(out.str(), "mapped    3.0 MiB -> 4.0 MiB (+1.0 MiB)")) << out.str();
}

TEST_F(ReportPagesTest, EventsOfStrangersAreCountedNotFollowed) {
    start({});
    const auto before = model_.ignored_events();
    model_.apply(PagesStarted{{9}, {"x"}});
    model_.apply(PageSiteDefined{{9}, {9}, {9}, PageKind::brk});
    model_.apply(PageSiteSample{{9}, 1, 0, 1});
    model_.apply(PageSample{{9}, 1, 1, 1, 1});
    EXPECT_EQ(model_.ignored_events(), before + 4);
}

} // namespace
} // namespace memtrace
