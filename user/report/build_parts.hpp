// What the parts of build.cpp share. Internal to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.hpp"
#include "report/report.hpp"

namespace memtrace {

double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns);
/// Innermost first; empty where there is none.
std::vector<ReportFrame> build_stack(const Model& model, StackId stack);
/// What a place in the code held at the ticks of its process's timeline, as verdicts are judged on.
struct Series {
    std::vector<double> seconds; ///< since attaching
    std::vector<double> values;
};
Series build_series(const Process& process, const std::vector<std::uint64_t>& ticks);
/// An address as the id of what lies there.
std::string address_id(std::uint64_t address);

void build_references(const Model& model, const Process& process, Report& report);
void build_resources(const Model& model, const Process& process, Report& report);
/// The verdict is on sites so far: takes references, resources and pools into it.
void add_told_to_verdict(Report& report);

} // namespace memtrace
