#include "app/governor.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace memtrace {

namespace {

// Shares of the budget: what a step down aims at, what a step up must look like. The gap between is what noise has to cross.
constexpr double kDownAim = 0.85;
constexpr double kUpAim = 0.7;
// And what windows aim at: opening and closing them, and the pages tier, which is all there is between them, are not in the model.
constexpr double kWindowAim = 0.5;
// A burst this many times over the budget is acted on at once; less, only once the slow sums say so.
constexpr double kBurst = 1.5;
// The fast sums being this far from the slow ones is a step of the load, not noise: the slow ones start anew.
constexpr double kStep = 2;
constexpr double kFastMemory = 0.5;
constexpr double kSlowMemory = 0.9;

constexpr std::uint64_t kMinInterval = 64ULL << 10;
constexpr std::uint64_t kMaxInterval = 16ULL << 20;

constexpr double kMinWindow = 0.1; // seconds; a shorter one would be spent on attaching
constexpr double kMaxWindow = 1;
constexpr double kUsualPeriod = 10;
constexpr double kMaxShare = 0.5;
constexpr double kMinShare = 0.002; // 100 ms in 50 s
constexpr double kShareStep = 1.3;  // a larger share than now is worth a change from here on

constexpr double kLookWindow = 0.05;
constexpr double kFirstLook = 30;
constexpr double kLastLook = 300;
constexpr int kMinLooks = 2; // that must agree before a climb

constexpr double kMinPatience = 10; // seconds
constexpr double kMaxPatience = 600;
constexpr int kMinPromising = 3;  // intervals
constexpr double kMinTrial = 120; // seconds that a climb must last to have been right

constexpr double kMinCpuSeconds = 1e-3; // in a second; less is an idle target: no evidence
constexpr double kMinEvidence = 0.1;    // seconds: the kernel adds CPU time up in steps of some milliseconds

GovernorKnobs look_knobs(double period) {
    return {TraceMode::pages, 0, kLookWindow, period};
}

GovernorKnobs window_knobs(double share) {
    const double window = std::clamp(share * kUsualPeriod, kMinWindow, kMaxWindow);
    return {TraceMode::windowed, 0, window, window / share};
}

double share_of(const GovernorKnobs& knobs) {
    return knobs.period_s > 0 ? knobs.window_s / knobs.period_s : 1;
}

/// Seconds added to a second of own work while probes are attached.
double added_per_own_second(const GovernorState& state, const GovernorSettings& settings, const LoadSums& load,
                            std::uint64_t interval_bytes) {
    if (load.own_s <= 0) {
        return 0;
    }
    const auto& costs = settings.costs;
    double kept = 1;
    if (interval_bytes != 0 && costs.return_declinable) {
        kept = -std::expm1(-state.block_bytes / static_cast<double>(interval_bytes));
    }
    const double ns = load.enters * (costs.enter_ns + kept * costs.return_ns) + load.frees * costs.free_ns;
    return ns * 1e-9 * state.cost_scale / load.own_s;
}

/// How many times more CPU time the target has in a second while probes are attached. 1 where it takes all it can get anyway,
/// 1 + x where it has a fixed amount of work to do; the latter until windows have shown what it is. More than that is an error of
/// measurement: probes make work dearer, not more.
double busier_when_open(const GovernorState& state, double x) {
    if (state.open_s < kMinEvidence || state.shut_s < kMinEvidence || state.open_cpu_s <= 0 || state.shut_cpu_s <= 0) {
        return 1 + x;
    }
    return std::clamp(state.open_cpu_s / state.open_s / (state.shut_cpu_s / state.shut_s), 1.0, 1 + x);
}

double overhead_of(const GovernorState& state, const GovernorSettings& settings, const LoadSums& load,
                   const GovernorKnobs& knobs) {
    const double x = added_per_own_second(state, settings, load, knobs.interval_bytes);
    if (knobs.mode == TraceMode::exact || knobs.mode == TraceMode::sampled) {
        return x / (1 + x);
    }
    const double share = share_of(knobs);
    const double open = share * busier_when_open(state, x);
    return open / (1 - share + open) * x / (1 + x);
}

/// The finest knobs whose overhead is at most `aim`; that of windows at most kWindowAim of it.
GovernorKnobs finest_within(const GovernorState& state, const GovernorSettings& settings, const LoadSums& load, double aim) {
    GovernorKnobs knobs{};
    if (overhead_of(state, settings, load, knobs) <= aim) {
        return knobs;
    }
    for (knobs = {TraceMode::sampled, kMinInterval, 0, 0}; knobs.interval_bytes <= kMaxInterval; knobs.interval_bytes *= 2) {
        if (overhead_of(state, settings, load, knobs) <= aim) {
            return knobs;
        }
    }
    // overhead_of() for windows, solved for the share.
    aim *= kWindowAim;
    const double x = added_per_own_second(state, settings, load, 0);
    const double share = aim / (aim + busier_when_open(state, x) * (x / (1 + x) - aim));
    if (share >= kMinShare) {
        return window_knobs(std::min(share, kMaxShare));
    }
    // Even a look can be dear: a target with spare CPUs spends them all on probes.
    double period = state.look_period_s;
    while (period < kLastLook && overhead_of(state, settings, load, look_knobs(period)) > aim / 2) {
        period = std::min(2 * period, kLastLook);
    }
    return look_knobs(period);
}

bool is_finer(const GovernorKnobs& a, const GovernorKnobs& b) {
    if (a.mode != b.mode) {
        return a.mode < b.mode;
    }
    return a.mode == TraceMode::sampled    ? a.interval_bytes < b.interval_bytes
           : a.mode == TraceMode::windowed ? share_of(a) > kShareStep * share_of(b)
                                           : false;
}

bool is_sound(const GovernorInterval& m) {
    const std::array values{m.seconds,    m.open_seconds, m.cpu_seconds, m.open_cpu_seconds, m.enters, m.kept,
                            m.kept_bytes, m.returns,      m.frees,       m.added_ns};
    return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value) && value >= 0; });
}

