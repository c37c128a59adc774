// Snapshots that were written earlier.
#pragma once

#include <string>

#include "base/result.hpp"
#include "report/report.hpp"

namespace memtrace {

/// Of a JSON file. An error names it.
Result<Report> load_snapshot(const std::string& path);

} // namespace memtrace
