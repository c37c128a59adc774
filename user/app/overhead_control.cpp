#include "app/overhead_control.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kFirstDecision = 100'000'000; ///< automatic begins exactly: not for long where that is too much
constexpr std::uint64_t kDecisionPeriod = 1'000'000'000;
constexpr double kGrace = 0.5; ///< frees stay watched for so much of a window more
constexpr std::uint64_t kNever = ~std::uint64_t{0};

std::uint64_t to_ns(double seconds) {
    return static_cast<std::uint64_t>(seconds * static_cast<double>(kNanosPerSecond));
}

} // namespace

OverheadControl::OverheadControl(Collector& collector, GovernorSettings settings, std::function<void(const std::string&)> say)
    : collector_(collector), settings_(settings), say_(std::move(say)), state_(initial_governor_state(settings_)) {
    collector_.set_mode(state_.knobs, settings_.choice == SampleChoice::automatic ? settings_.budget : 0, "");
}

Status OverheadControl::change(const GovernorSettings& settings) {
    settings_ = settings;
    state_ = initial_governor_state(settings_);
    interval_ = {};
    begun_ = false;
    next_decision_ns_ = 0; // run() is due
    collector_.set_mode(state_.knobs, settings_.choice == SampleChoice::automatic ? settings_.budget : 0, "");
    return enter(Phase::open, monotonic_ns());
}

bool OverheadControl::has_windows() const {
    return state_.knobs.period_s > 0 && state_.knobs.mode != TraceMode::exact && state_.knobs.mode != TraceMode::sampled;
}

std::uint64_t OverheadControl::next_ns() const {
    std::uint64_t next = next_decision_ns_;
    if (begun_ && has_windows()) {
        const double after = phase_ == Phase::open         ? state_.knobs.window_s
                             : phase_ == Phase::frees_only ? state_.knobs.window_s * (1 + kGrace)
                                                           : state_.knobs.period_s;
        next = std::min(next, window_ns_ + to_ns(after));
    }
    return next;
}

Status OverheadControl::enter(Phase phase, std::uint64_t now_ns) {
    if (phase == Phase::open) {
        window_ns_ = now_ns;
    }
    if (phase == phase_) {
        return {};
    }
    phase_ = phase;
    auto status = collector_.watch(phase == Phase::open, phase != Phase::shut);
    measure(monotonic_ns()); // what passed meanwhile belongs to neither
    return status;
}

/// Adds what has been counted since the last time, as of the phase that ends or goes on now.
void OverheadControl::measure(std::uint64_t now_ns) {
    const auto load = collector_.take_load();
    const double seconds = static_cast<double>(now_ns - measured_ns_) / static_cast<double>(kNanosPerSecond);
    measured_ns_ = now_ns;
    interval_.seconds += seconds;
    interval_.cpu_seconds += load.cpu_seconds;
    interval_.added_ns += load.added_ns;
    if (phase_ != Phase::open) {
        return; // the frees after a window say nothing of the load as a whole
    }
    interval_.open_seconds += seconds;
    interval_.open_cpu_seconds += load.cpu_seconds;
    interval_.enters += load.enters;
    interval_.kept += load.kept;
    interval_.kept_bytes += load.kept_bytes;
    interval_.returns += load.returns;
    interval_.frees += load.frees;
}

Status OverheadControl::move_window(std::uint64_t now_ns) {
    const auto since = now_ns - window_ns_;
    if (phase_ == Phase::open && since >= to_ns(state_.knobs.window_s)) {
        measure(now_ns);
        return enter(Phase::frees_only, now_ns);
    }
    if (phase_ == Phase::frees_only && since >= to_ns(state_.knobs.window_s * (1 + kGrace))) {
        measure(now_ns);
        return enter(Phase::shut, now_ns);
    }
    if (phase_ == Phase::shut && since >= to_ns(state_.knobs.period_s)) {
        measure(now_ns);
        return enter(Phase::open, now_ns);
    }
    return {};
}

Status OverheadControl::decide(std::uint64_t now_ns) {
    measure(now_ns);
    settings_.costs = collector_.probe_costs();
    const auto decision = govern(state_, settings_, std::exchange(interval_, {}));
    state_ = decision.state;
    if (!decision.changed) {
        return {};
    }
    say_(decision.reason);
    collector_.set_mode(state_.knobs, settings_.budget, decision.reason);
    return enter(Phase::open, now_ns);
}

Status OverheadControl::run(std::uint64_t now_ns) {
    if (!begun_) { // the first load is what there was before
        begun_ = true;
        (void)collector_.take_load();
        measured_ns_ = window_ns_ = now_ns;
        next_decision_ns_ = settings_.choice == SampleChoice::automatic ? now_ns + kFirstDecision : kNever;
        return {};
    }
    if (has_windows()) {
        if (auto status = move_window(now_ns); !status) {
            return status;
        }
    }
    if (now_ns >= next_decision_ns_) {
        next_decision_ns_ = now_ns + kDecisionPeriod;
        return decide(now_ns);
    }
    return {};
}

} // namespace memtrace
