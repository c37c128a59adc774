// Rendering a large report, and reading it back.
#include <benchmark/benchmark.h>

#include <sstream>

#include "report/render.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kSites = 2'000;
constexpr std::size_t kFrames = 16;

void render_sites(benchmark::State& state, ReportFormat format) {
    const auto report = test::large_report(kSites, kFrames);
    std::size_t bytes = 0;
    for (auto _ : state) {
        std::ostringstream out;
        render(report, format, {}, out);
        bytes += static_cast<std::size_t>(out.tellp());
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK_CAPTURE(render_sites, text, ReportFormat::text)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(render_sites, json, ReportFormat::json)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(render_sites, pprof, ReportFormat::pprof)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(render_sites, folded, ReportFormat::folded)->Unit(benchmark::kMillisecond);

void parse_json(benchmark::State& state) {
    const auto text = test::json_of(test::large_report(kSites, kFrames));
    for (auto _ : state) {
        benchmark::DoNotOptimize(parse_json_report(text));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(parse_json)->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
