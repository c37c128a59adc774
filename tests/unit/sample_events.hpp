// A stream with every kind of event and odd values in its fields, for the tests and the seeds of recordings.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "model/events.hpp"

namespace memtrace::testing {

/// Ends with the report after which nothing follows: the writer of a recording adds the end record behind it.
inline std::vector<Event> sample_events() {
    constexpr auto kMax32 = std::numeric_limits<std::uint32_t>::max();
    constexpr auto kMax64 = std::numeric_limits<std::uint64_t>::max();
    const std::string zero_inside("a\0b", 3);
    std::vector<std::string> arguments;
    for (int i = 0; i < 40; ++i) {
        arguments.push_back("--arg" + std::to_string(i));
    }
    return {
        RunStarted{"0.1.0", 1'700'000'000'000'000'000, 1, 0, kMax64, 4096, std::numeric_limits<double>::quiet_NaN()},
        RunStarted{"", 0, 0, kMax64, 0, 0, -std::numeric_limits<double>::infinity()},
        ProcessStarted{
            {1}, 4711, 5, 6, true, "postgres", "/usr/lib/postgresql/15/bin/postgres", arguments, {"libc.so.6: malloc"}},
        ProcessStarted{{kMax32}, std::numeric_limits<std::int32_t>::min(), kMax64, kMax64, false, "", "", {}, {}},
        ProcessStarted{{2}, -1, 0, 0, true, "\xff\xfe", "/tmp/\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8c", {"", zero_inside, ""}, {""}},
        ProcessEnded{{1}, EndReason::exited},
        ProcessEnded{{2}, EndReason::exec},
        ProcessEnded{{3}, EndReason::detached},
        ModuleMapped{{1}, {1}, "/lib/x86_64-linux-gnu/libc.so.6", "00112233445566778899aabbccddeeff00112233"},
        ModuleMapped{{kMax32}, {0}, "", ""},
        StackDefined{{1}, {1}, true, {{{1}, 0x1234}, {{0}, kMax64}, {{kMax32}, 0}}},
        StackDefined{{2}, {1}, false, {}},
        SymbolResolved{{{1}, 0x1234},
                       {{"std::vector<int>::push_back(int&&)", "vector.h", 12, true}, {"main", "", kMax32, false}}},
        SymbolResolved{{{2}, 5}, {{"f", "a.c", 12, true, 34}, {"g", "a.c", 7, false, kMax32}}},
        SymbolResolved{{{0}, kMax64}, {{"", "", 0, false}}},
        SiteDefined{{1}, {1}, {1}, "libc", "malloc"},
        SiteDefined{{kMax32}, {0}, {0}, "", ""},
        SiteSample{{1}, 1, 2, 3, 4, 5, 6, 7},
        SiteSample{{1}, 9, 2, 3, 4, 5, 6, 7, 8.5, 9.5, 10, 11},
        SiteSample{{kMax32}, kMax64, kMax64, kMax64, kMax64, kMax64, kMax64, kMax64},
        ProcessSample{{1}, 1U << 30, 12'345, 678.5},
        ProcessSample{{1}, kMax64, kMax64, std::numeric_limits<double>::infinity()},
        CounterSample{{1}, "live_full", 17, true},
        CounterSample{{1}, "", kMax64, false},
        ModeChanged{{1}, TraceMode::sampled, 1U << 16, 0, 0, 0.05, "exact costs too much"},
        ModeChanged{{kMax32}, TraceMode::pages, kMax64, -1, std::numeric_limits<double>::infinity(), 0, ""},
        PagesStarted{{1}, {"pages: touched memory", ""}},
        PagesStarted{{kMax32}, {}},
        PageSiteDefined{{1}, {1}, {1}, PageKind::fault},
        PageSiteDefined{{2}, {1}, {0}, PageKind::mmap},
        PageSiteDefined{{kMax32}, {kMax32}, {kMax32}, PageKind::brk},
        PageSiteSample{{1}, 1, 2, 3},
        PageSiteSample{{kMax32}, kMax64, kMax64, kMax64},
        PageSample{{1}, 1, 2, 3, 4},
        PageSample{{kMax32}, kMax64, kMax64, kMax64, kMax64},
        ContractStarted{{1}, {"memtrace: object_create, ref_acquire"}, 16},
        ContractStarted{{kMax32}, {}, kMax32},
        ObjectTold{{{1}, 5, 7, {1}}, ObjectAction::created, 0x1000, 48, "Cursor", 0, 0},
        ObjectTold{{{1}, kMax64, -1, {0}}, ObjectAction::destroyed, kMax64, 0, "", kMax64, kMax64},
        ReferenceTold{{{1}, 5, 7, {1}}, ReferenceAction::moved, 0x1000, 0x2000, 0x3000, true, 0},
        ReferenceTold{{{1}, 5, 7, {1}}, ReferenceAction::released, kMax64, kMax64, 0, false, kMax64},
        ResourceTold{{{1}, 5, 7, {1}}, ResourceAction::alive, "cursor", 4, 3, 2, "select 1", 8, 9},
        ResourceTold{{{1}, 5, 7, {0}}, ResourceAction::released, "", kMax64, kMax64, kMax64, "", kMax64, kMax64},
        PoolTold{{{1}, 5, 7, {1}}, PoolAction::limited, 0x4000, "connections", 5, 10},
        CleanupTold{{{1}, 5, 7, {1}}, true, 3, 1 << 20, 12},
        ThreadEnded{{1}, 6, 7},
        ResourceTold{{{1}, 5, 7, {1}}, ResourceAction::acquired, "fd:file", 4, 0, 0, "log", 0, 0, true},
        ResourcesStarted{{1}, {"resources: descriptors", ""}, 1024},
        ResourcesStarted{{kMax32}, {}, kMax64},
        HandlePlaced{{1}, 0x2000, HandlePlace::object, 0x5000},
        StorageTold{{{1}, 5, 7, {1}}, StorageAction::acquired, 0x6000, 64, 0x1008, 0},
        ResourceKindDefined{{1}, "sqlite-statement", 1, 2, false, true},
        ResourceKindDefined{{kMax32}, "", kMax64, kMax64, true, false},
        SiteSample{{1}, 9, 2, 3, 4, 5, 6, 7, 8.5, 9.5, 10, 11, {0, 12, kMax64}},
        ProcessForgotten{{1}},
        ProcessForgotten{{kMax32}},
        CollectorSample{0.5, 0.01, 1, 2, 10, 1, 30, 1'000, 4, 5, "memtrace itself takes 50 % of a core"},
        CollectorSample{-1, std::numeric_limits<double>::infinity(), kMax64, kMax64, 0, 0, 0, kMax64, kMax64, kMax64, ""},
        ResourceThresholds{1, 2.5, 3, 4, 5, 6, 0.5, 7.5},
        ResourceThresholds{kMax64, -1, kMax64, kMax64, kMax64, kMax64, 0, std::numeric_limits<double>::infinity()},
        CohortsCut{{1}, {1, 2, kMax64}},
        CohortsCut{{kMax32}, {}},
        MemorySample{{1}, 1, 2, 3, 4, 5, true, 6, 7},
        MemorySample{{kMax32}, kMax64, kMax64, kMax64, kMax64, kMax64, false, kMax64, kMax64},
        TickEnded{1, 2},
        ReportDue{false},
        TickEnded{kMax64, kMax64},
        ReportDue{true},
    };
}

} // namespace memtrace::testing