void add(LoadSums& sums, double memory, double own_s, const GovernorInterval& m) {
    sums.own_s = sums.own_s * memory + own_s;
    sums.enters = sums.enters * memory + m.enters;
    sums.frees = sums.frees * memory + m.frees;
}

void learn_costs(GovernorState& state, const ProbeCosts& costs, const GovernorInterval& m) {
    const double by_hits = m.enters * costs.enter_ns + m.returns * costs.return_ns + m.frees * costs.free_ns;
    if (by_hits > 0 && m.added_ns > 0) {
        state.cost_scale += (1 - kSlowMemory) * (std::clamp(m.added_ns / by_hits, 0.25, 4.0) - state.cost_scale);
    }
}

/// What sampling keeps says more than the mean size does, as 1 - exp(-S/R) bends: the size of equal blocks that would be kept as often.
void learn_size(GovernorState& state, const GovernorInterval& m) {
    double bytes = 0;
    if (state.knobs.mode == TraceMode::sampled) {
        if (m.enters <= 0) {
            return;
        }
        const double share = std::min(m.kept / m.enters, 0.999);
        bytes = -std::log1p(-share) * static_cast<double>(state.knobs.interval_bytes);
    } else if (m.kept > 0) {
        bytes = m.kept_bytes / m.kept;
    } else {
        return;
    }
    state.block_bytes = state.block_bytes > 0 ? state.block_bytes + 0.3 * (bytes - state.block_bytes) : bytes;
}

/// Takes the interval into the sums; false where it says nothing about the load.
bool learn(GovernorState& state, const GovernorSettings& settings, const GovernorInterval& m) {
    const double own_s = m.open_cpu_seconds - m.added_ns * 1e-9;
    // An estimate may add up to more than there was; then all that is known is that own work was next to nothing.
    const double own = std::max(own_s, m.open_cpu_seconds * 1e-3);
    if (m.seconds <= 0 || m.open_seconds <= 0 || m.open_cpu_seconds < kMinCpuSeconds * std::min(1.0, m.open_seconds)) {
        return false;
    }
    if (state.knobs.mode == TraceMode::pages) {
        state.fast = state.slow = {}; // the last look was long ago
    }
    add(state.fast, kFastMemory, own, m);
    add(state.slow, kSlowMemory, own, m);
    learn_costs(state, settings.costs, m);
    learn_size(state, m);
    const double fast = added_per_own_second(state, settings, state.fast, 0);
    const double slow = added_per_own_second(state, settings, state.slow, 0);
    if (fast > kStep * slow || slow > kStep * fast) {
        state.slow = state.fast;
    }
    return true;
}

