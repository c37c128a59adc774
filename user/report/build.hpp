// The one place where the model becomes a report. Pure: the same model gives the same report.
#pragma once

#include "model/model.hpp"
#include "report/report.hpp"

namespace memtrace {

/// The report of one process as of the model's last tick; rates and growth since the last ReportDue event that it was given.
Report build_report(const Model& model, ProcessId process);

/// Every process of the model, in order of appearance.
std::vector<Report> build_reports(const Model& model);

} // namespace memtrace
