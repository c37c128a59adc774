// Keeps what the tracing costs under a budget: from what the last interval took, which probes to keep and how much to record.
//
//   exact --> sampled, R 64 KiB .. 16 MiB --> windowed, share 50 % .. 0.2 % --> pages        down at once, up with patience
//
// A pure function: no clock, no I/O. The caller counts, calls govern() about once a second and applies the knobs:
//   exact, sampled   all probes attached
//   windowed, pages  allocation probes attached for the first window_s of every period_s, frees a little longer. What a window sees is
//                    recorded in full; in `pages` it is a look at the load only. The caller keeps that schedule, which goes
//                    on until the knobs change.
//
// Overhead is the time added over all the CPU time that the threads had, the added time included: x / (1 + x), where x seconds are added to
// each second of the target's own work. The model: x = a (enter + k return) + f free, with a allocations and f frees in a second of own
// work, and k the share of allocations that pay for the return: those kept, 1 - exp(-S/R), where a return can be declined.
#pragma once

#include <cstdint>
#include <string>

#include "kernel/hit_cost_model.hpp"
#include "model/events.hpp"

namespace memtrace {

enum class SampleChoice : std::uint8_t { automatic, exact, fixed };

struct GovernorSettings {
    double budget = 0.05; ///< of the CPU time of the target's threads
    SampleChoice choice = SampleChoice::automatic;
    std::uint64_t fixed_interval = 0; ///< bytes, for SampleChoice::fixed
    ProbeCosts costs;
};

struct GovernorKnobs {
    TraceMode mode = TraceMode::exact;
    std::uint64_t interval_bytes = 0; ///< R in `sampled`; 0: every allocation is recorded
    double window_s = 0;              ///< in `windowed` and `pages`
    double period_s = 0;
};

/// What was counted since the last call, in all traced processes together. Zeros, NaNs and negative numbers are no evidence.
struct GovernorInterval {
    double seconds = 0;          ///< that have passed
    double open_seconds = 0;     ///< of them with allocation probes attached
    double cpu_seconds = 0;      ///< that the target's threads had
    double open_cpu_seconds = 0; ///< of them with allocation probes attached
    double enters = 0;           ///< hits of entry probes
    double kept = 0;             ///< allocations recorded
    double kept_bytes = 0;       ///< their sizes, unweighted
    double returns = 0;          ///< hits of return probes
    double frees = 0;            ///< hits of free probes
    double added_ns = 0;         ///< estimate of the time added
};

/// Sums that forget: newer intervals count more.
struct LoadSums {
    double own_s = 0; ///< CPU time of the target's own work
    double enters = 0;
    double frees = 0;
};

/// All that govern() remembers.
struct GovernorState {
    GovernorKnobs knobs;
    LoadSums fast; ///< halves with each interval that says something
    LoadSums slow; ///< loses a tenth
    double block_bytes = 0;
    double cost_scale = 1; ///< time added as measured, over what the costs make of the hits
    double open_s = 0;     ///< these four forget as `slow` does
    double open_cpu_s = 0;
    double shut_s = 0;
    double shut_cpu_s = 0;
    double now_s = 0;
    double climbed_at_s = -1;     ///< last climb; < 0: none that is on trial
    double promising_since_s = 0; ///< a finer mode has looked affordable since then ...
    int promising_intervals = 0;  ///< ... in so many intervals; 0: it does not
    double patience_s = 0;        ///< how long it must look so before a climb
    double look_period_s = 0;
    bool settling = false; ///< the next interval began under other knobs
};

struct GovernorDecision {
    GovernorState state; ///< for the next call; state.knobs is what to do now
    bool changed = false;
    double overhead = 0; ///< of the present knobs under the recent load, by the model; 0 where nothing is known
    double expected = 0; ///< of the new knobs; the same where nothing changed
    std::string reason;  ///< a sentence with figures, where changed
};

/// Before the first interval: exact, or what the user fixed.
GovernorState initial_governor_state(const GovernorSettings& settings);

GovernorDecision govern(const GovernorState& state, const GovernorSettings& settings, const GovernorInterval& interval);

/// Overhead of `knobs` under the load that `state` has seen lately.
double expected_overhead(const GovernorState& state, const GovernorSettings& settings, const GovernorKnobs& knobs);

/// "exact", "sampling every 256 KiB", "windows of 185 ms every 10 s", ...
std::string knobs_name(const GovernorKnobs& knobs);

} // namespace memtrace
