#include "analyze/process_verdict.hpp"

#include <algorithm>

namespace memtrace {

namespace {

constexpr double kP = 0.01;
constexpr double kLeastBytes = 4 << 20;
constexpr double kLeastShare = 0.02; ///< of what there was
constexpr double kMost = 0.5;        ///< of the growth: that it is put down to

} // namespace

ProcessJudgement judge_process(const ProcessMemory& memory, const Trend& rss) {
    ProcessJudgement judgement;
    if (memory.seconds.size() < kLeastPoints) {
        return judgement;
    }
    const auto grown = [&](std::span<const double> values) { // from 0: it was not read then
        return values[rss.begin] > 0 ? values.back() - values[rss.begin] : 0;
    };
    judgement.grown_bytes = grown(memory.rss_bytes);
    const double least = std::max(kLeastBytes, kLeastShare * memory.rss_bytes[rss.begin]);
    if (rss.p >= kP || rss.slope.low <= 0 || judgement.grown_bytes < least) {
        return judgement;
    }
    const auto put_down_to = [&](ProcessGrowth growth, double bytes) {
        judgement.growth = growth;
        judgement.of_it_bytes = bytes;
    };
    const double half = kMost * judgement.grown_bytes;
    const double live = memory.live_bytes.back() - memory.live_bytes[rss.begin];
    if (const double file = grown(memory.file_bytes); file >= half) {
        put_down_to(ProcessGrowth::mapped_files, file);
    } else if (const double stacks = grown(memory.stack_bytes); stacks >= half) {
        put_down_to(ProcessGrowth::stacks, stacks);
    } else if (live >= half) {
        put_down_to(ProcessGrowth::heap, live);
    } else if (const double holes = judgement.grown_bytes - std::max(live, 0.0); memory.freed_bytes >= 2 * holes) {
        put_down_to(ProcessGrowth::fragmentation, holes);
    } else {
        put_down_to(ProcessGrowth::unexplained, holes);
    }
    return judgement;
}

} // namespace memtrace
