// From events to a report.
#include "report/build.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/clock.hpp"

namespace memtrace {
namespace {

constexpr ProcessId kProcess{1};
constexpr std::uint64_t kSecond = kNanosPerSecond;
constexpr std::uint64_t kAttached = 100 * kSecond;
constexpr std::uint64_t kWall = 1'767'225'600 * kSecond; // 2026-01-01T00:00:00Z

/// A run with one process: module 1 is its program, module 2 its C library.
class BuildReport : public ::testing::Test {
protected:
    void start(std::uint64_t min_age_ns = 0) {
        model_.apply(RunStarted{"9.9", kWall, kAttached, min_age_ns, 1'000, 64'000, 500});
        start_process(kProcess, 42);
    }
    void start_process(ProcessId id, std::int32_t pid) {
        ProcessStarted started;
        started.process = id;
        started.pid = pid;
        started.start_wall_ns = kWall - 60 * kSecond;
        started.attach_mono_ns = kAttached;
        started.comm = "lightning";
        started.exe = "/opt/db/lightning";
        started.cmdline = {"lightning", "--port", "1"};
        started.sources = {"libc.so.6: malloc, free"};
        model_.apply(started);
        model_.apply(ModuleMapped{{10 * id.value + 1}, id, "/opt/db/lightning", "aa"});
        model_.apply(ModuleMapped{{10 * id.value + 2}, id, "/usr/lib/libc.so.6", "bb"});
    }
    /// A site with two frames in the program.
    void define_site(SiteId site, std::uint64_t caller, ProcessId id = kProcess, const char* function = "malloc") {
        const ModuleId program{10 * id.value + 1};
        model_.apply(StackDefined{{site.value}, id, false, {{program, caller}, {program, 0x1000}}});
        model_.apply(SiteDefined{site, id, {site.value}, "libc", function});
    }
    void sample(SiteId site, std::uint64_t allocs, std::uint64_t frees, std::uint64_t size = 100) {
        model_.apply(SiteSample{site, allocs, frees, allocs * size, frees * size, 0, 0, 0});
    }
    void tick(std::uint64_t seconds_after_attach) {
        model_.apply(TickEnded{kWall + seconds_after_attach * kSecond, kAttached + seconds_after_attach * kSecond});
    }
    [[nodiscard]] Report report(ProcessId id = kProcess) const { return build_report(model_, id); }

