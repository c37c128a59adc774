// What a scrape and a look at the page take, of a process with many call sites.
#include <benchmark/benchmark.h>

#include <sstream>

#include "report/prometheus.hpp"
#include "serve/respond.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kSites = 10'000;
constexpr std::size_t kFrames = 16;

void answer(benchmark::State& state, const char* path) {
    const Publication publication{{test::large_report(kSites, kFrames)}, {}};
    std::size_t bytes = 0;
    for (auto _ : state) {
        const auto response = respond({"GET", path, "localhost", "", std::nullopt, false}, {}, &publication, 0);
        bytes += response.body.size();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK_CAPTURE(answer, metrics, "/metrics")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(answer, page, "/")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(answer, report, "/api/report")->Unit(benchmark::kMillisecond);

} // namespace
} // namespace memtrace
