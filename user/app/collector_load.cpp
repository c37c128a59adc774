// Collector, the third part: how much is traced, and what that costs.
#include <algorithm>
#include <utility>

#include "app/collector.hpp"
#include "app/message.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

void Collector::tell_mode(const Followed& process) {
    if (listens(process.started.pid)) {
        sink_(ModeChanged{process.id, TraceMode::sampled, process.told_interval.value(), 0, 0, 0,
                          "the program samples, and tells of it by otel_memory's probes"});
        return;
    }
    sink_(ModeChanged{process.id, knobs_.mode, knobs_.interval_bytes, knobs_.window_s, knobs_.period_s, budget_, mode_reason_});
}

void Collector::set_mode(const GovernorKnobs& knobs, double budget, const std::string& reason) {
    knobs_ = knobs;
    always_exact_ = always_exact_ && knobs.mode == TraceMode::exact;
    budget_ = budget;
    mode_reason_ = reason;
    for (auto& [pid, process] : followed_) {
        if (told_ && told_->can_listen(pid) && prefers_told(process, false)) {
            if (auto status = listen(pid, process); !status) {
                say(status.error().message);
            } else {
                say("process " + std::to_string(pid) +
                    " tells of a sample of its heap itself (otel_memory): that, and no windows");
                sink_(process.started);
            }
        }
        tracer_.set_sampling(process.key, knobs.interval_bytes);
        tell_mode(process);
    }
}

Status Collector::set_probes(std::int32_t pid, const Followed& process) {
    const bool own = !listens(pid);
    return tracer_.watch(process.key, own && watch_allocations_, own && watch_frees_);
}

Status Collector::watch(bool allocations, bool frees) {
    const bool frees_end = watch_frees_ && !frees;
    watch_allocations_ = allocations;
    watch_frees_ = frees;
    for (auto& [pid, process] : followed_) {
        if (auto status = set_probes(pid, process); !status && read_process_info(pid)) {
            return status;
        }
        process.unwatched_ns = frees_end && !listens(pid) ? monotonic_ns() : process.unwatched_ns;
    }
    return {};
}

GovernorInterval Collector::take_load() {
    GovernorInterval load;
    for (auto& [pid, process] : followed_) {
        const auto now = tracer_.read_counters(process.key);
        if (listens(pid)) { // there is nothing that it could govern
            process.load_counters = now;
            process.load_cpu_ns = 0;
            continue;
        }
        const auto hits = [&](mt_counter counter) {
            return static_cast<double>(now.value[counter] - process.load_counters.value[counter]);
        };
        load.enters += hits(MT_COUNTER_hits_enter);
        load.returns += hits(MT_COUNTER_hits_return);
        load.frees += hits(MT_COUNTER_hits_free);
        std::uint64_t cpu_ns = 0;
        if (const auto usage = read_process_usage(pid)) {
            cpu_ns = process.load_cpu_ns != 0 ? usage->cpu_ns - std::min(process.load_cpu_ns, usage->cpu_ns) : 0;
            process.load_cpu_ns = usage->cpu_ns;
        }
        load.cpu_seconds += static_cast<double>(cpu_ns) / static_cast<double>(kNanosPerSecond);
        load.added_ns += tracer_.probe_ns(process.load_counters, now, cpu_ns, {}); // of the heap alone: that is what it governs
        process.load_counters = now;
    }
    // Where a return can be declined, those that are seen are the allocations that were kept; else it is not known how many were.
    load.kept = tracer_.probe_costs().return_declinable || knobs_.interval_bytes == 0 ? load.returns : 0;
    load.kept_bytes = std::exchange(load_bytes_, 0);
    return load;
}

} // namespace memtrace
