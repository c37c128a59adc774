// What a report says, as alerts look at it (analyze/alerts.hpp). Pure.
#pragma once

#include <vector>

#include "analyze/alerts.hpp"
#include "report/report.hpp"

namespace memtrace {

/// Labels that every alert of the process has: pid, comm.
AlertLabels process_labels(const Report& report);

/// Of the sites, those that are called suspect or worse, and of the thousand largest those that grow: so there are not many.
std::vector<Observation> observe(const Report& report);

} // namespace memtrace