    Model model_;
};

TEST_F(BuildReport, UnknownProcessGivesAnEmptyReport) {
    EXPECT_EQ(report().process.pid, 0);
    EXPECT_TRUE(report().sites.empty());
    EXPECT_TRUE(build_reports(model_).empty());
}

// Totals are of all sites whatever is listed; the largest are, and those that grew most.
TEST_F(BuildReport, ListsNoMoreSitesThanAskedForAndCountsTheRest) {
    start();
    for (std::uint32_t i = 1; i <= 40; ++i) {
        define_site({i}, 0x2000 + 8 * i);
        sample({i}, 10 * i, 0);
    }
    tick(1);
    model_.apply(ReportDue{});
    sample({3}, 100, 0); // small, and has grown
    tick(2);
    const auto all = report();
    const auto some = build_report(model_, kProcess, 10);
    ASSERT_EQ(all.sites.size(), 40U);
    ASSERT_EQ(some.sites.size(), 10U);
    EXPECT_EQ(some.totals.live_bytes, all.totals.live_bytes);
    EXPECT_EQ(some.totals.grown_bytes, all.totals.grown_bytes);
    EXPECT_EQ(some.totals.other_sites, 30U);
    EXPECT_EQ(all.totals.other_sites, 0U);
    std::uint64_t bytes = some.totals.other_live_bytes;
    std::uint64_t objects = some.totals.other_live_objects;
    for (const auto& site : some.sites) {
        bytes += site.live_bytes;
        objects += site.live_objects;
    }
    EXPECT_EQ(bytes, all.totals.live_bytes);
    EXPECT_EQ(objects, all.totals.live_objects);
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(some.sites[i].id, all.sites[i].id);
    }
    EXPECT_TRUE(std::ranges::any_of(some.sites, [](const ReportSite& site) { return site.grown_bytes == 7'000; }));
}

TEST_F(BuildReport, TellsWhatMemtraceTakes) {
    start();
    tick(1);
    EXPECT_FALSE(report().coverage.collector);
    model_.apply(CollectorSample{0.02, 0.01, 3, 4, 5, 6, 7, 8, 9, 10, "why"});
    const auto own = report().coverage.collector.value();
    EXPECT_DOUBLE_EQ(own.cpu_ratio, 0.02);
    EXPECT_EQ(own.memory_budget, 4U);
    EXPECT_DOUBLE_EQ(own.ages_s, 7);
    EXPECT_EQ(own.max_sites, 9U);
    EXPECT_EQ(own.forgotten, 10U);
    EXPECT_EQ(own.reason, "why");
}

TEST_F(BuildReport, HeadSaysWhoAndWhen) {
    start();
    model_.apply(ProcessSample{kProcess, 8 << 20, 7});
    tick(90);
    const auto built = report();
    EXPECT_EQ(built.tool_version, "9.9");
    EXPECT_EQ(built.time, "2026-01-01T00:01:30.000Z");
    EXPECT_EQ(built.time_unix_ns, kWall + 90 * kSecond);
    EXPECT_DOUBLE_EQ(built.duration_s, 90);
    EXPECT_DOUBLE_EQ(built.interval_s, 90);
    EXPECT_EQ(built.process.pid, 42);
    EXPECT_EQ(built.process.start_time, "2025-12-31T23:59:00.000Z");
    EXPECT_EQ(built.process.comm, "lightning");
    EXPECT_EQ(built.process.exe, "/opt/db/lightning");
    EXPECT_EQ(built.process.cmdline, (std::vector<std::string>{"lightning", "--port", "1"}));
    EXPECT_EQ(built.process.rss_bytes, 8U << 20);
    EXPECT_EQ(built.process.state, "running");
}

TEST_F(BuildReport, TotalsAreTheSumOfTheSites) {
    start();
    define_site({1}, 0x2000);
    define_site({2}, 0x3000);
    sample({1}, 10, 4);
    sample({2}, 7, 7, 50);
    tick(1);
    const auto built = report();
    ASSERT_EQ(built.sites.size(), 2U);
    EXPECT_EQ(built.totals.live_bytes, 600U);
    EXPECT_EQ(built.totals.live_objects, 6U);
    EXPECT_EQ(built.totals.allocs, 17U);
    EXPECT_EQ(built.totals.frees, 11U);
    EXPECT_EQ(built.totals.allocated_bytes, 1'350U);
    EXPECT_EQ(built.totals.freed_bytes, 750U);
    EXPECT_DOUBLE_EQ(built.totals.live_bytes_ci95[0], 600);
    EXPECT_DOUBLE_EQ(built.totals.live_bytes_ci95[1], 600);
}

TEST_F(BuildReport, SitesAreSortedByLiveBytesAndThoseNeverCalledAreLeftOut) {
    start();
    for (std::uint32_t i = 1; i <= 4; ++i) {
        define_site({i}, 0x2000 + i);
    }
    sample({1}, 1, 0);
    sample({2}, 3, 0);
    sample({4}, 2, 2);
    tick(1);
    const auto built = report();
    ASSERT_EQ(built.sites.size(), 3U);
    EXPECT_EQ(built.sites[0].live_bytes, 300U);
    EXPECT_EQ(built.sites[1].live_bytes, 100U);
    EXPECT_EQ(built.sites[2].live_bytes, 0U);
}

TEST_F(BuildReport, GrowthIsSinceTheReportBefore) {
    start();
    define_site({1}, 0x2000);
    sample({1}, 10, 0);
    tick(5);
    EXPECT_EQ(report().sites[0].grown_bytes, 1'000);
    EXPECT_EQ(report().totals.grown_bytes, 1'000);
    model_.apply(ReportDue{});
    sample({1}, 12, 0);
    tick(8);
    EXPECT_DOUBLE_EQ(report().interval_s, 3);
    EXPECT_DOUBLE_EQ(report().duration_s, 8);
    EXPECT_EQ(report().sites[0].grown_bytes, 200);
    model_.apply(ReportDue{});
    sample({1}, 12, 9);
    tick(10);
    EXPECT_EQ(report().sites[0].grown_bytes, -900);
    EXPECT_EQ(report().totals.grown_bytes, -900);
    EXPECT_EQ(report().totals.live_bytes, 300U);
}

TEST_F(BuildReport, MinAgeCountsAgedBlocksOnly) {
    start(30 * kSecond);
    define_site({1}, 0x2000);
    model_.apply(SiteSample{{1}, 10, 2, 1'000, 200, 3, 333, kAttached + 10 * kSecond});
    tick(60);
    const auto built = report();
    EXPECT_DOUBLE_EQ(built.min_age_s, 30);
    EXPECT_EQ(built.sites[0].live_bytes, 333U);
    EXPECT_EQ(built.sites[0].live_objects, 3U);
    EXPECT_EQ(built.totals.live_bytes, 333U);
    EXPECT_EQ(built.sites[0].allocs, 10U) << "totals since attaching have no age";
    EXPECT_DOUBLE_EQ(built.sites[0].oldest_age_s, 50);
}

TEST_F(BuildReport, FramesCarryNamesOfTheirModuleAndOfWhatWasInlined) {
    start();
    define_site({1}, 0x2000);
    model_.apply(SymbolResolved{{{11}, 0x2000}, {{"inner", "a.cpp", 3, true}, {"outer", "a.cpp", 9, false}}});
    sample({1}, 1, 0);
    tick(1);
    const auto stack = report().sites[0].stack;
    ASSERT_EQ(stack.size(), 3U);
    EXPECT_EQ(stack[0], (ReportFrame{"inner", "a.cpp", 3, "/opt/db/lightning", 0x2000, true, "aa"}));
    EXPECT_EQ(stack[1], (ReportFrame{"outer", "a.cpp", 9, "/opt/db/lightning", 0x2000, false, "aa"}));
    EXPECT_EQ(stack[2], (ReportFrame{"", "", 0, "/opt/db/lightning", 0x1000, false, "aa"}));
}

TEST_F(BuildReport, SiteWithoutAKnownStackIsStillReported) {
    start();
    model_.apply(SiteDefined{{1}, kProcess, {99}, "", "(more call sites than the site table holds)"});
    sample({1}, 5, 0);
    tick(1);
    const auto built = report();
    EXPECT_TRUE(built.sites[0].stack.empty());
    EXPECT_EQ(built.sites[0].live_bytes, 500U);
}

// ---- identity -----------------------------------------------------------------------------------------------------------------

// Snapshots of months ago are compared by these: a change of the hash makes all of their sites new. FNV-1a, computed elsewhere,
// over "libc\0malloc\0", then for each frame "lightning\0" and the offset in 8 bytes.
TEST_F(BuildReport, IdsAreThoseOfEarlierVersions) {
    start();
    define_site({1}, 0x2000);
    sample({1}, 1, 0);
    tick(1);
    EXPECT_EQ(report().sites[0].id, "103bb5f951877d29");
}

TEST_F(BuildReport, IdsDoNotDependOnNumbersOrFoldersButOnCode) {
    start();
    start_process({2}, 43);
    define_site({1}, 0x2000);
    define_site({2}, 0x2000, {2});                // the same code in another process
    define_site({3}, 0x2001);                     // another caller
    define_site({4}, 0x2000, kProcess, "calloc"); // another function
    model_.apply(ModuleMapped{{5}, kProcess, "/somewhere/else/lightning", "aa"});
    model_.apply(StackDefined{{5}, kProcess, false, {{{5}, 0x2000}, {{5}, 0x1000}}});
    model_.apply(SiteDefined{{5}, kProcess, {5}, "libc", "malloc"}); // the same, installed elsewhere
    for (std::uint32_t i = 1; i <= 5; ++i) {
        sample({i}, i, 0);
    }
    tick(1);
    const auto sites = report().sites;
    ASSERT_EQ(sites.size(), 4U); // 5, 4, 3, 1 by size
    EXPECT_EQ(sites[0].id, sites[3].id);
    EXPECT_EQ(report({2}).sites[0].id, sites[3].id);
    EXPECT_NE(sites[1].id, sites[3].id);
    EXPECT_NE(sites[2].id, sites[3].id);
    EXPECT_EQ(sites[3].id.size(), 16U);
    EXPECT_EQ(sites[3].id.find_first_not_of("0123456789abcdef"), std::string::npos);
}

// ---- coverage and cost --------------------------------------------------------------------------------------------------------

TEST_F(BuildReport, CountersThatMeanLossStandOut) {
    start();
    define_site({1}, 0x2000);
    sample({1}, 10, 0);
    model_.apply(CounterSample{kProcess, "live_full", 3, true});
    model_.apply(CounterSample{kProcess, "live_full_bytes", 4'000, true});
    model_.apply(CounterSample{kProcess, "events_lost", 0, true});
    model_.apply(CounterSample{kProcess, "unmatched_frees", 8, false});
    tick(1);
    const auto built = report();
    EXPECT_EQ(built.coverage.lost, (std::map<std::string, std::uint64_t>{{"live_full", 3}, {"live_full_bytes", 4'000}}));
    EXPECT_EQ(built.coverage.counters.size(), 4U);
    EXPECT_EQ(built.coverage.unmatched_frees, 8U);
    EXPECT_EQ(built.coverage.max_live, 1'000U);
    EXPECT_EQ(built.coverage.kernel_bytes, 64'000U);
    EXPECT_EQ(built.coverage.sources, std::vector<std::string>{"libc.so.6: malloc, free"});
    EXPECT_DOUBLE_EQ(built.totals.live_bytes_ci95[0], 1'000);
    EXPECT_DOUBLE_EQ(built.totals.live_bytes_ci95[1], 5'000) << "what was lost may all be live";
    EXPECT_TRUE(built.verdict.evidence.contains("loss"));
}

TEST_F(BuildReport, CostIsOfTheLastInterval) {
    start();
    model_.apply(ProcessSample{kProcess, 1, 0, 0});
    tick(0);
    model_.apply(CounterSample{kProcess, "hits_enter", 1'000, false});
    model_.apply(CounterSample{kProcess, "hits_free", 500, false});
    model_.apply(CounterSample{kProcess, "nested_calls", 9'999, false});
    model_.apply(ProcessSample{kProcess, 1, kSecond, 1'500 * 900.0});
    tick(5);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.hits_per_s, 300);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.trap_ns, 900) << "the mean of what was measured";
    EXPECT_DOUBLE_EQ(report().coverage.overhead.ratio, 1'500 * 900.0 / 1e9);
    model_.apply(ReportDue{});
    model_.apply(CounterSample{kProcess, "hits_enter", 1'100, false});
    model_.apply(ProcessSample{kProcess, 1, 3 * kSecond, 1'500 * 900.0 + 100 * 700.0});
    tick(15);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.hits_per_s, 10);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.trap_ns, 700);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.ratio, 100 * 700.0 / 2e9);
}

TEST_F(BuildReport, CostOfAHitBeforeAnyIsThatOfAnEmptyOne) {
    start();
    model_.apply(ProcessSample{kProcess, 1, 0, 0});
    model_.apply(ProcessSample{kProcess, 1, kSecond, 0});
    tick(1);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.trap_ns, 500);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.ratio, 0);
}

TEST_F(BuildReport, CostIsNeverMoreThanAll) {
    start();
    model_.apply(ProcessSample{kProcess, 1, 0, 0});
    model_.apply(ProcessSample{kProcess, 1, 1'000, 1e9});
    model_.apply(CounterSample{kProcess, "hits_enter", 1'000'000, false});
    tick(1);
    EXPECT_DOUBLE_EQ(report().coverage.overhead.ratio, 1);
}

TEST_F(BuildReport, NothingHappenedDividesByNothing) {
    start();
    tick(0);
    const auto built = report();
    EXPECT_EQ(built.duration_s, 0);
    EXPECT_EQ(built.coverage.overhead.hits_per_s, 0);
    EXPECT_EQ(built.coverage.overhead.ratio, 0);
    EXPECT_EQ(built.verdict.class_name, "unknown");
    EXPECT_EQ(built.verdict.text, "followed too briefly to say");
}

// ---- the end of a process -----------------------------------------------------------------------------------------------------

TEST_F(BuildReport, ExecMakesTwoReportsOfOnePid) {
    start();
    define_site({1}, 0x2000);
    sample({1}, 10, 0);
    tick(5);
    model_.apply(ProcessEnded{kProcess, EndReason::exec});
    start_process({2}, 42);
    define_site({2}, 0x2000, {2});
    sample({2}, 1, 0);
    tick(20);
    const auto reports = build_reports(model_);
    ASSERT_EQ(reports.size(), 2U);
    EXPECT_EQ(reports[0].process.state, "exec");
    EXPECT_DOUBLE_EQ(reports[0].duration_s, 5) << "its time stood still when it ended";
    EXPECT_EQ(reports[0].totals.live_bytes, 1'000U);
    EXPECT_EQ(reports[1].process.state, "running");
    EXPECT_EQ(reports[1].process.pid, 42);
    EXPECT_EQ(reports[1].totals.live_bytes, 100U) << "the old image's blocks went with it";
}

TEST_F(BuildReport, StatesHaveNames) {
    start();
    start_process({2}, 43);
    model_.apply(ProcessEnded{kProcess, EndReason::exited});
    model_.apply(ProcessEnded{{2}, EndReason::detached});
    EXPECT_EQ(report().process.state, "exited");
    EXPECT_EQ(report({2}).process.state, "detached");
}

// ---- the verdict --------------------------------------------------------------------------------------------------------------

TEST_F(BuildReport, LeakNamesItsWorstSite) {
    start();
    define_site({1}, 0x2000);
    define_site({2}, 0x3000);
    define_site({3}, 0x4000);
    model_.apply(SymbolResolved{{{11}, 0x3000}, {{"forget_cursor", "cursor.cpp", 7, false}}});
    for (std::uint64_t second = 1; second <= 63; ++second) {
        sample({1}, second * 10, 0);
        sample({2}, second * 100, 0);
        sample({3}, 5 + second, second);
        tick(second);
    }
    const auto built = report();
    EXPECT_EQ(built.verdict.class_name, "leak");
    EXPECT_EQ(built.verdict.text, "2 call sites leak 10.7 KiB/s in all, most of it from forget_cursor");
    EXPECT_EQ(built.sites[0].verdict, "probable") << "definite takes five minutes";
    EXPECT_EQ(built.sites[0].shape, "linear");
    EXPECT_LE(built.sites[0].growth_bytes_per_s_ci95[0], 10'000);
    EXPECT_GE(built.sites[0].growth_bytes_per_s_ci95[1], 10'000);
    EXPECT_LT(built.sites[0].p_value, 0.001);
    EXPECT_EQ(built.verdict.evidence.at("site"), built.sites[0].id);
    EXPECT_EQ(built.verdict.evidence.at("reason"), built.sites[0].evidence);
    EXPECT_EQ(built.sites[2].verdict, "stable");
}

TEST_F(BuildReport, NothingGrowsIsHealthy) {
    start();
    define_site({1}, 0x2000);
    for (std::uint64_t second = 1; second <= 63; ++second) {
        sample({1}, 10 + second, second);
        tick(second);
    }
    EXPECT_EQ(report().verdict.class_name, "healthy");
    EXPECT_EQ(report().verdict.text, "no call site keeps growing");
    EXPECT_TRUE(report().verdict.evidence.empty());
}

// A suspect is listed among what grew: to call the process healthy beside it would contradict the list.
TEST_F(BuildReport, SuspectIsNeitherALeakNorHealthy) {
    start();
    define_site({1}, 0x2000);
    for (std::uint64_t second = 1; second <= 63; ++second) {
        sample({1}, second * 10, second * 7);
        tick(second);
    }
    ASSERT_EQ(report().sites[0].verdict, "suspect");
    EXPECT_EQ(report().verdict.class_name, "unknown");
    EXPECT_EQ(report().verdict.text, "1 call site grows, too briefly or too little to call it a leak");
}

// ---- the process as a whole ---------------------------------------------------------------------------------------------------

TEST_F(BuildReport, FiveMinutesOfBlocksThatStayAreADefiniteLeakWithAForecast) {
    start();
    define_site({1}, 0x2000);
    std::vector<std::uint64_t> cohorts{kAttached};
    for (std::uint64_t second = 1; second <= 400; ++second) {
        SiteSample leak{{1}, second * 10, 0, second * 1'000, 0, 0, 0, 0};
        const bool reading = second % 10 == 0;
        if (reading) {
            leak.births.assign(cohorts.size(), 0);
            for (std::uint64_t block = 1; block <= second; ++block) { // ten a second
                const auto next = std::upper_bound(cohorts.begin() + 1, cohorts.end(), kAttached + block * kSecond - 1);
                leak.births[static_cast<std::size_t>(next - cohorts.begin() - 1)] += 10;
            }
        }
        model_.apply(leak);
        model_.apply(ProcessSample{kProcess, (64 << 20) + second * 1'000, second * kSecond / 4});
        model_.apply(MemorySample{kProcess, 48 << 20, 16 << 20, 0, 0, 1 << 20, true, 1'000'000, 600'000});
        if (reading) {
            cut_cohorts(cohorts, kAttached + second * kSecond);
            model_.apply(CohortsCut{kProcess, cohorts});
        }
        tick(second);
    }
    const auto built = report();
    EXPECT_EQ(built.sites.at(0).verdict, "definite");
    EXPECT_NE(built.sites.at(0).evidence.find("100 % of its blocks were never freed"), std::string::npos)
        << built.sites.at(0).evidence;
    EXPECT_EQ(built.forecast.limit, "cgroup");
    EXPECT_EQ(built.forecast.limit_bytes, 1'000'000U);
    EXPECT_NEAR(built.forecast.growth_bytes_per_s, 1'000, 1);
    EXPECT_NEAR(built.forecast.seconds, 400, 1);
    EXPECT_LE(built.forecast.seconds_ci95[0], built.forecast.seconds);
    EXPECT_GE(built.forecast.seconds_ci95[1], built.forecast.seconds);
    EXPECT_EQ(built.process.stack_bytes, 1U << 20);
}

TEST_F(BuildReport, GrowthOutsideTheHeapIsNamed) {
    start();
    define_site({1}, 0x2000);
    for (std::uint64_t second = 1; second <= 60; ++second) {
        sample({1}, 10 + second, second);
        model_.apply(ProcessSample{kProcess, (64 << 20) + second * (1 << 20), 0});
        model_.apply(MemorySample{kProcess, 48 << 20, (16 << 20) + second * (1 << 20), 0, 0, 0, false, 0, 0});
        tick(second);
    }
    EXPECT_EQ(report().verdict.class_name, "mapped files");
    EXPECT_NE(report().verdict.text.find("resident memory grew by"), std::string::npos) << report().verdict.text;
    EXPECT_TRUE(report().forecast.limit.empty());
}

TEST_F(BuildReport, SmallLeakDoesNotHideWhatTheProcessGrowsBy) {
    for (const std::uint64_t file_per_s : {0U, 1U << 20}) {
        model_ = Model();
        start();
        define_site({1}, 0x2000);
        for (std::uint64_t second = 1; second <= 60; ++second) {
            sample({1}, second * 1'000, 0); // 100 KB/s
            const auto leaked = second * 100'000;
            model_.apply(ProcessSample{kProcess, (64 << 20) + leaked + second * file_per_s, 0});
            model_.apply(MemorySample{kProcess, (48 << 20) + leaked, (16 << 20) + second * file_per_s, 0, 0, 0, false, 0, 0});
            tick(second);
        }
        const auto verdict = report().verdict;
        EXPECT_EQ(verdict.class_name, "leak");
        EXPECT_EQ(verdict.text.find("1 call site leaks"), 0U) << verdict.text;
        EXPECT_EQ(verdict.text.find("pages of mapped files") != std::string::npos, file_per_s != 0) << verdict.text;
        EXPECT_EQ(verdict.evidence.count("growth"), file_per_s != 0 ? 1U : 0U);
    }
}

// The ring that covers four hours has points of four minutes: a trend of eight of them would take half an hour.
TEST_F(BuildReport, WhatBeginsAfterHoursIsFoundWithinMinutes) {
    constexpr std::uint64_t kOnset = 14'400;
    start();
    define_site({1}, 0x2000);
    sample({1}, 10, 0);
    for (std::uint64_t second = 1; second <= kOnset + 150; ++second) {
        const auto late = second > kOnset ? second - kOnset : 0;
        sample({1}, 10 + second + late * 10, second);
        model_.apply(ProcessSample{kProcess, (64 << 20) + late * (1 << 20), second * kSecond / 4});
        model_.apply(MemorySample{kProcess, (48 << 20) + late * (1 << 20), 16 << 20, 0, 0, 0, true, 1 << 30, 512 << 20});
        tick(second);
        if (second == kOnset) {
            ASSERT_EQ(report().verdict.class_name, "healthy");
        }
    }
    const auto built = report();
    EXPECT_GE(built.sites.at(0).growth_bytes_per_s, 900);
    EXPECT_EQ(built.sites.at(0).shape, "linear");
    EXPECT_NEAR(built.forecast.growth_bytes_per_s, 1 << 20, 1 << 16) << "the process's own growth is seen as soon";
    EXPECT_NEAR(built.forecast.seconds, 512, 32);
}

// A cache that was full when it was attached to: each new block takes the place of one that nobody knows.
TEST_F(BuildReport, WhatReplacesBlocksFromBeforeIsSuspectUnlessTheProcessGrowsToo) {
    for (const std::uint64_t rss_per_s : {0, 1'000}) {
        model_ = Model();
        start();
        define_site({1}, 0x2000);
        for (std::uint64_t second = 1; second <= 60; ++second) {
            sample({1}, second * 10, 0);
            model_.apply(CounterSample{kProcess, "unmatched_frees", second * 10, false});
            model_.apply(ProcessSample{kProcess, (64 << 20) + second * rss_per_s, 0});
            tick(second);
        }
        EXPECT_EQ(report().sites.at(0).verdict, rss_per_s == 0 ? "suspect" : "probable");
    }
}

TEST_F(BuildReport, SameModelGivesTheSameReport) {
    start();
    define_site({1}, 0x2000);
    sample({1}, 10, 0);
    tick(5);
    const auto first = report();
    const auto second = report();
    EXPECT_EQ(first.sites[0].id, second.sites[0].id);
    EXPECT_EQ(first.time, second.time);
    EXPECT_EQ(first.totals.grown_bytes, second.totals.grown_bytes) << "building changes nothing";
}

TEST_F(BuildReport, AnExactRunHasNoWidthAndSaysSo) {
    start();
    define_site({1}, 0x1100);
    sample({1}, 10, 4);
    tick(1);
    const auto exact = report();
    EXPECT_EQ(exact.coverage.mode, "exact");
    EXPECT_EQ(exact.coverage.mode_reason, "");
    EXPECT_FALSE(exact.coverage.overhead.budget);
    EXPECT_EQ(exact.sites.at(0).live_bytes_ci95[0], 600);
    EXPECT_EQ(exact.sites.at(0).live_bytes_ci95[1], 600);
    EXPECT_EQ(exact.totals.live_objects_ci95[0], 6);
    EXPECT_EQ(exact.totals.live_objects_ci95[1], 6);
}

TEST_F(BuildReport, AnEstimateHasAnIntervalAroundIt) {
    start();
    define_site({1}, 0x1100);
    define_site({2}, 0x1200);
    model_.apply(ModeChanged{kProcess, TraceMode::sampled, 65'536, 0, 0, 0.05, "exact costs too much"});
    SiteSample estimated{{1}, 1'000, 0, 6'553'600, 0, 0, 0, 0};
    estimated.live_bytes_variance = 100.0 * 65'536 * 65'536; // of a hundred records
    estimated.live_objects_variance = 100.0 * 10 * 10;
    model_.apply(estimated);
    estimated.site = {2};
    model_.apply(estimated);
    tick(1);
    const auto sampled = report();
    EXPECT_EQ(sampled.coverage.mode, "sampled");
    EXPECT_EQ(sampled.coverage.sample_interval_bytes, 65'536U);
    EXPECT_EQ(sampled.coverage.mode_reason, "exact costs too much");
    EXPECT_EQ(sampled.coverage.overhead.budget, 0.05);
    const auto& site = sampled.sites.at(0);
    const double half = 1.96 * 10 * 65'536;
    EXPECT_NEAR(site.live_bytes_ci95[0], 6'553'600 - half, half / 4);
    EXPECT_NEAR(site.live_bytes_ci95[1], 6'553'600 + half, half / 4);
    EXPECT_NEAR(site.live_objects_ci95[1] - site.live_objects_ci95[0], 2 * 1.96 * 100, 100);
    // Errors of two sites are independent: they add up as squares.
    const double of_both = (sampled.totals.live_bytes_ci95[1] - sampled.totals.live_bytes_ci95[0]) / 2;
    EXPECT_NEAR(of_both, half * 1.414, half / 4);
}

TEST_F(BuildReport, AnIntervalStaysWideAfterSamplingBecameExact) {
    start();
    define_site({1}, 0x1100);
    model_.apply(ModeChanged{kProcess, TraceMode::sampled, 65'536, 0, 0, 0.05, "costs"});
    SiteSample estimated{{1}, 1'000, 0, 6'553'600, 0, 0, 0, 0};
    estimated.live_bytes_variance = 100.0 * 65'536 * 65'536;
    model_.apply(estimated);
    model_.apply(ModeChanged{kProcess, TraceMode::exact, 0, 0, 0, 0.05, "leaves room"});
    tick(1);
    EXPECT_EQ(report().coverage.mode, "exact");
    EXPECT_LT(report().sites.at(0).live_bytes_ci95[0], 6'000'000) << "what was sampled before is an estimate for good";
}

TEST_F(BuildReport, WhatOnlyWindowsSawIsNoMoreThanSuspect) {
    start();
    define_site({1}, 0x1100);
    for (std::uint64_t second = 1; second <= 64; ++second) {
        sample({1}, second * 1'000, 0);
        tick(second);
    }
    ASSERT_EQ(report().sites.at(0).verdict, "probable");
    ASSERT_EQ(report().verdict.class_name, "leak");
    const double rate = report().sites.at(0).growth_bytes_per_s;

    model_.apply(ModeChanged{kProcess, TraceMode::windowed, 0, 0.5, 10, 0.05, "costs"});
    SiteSample watched{{1}, 64'000, 0, 6'400'000, 0, 0, 0, 0};
    watched.unverified_objects = 64'000;
    watched.unverified_bytes = 6'400'000;
    model_.apply(watched);
    const auto windowed = report();
    EXPECT_EQ(windowed.sites.at(0).verdict, "suspect");
    EXPECT_NE(windowed.sites.at(0).evidence.find("windows"), std::string::npos);
    EXPECT_NEAR(windowed.sites.at(0).growth_bytes_per_s, rate * 20, rate) << "a window stands for the time between windows too";
    EXPECT_NE(windowed.verdict.class_name, "leak");
    EXPECT_EQ(windowed.totals.unverified_bytes, 6'400'000U);
    EXPECT_EQ(windowed.sites.at(0).unverified_objects, 64'000U);
}

TEST_F(BuildReport, WithoutGrowthInWindowsNobodyIsCalledHealthy) {
    start();
    define_site({1}, 0x1100);
    for (std::uint64_t second = 1; second <= 64; ++second) {
        sample({1}, 1'000, 900);
        tick(second);
    }
    ASSERT_EQ(report().verdict.class_name, "healthy");
    model_.apply(ModeChanged{kProcess, TraceMode::windowed, 0, 0.5, 10, 0.05, "costs"});
    EXPECT_EQ(report().verdict.class_name, "unknown");
    EXPECT_NE(report().verdict.text.find("small share"), std::string::npos);
}

} // namespace
} // namespace memtrace
