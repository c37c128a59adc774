// What a call site's history says. Pure. The rules are few and stand in verdict.cpp with their thresholds; every verdict carries
// its evidence in words.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace memtrace {

/// In ascending order of certainty that the site leaks.
enum class SiteVerdict : std::uint8_t { unknown, stable, suspect, probable, definite };
const char* site_verdict_name(SiteVerdict verdict);

/// What is judged: what is live over time, in bytes or in number, and what became of the site's allocations since tracing began.
struct SiteHistory {
    std::span<const double> seconds; ///< since attaching, ascending
    std::span<const double> live;    ///< at those times
    std::uint64_t allocs = 0;
    std::uint64_t frees = 0;
};

/// Whether what is live grows, by the rules that hold for memory and for resources alike.
struct Trend {
    SiteVerdict verdict = SiteVerdict::unknown;
    double confidence = 0; ///< 0 to 1: 1 - p of the rise where one is claimed, else 0
    double growth_per_s = 0;
    double p = 1;
    double seconds = 0;   ///< observed
    double survivors = 0; ///< share of the allocations that are still live
    std::string reason;   ///< why no growth is claimed; empty where it is
};

/// `sites_tested`: how many sites of the process are judged at once; the p-value is multiplied by it (Bonferroni), so that among
/// thousands of noisy sites none is called a leak by chance.
Trend judge_trend(const SiteHistory& history, std::size_t sites_tested);

/// The end of a claim's evidence: " for 20 s, p = 1e-07; 98 % of its 200 allocations were never freed".
std::string describe_rise(const Trend& trend, std::uint64_t allocs, const char* what, const char* freed);

struct SiteJudgement {
    SiteVerdict verdict = SiteVerdict::unknown;
    double confidence = 0; ///< as Trend's
    double growth_bytes_per_s = 0;
    std::string evidence;
};

SiteJudgement judge_site(const SiteHistory& history, std::size_t sites_tested);

} // namespace memtrace
