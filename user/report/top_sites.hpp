// Which sites to show where not all can be: shared by the metrics and the page. Pure, any thread.
#pragma once

#include <cstddef>
#include <vector>

#include "report/report.hpp"

namespace memtrace {

/// Sites of `report`, at most `count`: leaks first, the fastest before; then suspects, for half of what is left; then those that hold
/// most. The same sites as long as verdicts stay the same, as far as growth and size allow. They point into the report.
std::vector<const ReportSite*> top_sites(const Report& report, std::size_t count);

/// Definite or probable.
bool is_leak(const ReportSite& site);

/// Bytes a second that the sites that are leaks grow by, together.
double leak_rate(const Report& report);

} // namespace memtrace
