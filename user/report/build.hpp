// The one place where the model becomes a report. Pure: the same model gives the same report.
#pragma once

#include <cstddef>

#include "model/model.hpp"
#include "report/report.hpp"

namespace memtrace {

constexpr std::size_t kAllSites = ~std::size_t{0};
/// So many sites a periodic report lists of a process: nobody reads more, and each costs its names and its stack.
constexpr std::size_t kSitesListed = 1'000;

/// The report of one process as of the model's last tick; rates and growth since the last ReportDue event that it was given. Lists
/// at most `sites` of its sites: the largest, and those that grew most since the report before; totals are of all.
Report build_report(const Model& model, ProcessId process, std::size_t sites = kAllSites);

/// Every process of the model, in order of appearance.
std::vector<Report> build_reports(const Model& model);

} // namespace memtrace
