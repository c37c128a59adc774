// What a report says, as alerts look at it (analyze/alerts.hpp). Pure.
#pragma once

#include <vector>

#include "analyze/alerts.hpp"
#include "report/report.hpp"

namespace memtrace {

/// Labels that every alert of the process has: pid, comm.
AlertLabels process_labels(const Report& report);

/// Sites that are called neither suspect nor worse, and that do not grow, are left out, so that a process has few observations.
std::vector<Observation> observe(const Report& report);

} // namespace memtrace
