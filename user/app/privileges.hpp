// What memtrace may do as root, and gives up: it keeps the capabilities that tracing takes and drops all others, for itself and for all that it
// starts. The list, with its reasons, is in privileges.cpp.
#pragma once

#include <string>

#include "base/result.hpp"
#include "config/alert_config.hpp"
#include "config/options.hpp"

namespace memtrace {

/// "CAP_BPF, CAP_PERFMON, ...": what a run keeps in any case.
std::string kept_capabilities_text();

/// Drops all else from every set of capabilities, the bounding set too; no program that is started from here on gains any (no_new_privs).
/// Of the calling thread and of those that it makes: called before there are others. What a run with these options and alerts takes
/// beyond the list is kept and named in the result, with commas. Capabilities that are not there are not missed.
Result<std::string> drop_privileges(const Options& options, const AlertConfig& alerts);

} // namespace memtrace
