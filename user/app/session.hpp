// A tracing run from start to end: owns everything, and the order in which it comes and goes.
//
//   check privileges -> find targets -> load -> follow (attach) -> activate -> loop -> deactivate -> last tick and report -> detach
//
// The loop waits for: the tick's time, a signal, the end of a process, events of the kernel half.
#pragma once

#include "config/options.hpp"

namespace memtrace {

/// Runs until the duration is over, every process has ended, or a signal. Returns the exit status; errors go to stderr, one line.
int run_session(const Options& options);

} // namespace memtrace
