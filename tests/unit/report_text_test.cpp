// The report for a terminal.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

std::size_t position(const std::string& text, const std::string& part) {
    return text.find(part);
}

TEST(RenderText, SaysWhatMemtraceTakesAndWhy) {
    auto report = sample_report();
    report.coverage.collector = {0.02, 0.01, 300 << 20, 512 << 20, 10, 5, 80, 300, 0, 0, ""};
    auto text = text_of(report);
    EXPECT_TRUE(
        contains(text, "\n          memtrace itself: 2.0 % of a core (budget 1.0 %), 300.0 MiB (budget 512.0 MiB)\nheap "))
        << text;
    report.coverage.collector->reason = "memtrace itself takes 2 % of a core";
    report.coverage.collector->forgotten = 1'234;
    text = text_of(report);
    EXPECT_TRUE(contains(
        text, "\n          memtrace itself takes 2 % of a core\n          1,234 processes that ended are in no report any "
              "more\n"))
        << text;
    report.totals.other_sites = 5'000;
    report.totals.other_live_bytes = 3 << 20;
    report.totals.other_live_objects = 77;
    EXPECT_TRUE(contains(text_of(report), "\n5,000 sites not shown: 3.0 MiB live in 77 blocks\n")) << text_of(report);
}

TEST(RenderText, WholeReport) {
    EXPECT_EQ(text_of(sample_report()), R"(memtrace 0.1.0  2026-01-02T03:04:05.678Z
process   lightning (pid 1234), followed for 1m30s, RSS 120.0 MiB
          lightning --port 7000
verdict   LEAK: 1 call site leaks 200 KiB/s
coverage  exact, nothing lost
          libc.so.6: malloc, calloc, realloc, free
          3 frees of blocks whose allocation was not seen: older than the tracing
cost      4,200 probe hits/s x 860 ns: 0.36 % of the target's CPU time (estimate)
heap      7.0 MiB live in 3,100 blocks, +1.0 MiB in the last 5s
          5,000 allocations (9.0 MiB), 1,900 frees (2.0 MiB)

What grew

#1  3.0 MiB live in 3,000 blocks, +1.0 MiB in the last 5s, +200.0 KiB/s, oldest 42s
    definite leak, confidence 95 %: grew in each of the last 12 intervals
    malloc (libc), 3,010 allocations, 10 frees, site 00000000000000aa
      #0 open_00000000000000aa (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

Live, largest of the rest

#2  4.0 MiB live in 100 blocks, oldest 42s
    stable
    malloc (libc), 110 allocations, 10 frees, site 00000000000000bb
      #0 open_00000000000000bb (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

)");
}

TEST(RenderText, EmptyReportSaysSo) {
    Report report = sample_report();
    report.sites.clear();
    report.totals = {};
    report.verdict = {};
    const std::string text = text_of(report);
    EXPECT_TRUE(contains(text, "verdict   UNKNOWN\n"));
    EXPECT_TRUE(contains(text, "No call sites yet"));
    EXPECT_FALSE(contains(text, "What grew"));
    EXPECT_FALSE(contains(text, "not shown"));
    EXPECT_FALSE(text_of(Report{}).empty());
}

TEST(RenderText, LostEventsAreShownWithTheirCounters) {
    Report report = sample_report();
    report.coverage.lost = {{"live_map_full", 1234}, {"stack_map_full", 5}};
    const std::string text = text_of(report);
    EXPECT_TRUE(contains(text, "LOST      live_map_full 1,234, stack_map_full 5\n"));
    EXPECT_TRUE(contains(text, "the figures below are off by what was lost"));
    EXPECT_FALSE(contains(text, "nothing lost"));
    EXPECT_LT(position(text, "LOST"), position(text, "heap  "));
}

TEST(RenderText, UnmatchedFreesAreNormalOnlyWhereTracingBeganLate) {
    Report report = sample_report();
    report.coverage.unmatched_frees = 1;
    EXPECT_TRUE(contains(text_of(report), "1 free of blocks whose allocation was not seen: older than the tracing"));
    report.coverage.from_start = true;
    EXPECT_TRUE(contains(text_of(report), "some call to an allocator is not traced"));
    EXPECT_TRUE(contains(text_of(report), "since its first instruction"));
    report.coverage.unmatched_frees = 0;
    EXPECT_FALSE(contains(text_of(report), "not seen"));
}

TEST(RenderText, CostThatWasNotMeasuredIsNotGivenAsZero) {
    Report report = sample_report();
    report.coverage.overhead.trap_ns = 0;
    report.coverage.overhead.ratio = 0;
    const std::string text = text_of(report);
    EXPECT_TRUE(contains(text, "cost      4,200 probe hits/s, cost of a hit not measured\n"));
    EXPECT_FALSE(contains(text, "0.00 %"));
}

