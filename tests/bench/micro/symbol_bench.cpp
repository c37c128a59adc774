// Names: demangling, and the look-up of an address in this very program, which has symbols and DWARF.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include "proc/maps.hpp"
#include "symbol/demangle.hpp"
#include "symbol/symbolizer.hpp"

namespace memtrace {
namespace {

void demangle_name(benchmark::State& state, const char* name) {
    for (auto _ : state) {
        benchmark::DoNotOptimize(demangle(name));
    }
}
BENCHMARK_CAPTURE(demangle_name, short_one, "_ZN4shop6BasketIiE4growEi");
BENCHMARK_CAPTURE(
    demangle_name, of_a_map,
    "_ZNSt8_Rb_treeINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESt4pairIKS5_jESt10_Select1stIS8_ESt4lessIS5_"
    "ESaIS8_EE22_M_emplace_hint_uniqueIJRKSt21piecewise_construct_tSt5tupleIJRS7_EESJ_IJEEEEESt17_Rb_tree_iteratorI"
    "S8_ESt23_Rb_tree_const_iteratorIS8_EDpOT_");
BENCHMARK_CAPTURE(demangle_name, of_c, "MemoryContextAllocExtended");

/// The return address as linked: the benchmarks are a position independent program whose first segment is linked at 0.
std::uint64_t own_offset(const void* address) {
    const auto mappings = read_maps(::getpid());
    const auto wanted = reinterpret_cast<std::uint64_t>(address);
    std::string path;
    for (const auto& mapping : *mappings) {
        if (wanted >= mapping.start && wanted < mapping.end) {
            path = mapping.path;
        }
    }
    for (const auto& mapping : *mappings) {
        if (mapping.path == path && mapping.file_offset == 0) {
            return wanted - mapping.start;
        }
    }
    return 0;
}

void resolve_address(benchmark::State& state) {
    Symbolizer symbolizer;
    symbolizer.add_module({1}, {"micro", "/proc/self/exe", "", -1});
    const auto address = reinterpret_cast<const char*>(&parse_maps) + 64;
    const Frame frame{{1}, own_offset(address)};
    if (symbolizer.resolve(frame).back().function.find("parse_maps") == std::string::npos) {
        state.SkipWithError("the address is not named as it should be");
        return;
    }
    for (auto _ : state) {
        benchmark::DoNotOptimize(symbolizer.resolve(frame));
    }
}
BENCHMARK(resolve_address)->Unit(benchmark::kMicrosecond);

/// The first look-up in a module: parses its symbols and the index of its DWARF.
void open_module_and_resolve(benchmark::State& state) {
    const Frame frame{{1}, own_offset(reinterpret_cast<const char*>(&parse_maps) + 64)};
    for (auto _ : state) {
        Symbolizer symbolizer;
        symbolizer.add_module({1}, {"micro", "/proc/self/exe", "", -1});
        benchmark::DoNotOptimize(symbolizer.resolve(frame));
    }
}
BENCHMARK(open_module_and_resolve)->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
