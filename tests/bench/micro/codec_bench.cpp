// Events to and from a recording: every sample of every tick goes through it.
#include <benchmark/benchmark.h>

#include "store/event_codec.hpp"

namespace memtrace {
namespace {

Event sample_event() {
    return SiteSample{{17}, 12'345, 12'000, 790'080, 768'000, 345, 22'080, 5'000'000'000};
}

Event stack_event() {
    StackDefined stack{{17}, {1}, false, {}};
    for (std::uint64_t i = 0; i < 32; ++i) {
        stack.frames.push_back({{1}, 0x1000 + 16 * i});
    }
    return stack;
}

void append(benchmark::State& state, const Event& event) {
    std::string out;
    for (auto _ : state) {
        out.clear();
        benchmark::DoNotOptimize(append_event(out, event).has_value());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.size()));
}
BENCHMARK_CAPTURE(append, site_sample, sample_event());
BENCHMARK_CAPTURE(append, stack_of_32, stack_event());

void decode(benchmark::State& state, const Event& event) {
    std::string record;
    if (!append_event(record, event)) {
        state.SkipWithError("the event cannot be written");
        return;
    }
    for (auto _ : state) {
        const std::string_view bytes = record;
        const auto header = parse_record_header(bytes);
        benchmark::DoNotOptimize(record_crc(bytes) == header.crc);
        benchmark::DoNotOptimize(decode_event(header.kind, bytes.substr(kRecordHeaderSize)));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(record.size()));
}
BENCHMARK_CAPTURE(decode, site_sample, sample_event());
BENCHMARK_CAPTURE(decode, stack_of_32, stack_event());

} // namespace
} // namespace memtrace