TEST(RenderText, BudgetIsShownWhereOneIsKept) {
    Report report = sample_report();
    report.coverage.overhead.budget = 0.05;
    EXPECT_TRUE(contains(text_of(report), "(estimate; budget 5.0 %)"));
}

TEST(RenderText, SampledModeShowsIntervalAndConfidence) {
    Report report = sample_report();
    report.coverage.mode = "sampled";
    report.coverage.sample_interval_bytes = 64 << 10;
    report.totals.live_bytes_ci95[0] = 6 << 20;
    report.totals.live_bytes_ci95[1] = 8 << 20;
    const std::string text = text_of(report);
    EXPECT_TRUE(contains(text, "sampled, one sample per 64.0 KiB on average"));
    EXPECT_TRUE(contains(text, "95 % confidence: 6.0 MiB to 8.0 MiB live"));
}

TEST(RenderText, FirstReportAndSnapshotsClaimNoGrowthSinceTheLastOne) {
    Report report = sample_report();
    report.interval_s = 0;
    EXPECT_FALSE(contains(text_of(report), "in the last"));
    report = sample_report();
    report.totals.grown_bytes = 0;
    EXPECT_TRUE(contains(text_of(report), "3,100 blocks, unchanged in the last 5s"));
}

TEST(RenderText, MinAgeIsNamedWithTheFiguresItBounds) {
    Report report = sample_report();
    report.min_age_s = 10;
    EXPECT_TRUE(contains(text_of(report), "live in 3,100 blocks at least 10s old"));
}

TEST(RenderText, SitesNotShownAreCountedAndSummed) {
    Report report = large_report(50, 3);
    std::uint64_t all = 0;
    for (auto& entry : report.sites) {
        entry.live_bytes = 1024;
        all += entry.live_bytes;
    }
    const std::string text = text_of(report, {.top = 10});
    EXPECT_EQ(all, 50U * 1024);
    EXPECT_TRUE(contains(text, "40 sites not shown: 40.0 KiB live in 200 blocks\n"));
    EXPECT_EQ(occurrences(text, "    stable\n"), 10U);
    EXPECT_FALSE(contains(text_of(report, {.top = 50}), "not shown"));
    EXPECT_TRUE(contains(text_of(report, {.top = 0}), "50 sites not shown: 50.0 KiB"));
}

TEST(RenderText, NoSiteIsShownTwice) {
    Report report = large_report(30, 3);
    for (std::size_t i = 0; i < 30; i += 2) {
        report.sites[i].grown_bytes = static_cast<std::int64_t>(1000 + i);
    }
    const std::string text = text_of(report, {.top = 20});
    for (const auto& entry : report.sites) {
        EXPECT_LE(occurrences(text, "site " + entry.id + "\n"), 1U) << entry.id;
    }
    EXPECT_EQ(occurrences(text, ", site "), 20U);
}

TEST(RenderText, SitesThatMerelyGrewLeaveRoomForTheLargest) {
    Report report = large_report(30, 3); // in the order of live bytes: site 0 is the largest
    for (std::size_t i = 10; i < 30; ++i) {
        report.sites[i].grown_bytes = 16;
    }
    const std::string text = text_of(report, {.top = 10});
    EXPECT_TRUE(contains(text, "site 0\n"));
    EXPECT_TRUE(contains(text, "site 4\n"));
    EXPECT_LT(position(text, "What grew"), position(text, "Live, largest of the rest"));
}

TEST(RenderText, LeaksComeFirstAndTakeEveryPlaceTheyNeed) {
    Report report = large_report(30, 3);
    for (std::size_t i = 0; i < 10; ++i) {
        report.sites[i].grown_bytes = 1 << 20;
    }
    for (std::size_t i = 20; i < 30; ++i) {
        report.sites[i].verdict = i == 25 ? "definite" : "suspect";
    }
    const std::string text = text_of(report, {.top = 10});
    EXPECT_EQ(occurrences(text, " leak, confidence"), 10U);
    EXPECT_LT(position(text, "definite leak"), position(text, "suspect leak"));
    EXPECT_FALSE(contains(text, "Live, largest"));
}

TEST(RenderText, SitesThatHoldNothingAreNotListedAsLive) {
    Report report = sample_report();
    report.sites[0].live_bytes = 0;
    report.sites[0].live_objects = 0;
    EXPECT_FALSE(contains(text_of(report), "site 00000000000000bb"));
}

TEST(RenderText, IncompleteAndMissingStacksAreMarked) {
    Report report = sample_report();
    report.sites[0].stack_truncated = true;
    report.sites[1].stack.clear();
    const std::string text = text_of(report);
    EXPECT_EQ(occurrences(text, "      ... (stack incomplete)\n"), 1U);
    EXPECT_EQ(occurrences(text, "      (no stack)\n"), 1U);
}

