// What a call site's history says. Pure. The rules are few and stand in verdict.cpp with their thresholds; every verdict carries
// its evidence in words.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "analyze/shape.hpp"
#include "analyze/survival.hpp"

namespace memtrace {

/// In ascending order of certainty that the site leaks.
enum class SiteVerdict : std::uint8_t { unknown, stable, cache_like, suspect, probable, definite };
const char* site_verdict_name(SiteVerdict verdict);
/// Of a verdict's name: 3 definite, 2 probable, 1 suspect, 0 anything else.
int verdict_rank(std::string_view name);

/// What a site holds, for its evidence.
enum class Counted : std::uint8_t { bytes, resources };

/// What is judged, besides the trend: what became of the site's allocations since tracing began.
struct SiteHistory {
    Counted counted = Counted::bytes;
    std::size_t points = 0;   ///< of the series that the trend is of
    double lasted_s = 0;      ///< time that its last regime spans
    std::uint64_t allocs = 0; ///< so far
    std::uint64_t frees = 0;  ///< so far
    std::uint64_t live_objects = 0;
    bool ages_known = false; ///< births of live blocks were read: `plateau` says something
    Plateau plateau;
    bool may_replace =
        false; ///< blocks from before the tracing are freed as fast as it grows, and the process does not grow with it
};

struct SiteJudgement {
    SiteVerdict verdict = SiteVerdict::unknown;
    double confidence = 0; ///< 0 to 1, where growth is claimed: (1 - p) times the share of blocks that are not freed; else 0
    std::string evidence;
};

/// `p`: that of the trend, as it is among all that is tested at once (adjusted_p_values).
SiteJudgement judge_site(const SiteHistory& history, const Trend& trend, double p);

} // namespace memtrace
