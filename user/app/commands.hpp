// The subcommands that trace nothing. Each prints to standard output and returns the exit status.
#pragma once

#include "config/options.hpp"

namespace memtrace {

int run_report(const Options& options);
int run_diff(const Options& options);
int run_replay(const Options& options);
int run_history(const Options& options);
int run_history_diff(const Options& options); ///< of two moments: diff --history
int run_probes(const Options& options);
int run_doctor();
int run_cleanup(const Options& options);

} // namespace memtrace
