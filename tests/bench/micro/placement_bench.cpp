// Choosing the probes' places: part of what lies between the start and the moment that every call is seen.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>

#include "kernel/probe_plan.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kFunctionBytes = 256;

void place_in_malloc(benchmark::State& state) {
    const std::span<const std::uint8_t> code(reinterpret_cast<const std::uint8_t*>(&std::malloc), kFunctionBytes);
    for (auto _ : state) {
        benchmark::DoNotOptimize(place_probe({code, kFunctionBytes, 0, 1 << 1, LongNops::stepped}));
    }
}
BENCHMARK(place_in_malloc);

/// All functions of this process's C library, all of its code looked through for jumps into them.
void plan_libc(benchmark::State& state) {
    const auto mappings = read_maps(::getpid());
    std::set<FileIdentity> seen;
    const auto objects = find_probe_objects(::getpid(), *mappings, "libc", seen);
    if (!objects || objects->empty()) {
        state.SkipWithError("no C library found");
        return;
    }
    for (auto _ : state) {
        ProbePlanner planner(LongNops::stepped);
        benchmark::DoNotOptimize(planner.plan(objects->front()));
    }
}
BENCHMARK(plan_libc)->Unit(benchmark::kMillisecond);

void find_objects(benchmark::State& state) {
    const auto mappings = read_maps(::getpid());
    for (auto _ : state) {
        std::set<FileIdentity> seen;
        benchmark::DoNotOptimize(find_probe_objects(::getpid(), *mappings, "auto", seen));
    }
}
BENCHMARK(find_objects)->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