/// How busy the target is with probes and without, from windows. Intervals without a window count as well.
void learn_busyness(GovernorState& state, const GovernorInterval& m) {
    if (state.knobs.mode != TraceMode::windowed && state.knobs.mode != TraceMode::pages) {
        return;
    }
    if (m.open_seconds > 0) {
        state.open_s *= kSlowMemory;
        state.open_cpu_s *= kSlowMemory;
        state.shut_s *= kSlowMemory;
        state.shut_cpu_s *= kSlowMemory;
    }
    state.open_s += m.open_seconds;
    state.open_cpu_s += m.open_cpu_seconds;
    state.shut_s += std::max(m.seconds - m.open_seconds, 0.0);
    state.shut_cpu_s += std::max(m.cpu_seconds - m.open_cpu_seconds, 0.0);
}

// ---- words --------------------------------------------------------------------------------------------------------------------

template <typename... Values>
std::string words(const char* format, Values... values) {
    std::array<char, 160> text{};
    std::snprintf(text.data(), text.size(), format, values...);
    return text.data();
}

std::string percent(double ratio) {
    return words("%.*f %%", ratio >= 0.1 ? 0 : ratio >= 0.01 ? 1 : 2, ratio * 100);
}

std::string reason_for(const GovernorDecision& decision, const GovernorSettings& settings, const GovernorKnobs& from, bool down) {
    const auto budget = percent(settings.budget);
    const auto to = knobs_name(decision.state.knobs) + ", expected " + percent(decision.expected);
    if (down) {
        return knobs_name(from) + (from.mode == TraceMode::windowed ? " cost " : " costs ") + percent(decision.overhead) +
               " of the target's CPU time, budget " + budget + ": " + to;
    }
    return knobs_name(from) + " leaves room in the budget of " + budget + ": " + to;
}

// ---- steps --------------------------------------------------------------------------------------------------------------------

void change(GovernorDecision& decision, const GovernorSettings& settings, const LoadSums& load, const GovernorKnobs& to,
            bool down) {
    auto& state = decision.state;
    const auto from = state.knobs;
    state.settling = to.mode != from.mode || to.interval_bytes != from.interval_bytes;
    state.knobs = to;
    state.promising_intervals = 0;
    decision.changed = true;
    decision.overhead = overhead_of(state, settings, load, from);
    decision.expected = overhead_of(state, settings, load, to);
    decision.reason = reason_for(decision, settings, from, down);
}

void step_down(GovernorDecision& decision, const GovernorSettings& settings, const LoadSums& load) {
    auto& state = decision.state;
    if (state.climbed_at_s >= 0 && state.now_s - state.climbed_at_s < std::max(kMinTrial, 3 * state.patience_s)) {
        state.patience_s = std::min(2 * state.patience_s, kMaxPatience); // the climb was a mistake
        state.look_period_s = std::min(2 * state.look_period_s, kLastLook);
    }
    state.climbed_at_s = -1;
    const auto to = finest_within(state, settings, load, kDownAim * settings.budget);
    change(decision, settings, load, to, true);
    state.slow = load;
}

void step_up(GovernorDecision& decision, const GovernorSettings& settings, GovernorKnobs to) {
    auto& state = decision.state;
    if (state.knobs.mode == TraceMode::pages && to.mode != TraceMode::windowed) {
        to = window_knobs(kMaxShare); // one look is too little for more
    }
    state.climbed_at_s = state.now_s;
    change(decision, settings, state.slow, to, false);
}

