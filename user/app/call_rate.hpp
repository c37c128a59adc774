// How often a process calls its allocator, and what tracing it would cost: probes are attached for a moment, counted, and taken away.
//
//   probes attached, active   ####################|                       process ends or execs, Ctrl-C: an error, all taken away at once
//                             |<-- window ------->|  then: figures stand still, are read; destruction detaches
//
// These are the probes and programs of a trace, so their cost is that of an exact one, for the window only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "app/governor.hpp"
#include "app/signals.hpp"
#include "base/result.hpp"
#include "kernel/features.hpp"

namespace memtrace {

/// What was counted in one process.
struct CallRate {
    GovernorInterval load;                            ///< probes were attached all the time: open_seconds == seconds
    std::map<std::string, std::uint64_t> allocations; ///< calls that returned a block, by function
    ProbeCosts costs;                                 ///< of the programs that counted
};

/// Counts for `window_ns`; without one for 200 ms, up to a second where calls are few. Takes some 100 ms more to load and to detach.
/// When it returns nothing is attached. Errors: the process has ended or execed meanwhile or cannot be traced, a stop signal came. One thread.
Result<CallRate> measure_call_rate(std::int32_t pid, const std::string& allocator, const KernelFeatures& features,
                                   std::optional<std::uint64_t> window_ns, const StopSignals& signals);

/// Lines for the user: calls a second, what exact tracing takes, and what the governor makes of it under `budget` (a share of the
/// target's CPU time). A pure function.
std::string describe_call_rate(const CallRate& rate, double budget);

} // namespace memtrace
