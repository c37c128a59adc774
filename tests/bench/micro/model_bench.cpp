// What a tick costs the collector: the samples of all sites into the model; and the report made of it.
#include <benchmark/benchmark.h>

#include "model/model.hpp"
#include "report/build.hpp"
#include "tests/unit/golden_streams.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kCaller = 0x1000; ///< of the first site; each has its own
constexpr std::uint64_t kMain = 0x800;

/// A process with `sites` sites of two frames each, known and named.
golden::Run run_with_sites(std::uint32_t sites) {
    golden::Run run;
    run.start(1, 4711, "lightningd", {"lightningd"});
    run.name(1, kMain, {{"main", "main.cpp", 17, false}});
    for (std::uint32_t id = 1; id <= sites; ++id) {
        const auto caller = kCaller + 16ull * id;
        run.site(id, 1, "malloc", {caller, kMain});
        run.name(1, caller, {{"Session::open(Key const&)", "session.cpp", id, false}});
    }
    return run;
}

std::vector<Event> tick_events(std::uint32_t sites, std::uint64_t tick) {
    std::vector<Event> events;
    for (std::uint32_t id = 1; id <= sites; ++id) {
        events.emplace_back(SiteSample{{id}, 100 * tick, 99 * tick, 6'400 * tick, 6'336 * tick, 0, 0, 0});
    }
    events.emplace_back(TickEnded{golden::kWall + tick * golden::kSecond, golden::kMono + tick * golden::kSecond});
    return events;
}

void apply_tick(benchmark::State& state) {
    const auto sites = static_cast<std::uint32_t>(state.range(0));
    Model model;
    const auto run = run_with_sites(sites);
    for (const auto& event : run.events()) {
        model.apply(event);
    }
    const auto events = tick_events(sites, 1);
    for (auto _ : state) {
        for (const auto& event : events) {
            model.apply(event);
        }
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(apply_tick)->Arg(100)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void build_report_of_sites(benchmark::State& state) {
    const auto sites = static_cast<std::uint32_t>(state.range(0));
    Model model;
    const auto run = run_with_sites(sites);
    for (const auto& event : run.events()) {
        model.apply(event);
    }
    for (std::uint64_t tick = 1; tick <= Timeline::kEntries; ++tick) {
        for (const auto& event : tick_events(sites, tick)) {
            model.apply(event);
        }
    }
    for (auto _ : state) {
        benchmark::DoNotOptimize(build_report(model, {1}));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(build_report_of_sites)->Arg(100)->Arg(10'000)->Arg(50'000)->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
