// The options of memtrace daemon: those of its command line, and those of its configuration, read by the very same definitions.
#pragma once

#include <string>
#include <vector>

#include "config/options.hpp"

namespace memtrace {

/// `words`: the command line, program first, which gave `options`. What it gives wins over [trace]. Errors name the file and the line.
ParsedCommandLine with_daemon_config(const std::vector<std::string>& words, const Options& options);

} // namespace memtrace
