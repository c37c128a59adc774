// Which resources nobody will give back, which are held beyond what is usual, which places acquire more and more of them, and which pools
// are exhausted. Pure. The rules are our own and stand in resource_findings.cpp; every finding carries its evidence in words.
#pragma once

#include <cstdint>
#include <string>

#include "analyze/verdict.hpp"
#include "model/resources.hpp"

namespace memtrace {

struct ResourceJudgement {
    SiteVerdict verdict = SiteVerdict::stable;
    bool leaked = false;  ///< who could give it back has gone
    bool overdue = false; ///< held or unused for longer than its kind may be
    std::string evidence;
};

/// What a place in the code holds, over time.
struct ResourceSiteJudgement {
    SiteVerdict verdict = SiteVerdict::unknown;
    double confidence = 0; ///< as SiteJudgement's
    double growth_per_s = 0;
    std::string evidence;
};

/// What the process may have of such resources; 0 = no limit is known.
struct ResourceLimitState {
    std::uint64_t held = 0;
    std::uint64_t limit = 0;
};

ResourceJudgement judge_resource(const Resource& resource, const ResourceKind& kind, bool certain, std::uint64_t now_ns,
                                 const ResourceThresholds& thresholds = {});
/// Of numbers held; `p` as judge_site's.
ResourceSiteJudgement judge_resource_site(const SiteHistory& history, const Trend& trend, double p,
                                          const ResourceLimitState& limit, const ResourceThresholds& thresholds = {});
ResourceJudgement judge_pool(const Pool& pool, std::uint64_t now_ns, const ResourceThresholds& thresholds = {});

} // namespace memtrace