TEST(RenderText, FramesWithoutNamesLinesOrFilesStillReadWell) {
    Report report = sample_report();
    report.sites.resize(1);
    report.sites[0].stack = {{"inner", "/s/a.h", 3, "/x/bin", 0x10, true, ""},
                             {"outer", "/s/a.cpp", 0, "/x/bin", 0x10, false, ""},
                             {"", "", 0, "/x/lib.so", 0x20, false, ""},
                             {"", "", 0, "", 0x30, false, ""}};
    EXPECT_TRUE(contains(text_of(report), "      #0 inner (a.h:3) [inlined]\n"
                                          "      #1 outer (a.cpp) [bin+0x10]\n"
                                          "      #2 [lib.so+0x20]\n"
                                          "      #3 [0x30]\n"));
    EXPECT_TRUE(contains(text_of(report, {.verbose = true}), "      #1 outer (/s/a.cpp) [/x/bin+0x10]\n"));
}

TEST(RenderText, DeepStacksAndLongNamesAreCutUnlessVerbose) {
    Report report = large_report(1, 40);
    report.sites[0].stack[0].function = std::string(500, 'x');
    EXPECT_TRUE(contains(text_of(report), "      ... 16 more frames\n"));
    EXPECT_FALSE(contains(text_of(report), std::string(80, 'x')));
    EXPECT_TRUE(contains(text_of(report, {.verbose = true}), std::string(500, 'x')));
    EXPECT_FALSE(contains(text_of(report, {.verbose = true}), "more frames"));
}

TEST(RenderText, VerboseShowsEveryCounter) {
    EXPECT_FALSE(contains(text_of(sample_report()), "allocs_seen"));
    const std::string text = text_of(sample_report(), {.verbose = true});
    EXPECT_TRUE(contains(text, "allocs_seen = 100\n"));
    EXPECT_TRUE(contains(text, "live_map_full = 0\n"));
    EXPECT_TRUE(contains(text, "room for 1,048,576 live blocks in 64.0 MiB of kernel memory"));
    EXPECT_TRUE(contains(text, "slope = 200 KiB/s"));
}

TEST(RenderText, ColourOnlyWhereAskedFor) {
    EXPECT_FALSE(contains(text_of(sample_report()), "\x1b"));
    EXPECT_TRUE(contains(text_of(sample_report(), {.colour = true}), "\x1b[1;31mLEAK\x1b[0m"));
}

TEST(RenderText, ControlSequencesOfTheTargetDoNotReachTheTerminal) {
    Report report = sample_report();
    const std::string evil = "\x1b]0;owned\x07\n\xff";
    report.process.comm = evil;
    report.process.cmdline = {evil};
    report.process.state = evil;
    report.coverage.sources = {evil};
    report.coverage.lost[evil] = 1;
    report.verdict.text = report.verdict.class_name = evil;
    for (auto& entry : report.sites) {
        entry.id = entry.verdict = entry.evidence = entry.allocator = entry.function = evil;
        entry.stack[0].function = entry.stack[0].file = entry.stack[0].module = evil;
    }
    for (const bool verbose : {false, true}) {
        const std::string text = text_of(report, {.verbose = verbose});
        EXPECT_FALSE(contains(text, "\x1b"));
        EXPECT_FALSE(contains(text, "\x07"));
        EXPECT_FALSE(contains(text, "\xff"));
    }
}

TEST(RenderText, RatesThatAreNoNumberDoNotUpsetTheOrder) {
    Report report = large_report(200, 1);
    for (std::size_t i = 0; i < 200; ++i) {
        report.sites[i].grown_bytes = 1;
        report.sites[i].growth_bytes_per_s = i % 3 == 0 ? std::nan("") : static_cast<double>(i);
    }
    const std::string text = text_of(report, {.top = 10});
    EXPECT_LT(position(text, "site 199\n"), position(text, "site 197\n"));
}

TEST(RenderText, EndedProcessSaysHow) {
    Report report = sample_report();
    report.process.state = "exited";
    EXPECT_TRUE(contains(text_of(report), "(pid 1234), exited, followed for"));
}

TEST(RenderText, LinesOfOrdinaryContentFitTheTerminal) {
    Report report = sample_report();
    report.process.cmdline = {std::string(4000, 'a')};
    report.coverage.sources = {"libc.so.6: " + std::string(300, 'm')};
    report.verdict.text.clear();
    for (int i = 0; i < 60; ++i) {
        report.verdict.text += "word ";
    }
    report.sites[1].evidence = report.verdict.text;
    std::istringstream lines(text_of(report));
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 120U) << line;
    }
}

} // namespace
} // namespace memtrace
