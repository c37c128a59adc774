#include "kernel/hit_cost_model.hpp"

#include <algorithm>

namespace memtrace {

namespace {

constexpr int kHalvings = 40; ///< of an interval of some seconds: to less than a nanosecond

double calls_of(const HitCounts& hits) {
    return hits.enters + hits.frees + hits.told + hits.told_heap + hits.mapped;
}

double time_at_gap(const HitCosts& costs, const ProgramCosts& programs, const HitCounts& hits, double gap_ns) {
    const double enter = (programs.sessions ? costs.declined_ns : costs.emulated_ns) + programs.enter_ns;
    return hits.enters * enter + hits.returns * (costs.return_ns + programs.return_ns) +
           hits.frees * (costs.emulated_ns + programs.free_ns) + hits.stepped * (costs.stepped_ns - costs.emulated_ns) +
           hits.told * (costs.emulated_ns + programs.told_ns) + hits.told_heap * (costs.emulated_ns + programs.told_heap_ns) +
           hits.mapped * (costs.emulated_ns + programs.mapped_ns) + hits.mapped_returns * (costs.return_ns + programs.mapped_ns) +
           calls_of(hits) * more_at_gap(costs.gaps, gap_ns);
}

} // namespace

double more_at_gap(const std::vector<GapCost>& gaps, double gap_ns) {
    GapCost before;
    for (const auto& after : gaps) {
        if (gap_ns < after.gap_ns) {
            const double part = std::max(gap_ns - before.gap_ns, 0.0) / (after.gap_ns - before.gap_ns);
            return before.more_ns + part * (after.more_ns - before.more_ns);
        }
        before = after;
    }
    return before.more_ns;
}

double probe_time_ns(const HitCosts& costs, const ProgramCosts& programs, const HitCounts& hits, double cpu_ns) {
    const double calls = calls_of(hits);
    double low = 0;
    double high = calls > 0 ? std::max(cpu_ns, 0.0) / calls : 0;
    // With the gap, both own time and probes' time rise: they meet CPU time once.
    for (int i = 0; i < kHalvings && high > 0; ++i) {
        const double gap = (low + high) / 2;
        (calls * gap + time_at_gap(costs, programs, hits, gap) > cpu_ns ? high : low) = gap;
    }
    return time_at_gap(costs, programs, hits, low);
}

} // namespace memtrace
