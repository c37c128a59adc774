// The reference graph of a large program: who refers to whom, from addresses; and the cycles in it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "analyze/reference_graph.hpp"

namespace memtrace {
namespace {

struct Program {
    std::vector<ReferenceGraph::Object> objects;
    std::vector<ReferenceGraph::Handle> handles;
};

/// Objects of 96 bytes anywhere in 16 GiB, four handles in each to any other. `rooted`: one in a thousand is held by a root, from which
/// all can be reached; otherwise nothing can, and all of them are one cycle: the most that there is to do.
Program random_program(std::uint32_t count, bool rooted) {
    std::mt19937_64 random(1);
    Program program;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto slot = (std::uint64_t{i} << 14) + (random() % 128) * 128;
        program.objects.push_back({0x7f00'0000'0000 + slot % (std::uint64_t{16} << 30), 96, rooted && i % 1000 == 0});
    }
    std::shuffle(program.objects.begin(), program.objects.end(), random);
    for (std::uint32_t i = 0; i < 4 * count; ++i) {
        const auto& owner = program.objects[i % count];
        const auto target = i < count ? (i + 1) % count : static_cast<std::uint32_t>(random() % count); // each is referred to
        program.handles.push_back({owner.address + 8 * (i / count), target});
    }
    std::shuffle(program.handles.begin(), program.handles.end(), random);
    return program;
}

void build_and_find_cycles(benchmark::State& state) {
    const auto program = random_program(static_cast<std::uint32_t>(state.range(0)), state.range(1) != 0);
    std::size_t in_cycles = 0;
    for (auto _ : state) {
        const ReferenceGraph graph(program.objects, program.handles);
        in_cycles = 0;
        for (const auto& cycle : find_cycles(graph)) {
            in_cycles += cycle.objects.size();
        }
    }
    state.counters["objects_in_cycles"] = static_cast<double>(in_cycles);
}
BENCHMARK(build_and_find_cycles)
    ->ArgNames({"objects", "rooted"})
    ->Args({100'000, 0})
    ->Args({1'000'000, 0})
    ->Args({1'000'000, 1})
    ->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
