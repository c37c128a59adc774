// Reports in the forms in which stores of profiles take them by HTTP. Pure functions.
//
// Both stores sum up what they show over a range of time, each in its own way: Pyroscope every profile, so that what was allocated is
// told since the profile before; Parca those that have a duration, so that these have none, and what was allocated is told since the
// tracing began, as programs tell it that Parca scrapes. In-use figures are those of the moment in both.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "report/report.hpp"

namespace memtrace {

using ProfileLabels = std::map<std::string, std::string>;

/// Of each site, what it has allocated so far: allocations and bytes, by id.
using AllocatedBefore = std::map<std::string, std::pair<std::uint64_t, std::uint64_t>>;

/// What a profile needs of a report, without the labels that its samples have in a file: a store makes a series of each. `before`: that is
/// taken from what has been allocated, and is what has been now afterwards; none: all is told.
Report profile_part(Report report, AllocatedBefore* before);

/// "?name=...&from=...": the query of Pyroscope's /ingest; the body is a pprof. `service` names the program; times are seconds since 1970.
std::string pyroscope_query(const std::string& service, const ProfileLabels& labels, std::uint64_t from_s, std::uint64_t until_s);

/// The JSON of parca.profilestore.v1alpha1.WriteRawRequest, with one series of one profile. `pprof` is as render_pprof() writes it.
std::string parca_body(const ProfileLabels& labels, const std::string& pprof);

} // namespace memtrace
