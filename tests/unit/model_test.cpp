#include "model/model.hpp"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.hpp"

namespace memtrace {
namespace {

constexpr ProcessId kProcess{1};
constexpr SiteId kSite{7};

ProcessStarted started(ProcessId id, std::uint64_t attach_ns = 1000) {
    ProcessStarted event;
    event.process = id;
    event.pid = 100 + static_cast<std::int32_t>(id.value);
    event.attach_mono_ns = attach_ns;
    event.comm = "prog";
    return event;
}

/// A sample of a site with `live` bytes, one per block.
SiteSample live(SiteId site, std::uint64_t bytes) {
    SiteSample sample;
    sample.site = site;
    sample.allocs = sample.allocated_bytes = bytes;
    return sample;
}

Model with_site() {
    Model model;
    model.apply(started(kProcess));
    model.apply(StackDefined{{3}, kProcess, false, {{{2}, 0x10}}});
    model.apply(SiteDefined{kSite, kProcess, {3}, "libc", "malloc"});
    return model;
}

TEST(Model, EmptyHasNothingAndFindsNothing) {
    const Model model;
    EXPECT_TRUE(model.processes().empty());
    EXPECT_EQ(model.process(kProcess), nullptr);
    EXPECT_EQ(model.site(kSite), nullptr);
    EXPECT_EQ(model.stack({1}), nullptr);
    EXPECT_EQ(model.module({1}), nullptr);
    EXPECT_EQ(model.symbol({{1}, 2}), nullptr);
    EXPECT_EQ(model.ignored_events(), 0U);
}

TEST(Model, RunIsWhatWasTold) {
    Model model;
    model.apply(RunStarted{"1.2", 5, 6, 7, 8, 9, 10.5});
    EXPECT_EQ(model.run().version, "1.2");
    EXPECT_EQ(model.run().min_age_ns, 7U);
    EXPECT_EQ(model.run().max_live, 8U);
    EXPECT_DOUBLE_EQ(model.run().trap_ns, 10.5);
}

TEST(Model, ProcessesKeepTheirOrderOfAppearance) {
    Model model;
    for (const auto id : {5U, 2U, 9U}) {
        model.apply(started({id}));
    }
    EXPECT_EQ(model.processes(), (std::vector<ProcessId>{{5}, {2}, {9}}));
    EXPECT_EQ(model.process({2})->about.pid, 102);
    EXPECT_EQ(model.process({2})->report_mono_ns, 1000U);
    EXPECT_FALSE(model.process({2})->ended);
}

TEST(Model, ProcessToldAgainChangesItsSourcesOnly) {
    auto model = with_site();
    model.apply(live(kSite, 10));
    model.apply(TickEnded{0, 2000});
    auto again = started(kProcess, 9'999);
    again.comm = "other";
    again.sources = {"libc.so.6: malloc", "plugin.so: malloc"};
    model.apply(again);
    EXPECT_EQ(model.processes().size(), 1U);
    const auto* process = model.process(kProcess);
    EXPECT_EQ(process->about.sources.size(), 2U);
    EXPECT_EQ(process->about.comm, "prog");
    EXPECT_EQ(process->about.attach_mono_ns, 1000U);
    EXPECT_EQ(process->sites.size(), 1U);
    EXPECT_EQ(process->history.ticks, 1U);
}

TEST(Model, ModulesStacksSitesAndSymbolsAreFoundById) {
    auto model = with_site();
    model.apply(ModuleMapped{{2}, kProcess, "/bin/prog", "abcd"});
    model.apply(SymbolResolved{{{2}, 0x10}, {{"inner", "a.c", 3, true}, {"outer", "a.c", 9, false}}});
    EXPECT_EQ(model.module({2})->about.path, "/bin/prog");
    EXPECT_EQ(model.stack({3})->frames.size(), 1U);
    EXPECT_EQ(model.site(kSite)->about.function, "malloc");
    ASSERT_EQ(model.process(kProcess)->sites.size(), 1U);
    EXPECT_EQ(&model.process(kProcess)->sites.front(), model.site(kSite));
    const auto* lines = model.symbol({{2}, 0x10});
    ASSERT_NE(lines, nullptr);
    EXPECT_EQ(lines->size(), 2U);
    EXPECT_EQ(model.symbol({{2}, 0x11}), nullptr);
    EXPECT_EQ(model.symbol({{3}, 0x10}), nullptr);
}

TEST(Model, NewestSampleOfASiteCounts) {
    auto model = with_site();
    model.apply(SiteSample{kSite, 10, 4, 1000, 300, 5, 600, 77});
    EXPECT_EQ(model.site(kSite)->live_bytes(), 700U);
    EXPECT_EQ(model.site(kSite)->live_objects(), 6U);
    model.apply(SiteSample{kSite, 11, 11, 1100, 1100, 0, 0, 0});
    EXPECT_EQ(model.site(kSite)->live_bytes(), 0U);
    EXPECT_EQ(model.site(kSite)->live_objects(), 0U);
}

// A copy of a site's totals is not taken at one instant: a free may be in it whose allocation is not.
TEST(Model, MoreFreedThanAllocatedIsNothingLiveNotAHugeFigure) {
    auto model = with_site();
    model.apply(SiteSample{kSite, 10, 11, 1000, 1100, 0, 0, 0});
    EXPECT_EQ(model.site(kSite)->live_bytes(), 0U);
    EXPECT_EQ(model.site(kSite)->live_objects(), 0U);
    model.apply(TickEnded{0, 2000});
    EXPECT_FALSE(model.site(kSite)->live_bytes_history.any(1, 0));
}

TEST(Model, CountersKeepTheirNewestValueAndThatOfTheReportBefore) {
    auto model = with_site();
    model.apply(CounterSample{kProcess, "hits_enter", 5, false});
    model.apply(CounterSample{kProcess, "live_full", 1, true});
    model.apply(ReportDue{});
    model.apply(CounterSample{kProcess, "hits_enter", 9, false});
    const auto& counters = model.process(kProcess)->counters;
    EXPECT_EQ(counters.at("hits_enter").value, 9U);
    EXPECT_EQ(counters.at("hits_enter").at_report, 5U);
    EXPECT_FALSE(counters.at("hits_enter").loss);
    EXPECT_TRUE(counters.at("live_full").loss);
}

TEST(Model, FirstUsageIsWhatRatesStartFrom) {
    Model model;
    model.apply(started(kProcess));
    model.apply(ProcessSample{kProcess, 4096, 500});
    EXPECT_EQ(model.process(kProcess)->usage_at_report.cpu_ns, 500U);
    model.apply(ProcessSample{kProcess, 8192, 900});
    EXPECT_EQ(model.process(kProcess)->usage_at_report.cpu_ns, 500U);
    EXPECT_EQ(model.process(kProcess)->usage.rss_bytes, 8192U);
    model.apply(ReportDue{});
    EXPECT_EQ(model.process(kProcess)->usage_at_report.cpu_ns, 900U);
}

// A process followed from its first instruction has used no CPU time yet: that too is a first sample.
TEST(Model, FirstUsageMayBeZero) {
    Model model;
    model.apply(started(kProcess));
    model.apply(ProcessSample{kProcess, 4096, 0});
    model.apply(ProcessSample{kProcess, 4096, 900});
    EXPECT_EQ(model.process(kProcess)->usage_at_report.cpu_ns, 0U);
    EXPECT_EQ(model.process(kProcess)->usage.cpu_ns, 900U);
}

TEST(Model, ReportRemembersWhatWasLive) {
    auto model = with_site();
    model.apply(SiteDefined{{8}, kProcess, {3}, "libc", "calloc"});
    model.apply(live(kSite, 100));
    model.apply(live({8}, 30));
    model.apply(TickEnded{0, 5000});
    model.apply(ReportDue{});
    EXPECT_EQ(model.process(kProcess)->reports, 1U);
    EXPECT_EQ(model.site(kSite)->live_bytes_at_report(1), 100U);
    EXPECT_EQ(model.process(kProcess)->live_bytes, 130U);
    EXPECT_EQ(model.process(kProcess)->report_mono_ns, 5000U);
    model.apply(live(kSite, 60));
    EXPECT_EQ(model.site(kSite)->live_bytes_at_report(1), 100U);
    EXPECT_EQ(model.site({8})->live_bytes_at_report(1), 30U);
    EXPECT_EQ(model.process(kProcess)->live_bytes, 90U);
    model.apply(ReportDue{});
    EXPECT_EQ(model.site(kSite)->live_bytes_at_report(2), 60U);
}

TEST(Model, SitesHeldNothingAtReportsBeforeTheyWereKnown) {
    auto model = with_site();
    model.apply(ReportDue{});
    model.apply(SiteDefined{{8}, kProcess, {3}, "libc", "calloc"});
    model.apply(live({8}, 30));
    EXPECT_EQ(model.site({8})->live_bytes_at_report(1), 0U);
}

TEST(Model, WhatIsForgottenLeavesNothingBehind) {
    auto model = with_site();
    model.apply(ModuleMapped{{2}, kProcess, "/lib/a.so", ""});
    model.apply(SymbolResolved{{{2}, 0x10}, {{"f", "", 0, false}}});
    model.apply(PageSiteDefined{{4}, kProcess, {3}, PageKind::fault});
    model.apply(started({2}));
    model.apply(ModuleMapped{{3}, {2}, "/lib/a.so", ""});
    model.apply(SymbolResolved{{{3}, 0x10}, {{"g", "", 0, false}}});
    model.apply(ProcessForgotten{kProcess});
    EXPECT_EQ(model.ignored_events(), 1U) << "it goes on";
    ASSERT_NE(model.process(kProcess), nullptr);

    model.apply(ProcessEnded{kProcess, EndReason::exited});
    model.apply(ProcessForgotten{kProcess});
    EXPECT_EQ(model.ignored_events(), 1U);
    EXPECT_EQ(model.process(kProcess), nullptr);
    EXPECT_EQ(model.site(kSite), nullptr);
    EXPECT_EQ(model.page_site({4}), nullptr);
    EXPECT_EQ(model.stack({3}), nullptr);
    EXPECT_EQ(model.module({2}), nullptr);
    EXPECT_EQ(model.symbol({{2}, 0x10}), nullptr);
    EXPECT_EQ(model.processes(), (std::vector<ProcessId>{{2}}));
    EXPECT_NE(model.symbol({{3}, 0x10}), nullptr) << "another process's";
    model.apply(live(kSite, 10)); // what comes late is ignored
    model.apply(TickEnded{0, 9'000});
    EXPECT_EQ(model.ignored_events(), 2U);
}

TEST(Model, EndedProcessKeepsItsFiguresAndItsTime) {
    auto model = with_site();
    model.apply(started({2}));
    model.apply(live(kSite, 100));
    model.apply(TickEnded{0, 2000});
    model.apply(ProcessEnded{kProcess, EndReason::exec});
    model.apply(TickEnded{0, 3000});
    const auto* ended = model.process(kProcess);
    EXPECT_EQ(ended->ended, EndReason::exec);
    EXPECT_EQ(ended->last_mono_ns, 2000U);
    EXPECT_EQ(ended->history.mono_ns.read(0, ended->history.ticks), (std::vector<double>{2000}));
    EXPECT_EQ(model.site(kSite)->live_bytes_history.read(0, ended->history.ticks, 100).size(), 1U);
    EXPECT_EQ(model.site(kSite)->live_bytes(), 100U);
    EXPECT_EQ(model.process({2})->last_mono_ns, 3000U);
    EXPECT_EQ(model.now().mono_ns, 3000U);
}

TEST(Model, EventsThatNameSomethingUnknownAreIgnoredAndCounted) {
    Model model;
    const std::vector<Event> orphans{
        ProcessEnded{kProcess, EndReason::exited},
        ModuleMapped{{1}, kProcess, "/bin/prog", ""},
        StackDefined{{1}, kProcess, false, {}},
        SiteDefined{kSite, kProcess, {1}, "libc", "malloc"},
        live(kSite, 10),
        ProcessSample{kProcess, 1, 2},
        CounterSample{kProcess, "live_full", 1, true},
    };
    for (const auto& event : orphans) {
        const auto before = model.ignored_events();
        model.apply(event);
        EXPECT_EQ(model.ignored_events(), before + 1) << "alternative " << event.index();
    }
    model.apply(TickEnded{1, 2});
    model.apply(ReportDue{});
    EXPECT_TRUE(model.processes().empty());
    EXPECT_EQ(model.module({1}), nullptr);
    EXPECT_EQ(model.stack({1}), nullptr);
    EXPECT_EQ(model.site(kSite), nullptr);
    EXPECT_EQ(model.ignored_events(), orphans.size());
}

TEST(Model, SiteDefinedTwiceStaysWhatItWas) {
    auto model = with_site();
    model.apply(live(kSite, 10));
    model.apply(SiteDefined{kSite, kProcess, {3}, "jemalloc", "free"});
    EXPECT_EQ(model.site(kSite)->about.allocator, "libc");
    EXPECT_EQ(model.process(kProcess)->sites.size(), 1U);
    EXPECT_EQ(model.ignored_events(), 1U);
}

// Every kind of event with odd values, in an order in which most ids are unknown, twice over.
TEST(Model, BearsAnyStream) {
    Model model;
    for (int round = 0; round < 2; ++round) {
        for (const auto& event : testing::sample_events()) {
            model.apply(event);
        }
    }
    EXPECT_FALSE(model.processes().empty());
    EXPECT_GT(model.ignored_events(), 0U);
}

// ---- what the program tells of itself --------------------------------------------------------------------------------------------

TEST(Model, ToldOnlyOfProcessesThatTheContractTierFollows) {
    Model model;
    ProcessStarted process;
    process.process = {1};
    model.apply(process);
    const ObjectTold told{{{1}, 5, 7, {}}, ObjectAction::created, 0x1000, 48, "Cursor", 0, 0};
    model.apply(told);
    EXPECT_EQ(model.ignored_events(), 1U);
    EXPECT_EQ(model.process({1})->references.live_objects(), 0U);
    model.apply(ContractStarted{{1}, {"memtrace: object_create"}, 1});
    model.apply(told);
    EXPECT_EQ(model.ignored_events(), 1U);
    EXPECT_EQ(model.process({1})->references.live_objects(), 1U);
    model.apply(ContractStarted{{2}, {}, 1});
    EXPECT_EQ(model.ignored_events(), 2U);
}

TEST(Model, LossesOfWhatIsToldMakeItUncertainAndOtherLossesDoNot) {
    for (const auto& [counter, certain] : {std::pair{"contract_events_lost", false},
                                           {"events_lost", false},
                                           {"live_full", true},
                                           {"contract_stacks_full", true}}) {
        Model model;
        ProcessStarted process;
        process.process = {1};
        model.apply(process);
        model.apply(ContractStarted{{1}, {}, 1});
        model.apply(ObjectTold{{{1}, 1'000, 7, {}}, ObjectAction::created, 0x1000, 48, "Cursor", 0, 0});
        model.apply(ReferenceTold{{{1}, 2'000, 7, {}}, ReferenceAction::acquired, 0x1000, 0x7000, 0, true, 1});
        model.apply(ObjectTold{{{1}, 3'000, 7, {}}, ObjectAction::destroyed, 0x1000, 0, "", 0, 0});
        model.apply(CounterSample{{1}, counter, 3, true});
        model.apply(TickEnded{1, 5'000'000'000});
        const auto errors = model.process({1})->references.errors();
        ASSERT_EQ(errors.size(), 1U);
        EXPECT_EQ(errors.front().certain, certain) << counter;
    }
}

} // namespace
} // namespace memtrace
