// The part of the text report that is about alerts.
#pragma once

#include <iosfwd>
#include <vector>

#include "analyze/alerts.hpp"
#include "report/text_parts.hpp"

namespace memtrace {

/// Lines of the head, "alert     text" with the text at column `indent`: the worst of those that fire, and how many more do. `now`: of the
/// report.
void write_alert_rows(std::ostream& out, const std::vector<Alert>& alerts, std::uint64_t now_unix_ns, std::size_t indent,
                      const Paint& paint);

} // namespace memtrace