/// Nothing to gain: from `pages`, look less and less often.
void look_later(GovernorDecision& decision, const GovernorSettings& settings) {
    auto& state = decision.state;
    state.look_period_s = std::min(2 * state.knobs.period_s, kLastLook);
    if (state.look_period_s != state.knobs.period_s) {
        change(decision, settings, state.slow, look_knobs(state.look_period_s), true);
        decision.reason = "the load has not fallen: " + knobs_name(state.knobs);
    }
}

void consider_climb(GovernorDecision& decision, const GovernorSettings& settings, double seconds) {
    auto& state = decision.state;
    const auto to = finest_within(state, settings, state.slow, kUpAim * settings.budget);
    const bool looking = state.knobs.mode == TraceMode::pages;
    if (!is_finer(to, state.knobs)) {
        state.promising_intervals = 0;
        if (looking) {
            look_later(decision, settings);
        }
        return;
    }
    if (state.promising_intervals++ == 0) {
        state.promising_since_s = state.now_s - seconds;
    }
    const bool patient = state.now_s - state.promising_since_s >= state.patience_s && state.promising_intervals >= kMinPromising;
    if (looking ? state.promising_intervals >= kMinLooks : patient) {
        step_up(decision, settings, to);
    }
}

/// A climb that has lasted was right: the next one may come sooner.
void end_trial(GovernorState& state) {
    if (state.climbed_at_s >= 0 && state.now_s - state.climbed_at_s >= std::max(kMinTrial, 3 * state.patience_s)) {
        state.climbed_at_s = -1;
        state.patience_s = std::max(state.patience_s / 2, kMinPatience);
        state.look_period_s = kFirstLook;
    }
}

void decide(GovernorDecision& decision, const GovernorSettings& settings, double seconds) {
    const auto& state = decision.state;
    const bool can_step_down = state.knobs.mode != TraceMode::pages;
    if (can_step_down && overhead_of(state, settings, state.fast, state.knobs) > kBurst * settings.budget) {
        step_down(decision, settings, state.fast);
    } else if (can_step_down && overhead_of(state, settings, state.slow, state.knobs) > settings.budget) {
        step_down(decision, settings, state.slow);
    } else {
        consider_climb(decision, settings, seconds);
    }
}

} // namespace

GovernorState initial_governor_state(const GovernorSettings& settings) {
    GovernorState state;
    state.patience_s = kMinPatience;
    state.look_period_s = kFirstLook;
    if (settings.choice == SampleChoice::fixed && settings.fixed_interval != 0) {
        state.knobs = {TraceMode::sampled, settings.fixed_interval, 0, 0};
    }
    return state;
}

GovernorDecision govern(const GovernorState& before, const GovernorSettings& settings, const GovernorInterval& interval) {
    GovernorDecision decision;
    decision.state = before;
    if (is_sound(interval)) {
        auto& state = decision.state;
        state.now_s += interval.seconds;
        if (state.settling) {
            state.settling = interval.seconds <= 0;
        } else {
            learn_busyness(state, interval);
            const bool learnt = learn(state, settings, interval);
            end_trial(state);
            if (learnt && settings.choice == SampleChoice::automatic) {
                decide(decision, settings, interval.seconds);
            }
        }
    }
    if (!decision.changed) {
        decision.overhead = decision.expected = expected_overhead(decision.state, settings, decision.state.knobs);
    }
    return decision;
}

double expected_overhead(const GovernorState& state, const GovernorSettings& settings, const GovernorKnobs& knobs) {
    return overhead_of(state, settings, state.slow, knobs);
}

std::string knobs_name(const GovernorKnobs& knobs) {
    const auto kib = static_cast<unsigned long long>(knobs.interval_bytes >> 10);
    switch (knobs.mode) {
    case TraceMode::exact:
        return "exact";
    case TraceMode::sampled:
        return kib >= 1024 && kib % 1024 == 0 ? words("sampling every %llu MiB", kib / 1024)
                                              : words("sampling every %llu KiB", kib);
    case TraceMode::windowed:
        return words("windows of %.0f ms every %.3g s", knobs.window_s * 1e3, knobs.period_s);
    case TraceMode::pages:
        return words("pages only, with a look of %.0f ms every %.0f s", knobs.window_s * 1e3, knobs.period_s);
    }
    return {};
}

} // namespace memtrace
