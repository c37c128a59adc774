// Which resources nobody will give back, which are held beyond what is usual, which places acquire more and more of them, and which pools
// are exhausted. Pure. The rules are our own and stand in resource_findings.cpp; every finding carries its evidence in words.
#pragma once

#include <cstdint>
#include <string>

#include "analyze/verdict.hpp"
#include "model/resources.hpp"

namespace memtrace {

/// When a resource is unusually old. Durations in ns.
struct ResourceThresholds {
    /// Released ones of the kind, at least. Fewer have no 99th percentile: it would be the oldest of them.
    std::uint64_t min_released = 100;
    /// Older, and longer unused, than so many times the 99th percentile of the kind's own. Lifetimes have long tails, a log-normal one
    /// with a sigma of 1 has one in 50,000 beyond 6 times its 99th percentile: our choice, on the safe side.
    double factor = 10;
    /// However short-lived the kind is.
    std::uint64_t min_age_ns = 60'000'000'000;
    /// After the end of its thread or its parent, and of a pool without anything put back: see ResourceTable.
    std::uint64_t settle_ns = ResourceTable::kSettleNs;
    /// Releases of the kind, none of them after the end of a thread or parent, that make one that is held then a sure leak.
    std::uint64_t sure_released = 8;
    /// Fewer acquired at one place are no trend.
    std::uint64_t min_acquired = 10;
    /// Where most are released, numbers go up and down with the load: a rise must be so sure, and last so long, to be suspected.
    double busy_p = 1e-6;
    double busy_s = 60;
};

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
