#include "analyze/resource_findings.hpp"

#include <cstdio>
#include <utility>

namespace memtrace {

namespace {

constexpr double kNsPerSecond = 1e9;
static_assert(ResourceThresholds{}.settle_ns == ResourceTable::kSettleNs);

bool lasted(std::uint64_t from_ns, std::uint64_t now_ns, std::uint64_t least_ns) {
    return from_ns != 0 && now_ns > from_ns && now_ns - from_ns >= least_ns;
}

std::string seconds(std::uint64_t nanoseconds) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.3g s", static_cast<double>(nanoseconds) / kNsPerSecond);
    return text;
}

/// `outlived`: releases of that kind after the same end. Where there are some, the program does that, and it says nothing.
ResourceJudgement after_an_end(const ResourceKind& kind, std::uint64_t outlived, bool certain, std::string evidence,
                               const ResourceThresholds& thresholds) {
    ResourceJudgement judgement;
    judgement.evidence = std::move(evidence);
    if (outlived != 0) {
        judgement.verdict = SiteVerdict::suspect;
        judgement.evidence += ", though others of its kind were released after that";
        return judgement;
    }
    judgement.leaked = true;
    judgement.verdict = kind.released >= thresholds.sure_released ? SiteVerdict::definite : SiteVerdict::probable;
    if (!certain) {
        judgement.verdict = SiteVerdict::suspect;
        judgement.evidence += "; events were lost, which may explain it";
    }
    return judgement;
}

/// Old and unused beyond the kind's own distributions. Empty: it is not.
std::string unusually_old(const Resource& resource, const ResourceKind& kind, std::uint64_t now_ns,
                          const ResourceThresholds& thresholds) {
    if (kind.lifetimes.count() < thresholds.min_released || !lasted(resource.born_ns, now_ns, thresholds.min_age_ns)) {
        return "";
    }
    const auto age = now_ns - resource.born_ns;
    const auto idle = now_ns > resource.used_ns ? now_ns - resource.used_ns : 0;
    const auto usual_age = kind.lifetimes.quantile(0.99);
    const auto usual_idle = kind.idle.quantile(0.99);
    const auto beyond = [&](std::uint64_t value, std::uint64_t usual) {
        return static_cast<double>(value) > thresholds.factor * static_cast<double>(usual);
    };
    if (!beyond(age, usual_age) || (kind.touched && !beyond(idle, usual_idle))) {
        return "";
    }
    auto text = "held for " + seconds(age) + ", 99 % of its kind for at most " + seconds(usual_age);
    return kind.touched ? text + "; unused for " + seconds(idle) + ", they for at most " + seconds(usual_idle) : text;
}

/// Beyond what whoever described the kind allows, whatever its distributions. Empty: it is not.
std::string beyond_limits(const Resource& resource, const ResourceKind& kind, std::uint64_t now_ns) {
    const auto over = [&](std::uint64_t from_ns, std::uint64_t limit_ns) {
        return limit_ns != 0 && lasted(from_ns, now_ns, limit_ns);
    };
    std::string text;
    if (over(resource.born_ns, kind.max_age_ns)) {
        text = "held for " + seconds(now_ns - resource.born_ns) + ", the limit of its kind is " + seconds(kind.max_age_ns);
    }
    if (over(resource.used_ns, kind.max_idle_ns)) {
        text += text.empty() ? "" : "; ";
        text += "unused for " + seconds(now_ns - resource.used_ns) + ", the limit of its kind is " + seconds(kind.max_idle_ns);
    }
    return text;
}

/// "; at that rate ..." where an end is in sight.
std::string until_limit(const ResourceLimitState& limit, double growth_per_s) {
    if (limit.limit == 0 || growth_per_s <= 0) {
        return "";
    }
    const auto room = limit.limit > limit.held ? limit.limit - limit.held : 0;
    char text[160];
    std::snprintf(text, sizeof(text), "; the process holds %llu of the %llu that it may have: at that rate for %.3g s more",
                  static_cast<unsigned long long>(limit.held), static_cast<unsigned long long>(limit.limit),
                  static_cast<double>(room) / growth_per_s);
    return text;
}

} // namespace

ResourceJudgement judge_resource(const Resource& resource, const ResourceKind& kind, bool certain, std::uint64_t now_ns,
                                 const ResourceThresholds& thresholds) {
    if (kind.of_kernel) { // the process's own, for as long as it likes: what tells is whether they become ever more
        return {};
    }
    if (lasted(resource.parent_gone_ns, now_ns, thresholds.settle_ns)) {
        return after_an_end(kind, kind.outlived_parent, certain, "what it belongs to was released before it", thresholds);
    }
    if (lasted(resource.thread_ended_ns, now_ns, thresholds.settle_ns)) {
        auto judgement = after_an_end(kind, kind.outlived_thread + kind.handed_over, certain,
                                      "thread " + std::to_string(resource.tid) + ", which used it last, has ended", thresholds);
        // Never definite: a loader's threads leave what they opened to a cache that everybody uses.
        judgement.verdict = judgement.verdict == SiteVerdict::definite ? SiteVerdict::probable : judgement.verdict;
        return judgement;
    }
    ResourceJudgement judgement;
    judgement.evidence = beyond_limits(resource, kind, now_ns);
    if (!judgement.evidence.empty()) {
        judgement.overdue = true;
        judgement.verdict = certain ? SiteVerdict::probable : SiteVerdict::suspect;
        return judgement;
    }
    judgement.evidence = unusually_old(resource, kind, now_ns, thresholds);
    if (!judgement.evidence.empty()) {
        judgement.verdict = SiteVerdict::suspect;
    }
    return judgement;
}

ResourceSiteJudgement judge_resource_site(const SiteHistory& history, const Trend& trend, double p,
                                          const ResourceLimitState& limit, const ResourceThresholds& thresholds) {
    auto judged = judge_site(history, trend, p);
    const bool busy = judged.verdict == SiteVerdict::suspect && (p >= thresholds.busy_p || history.lasted_s < thresholds.busy_s);
    if (judged.verdict >= SiteVerdict::suspect && (history.allocs < thresholds.min_acquired || busy)) {
        return {SiteVerdict::stable, 0, trend.slope.per_s, "more are held, too few or too briefly to say that they stay"};
    }
    if (judged.verdict >= SiteVerdict::suspect) {
        judged.evidence += until_limit(limit, trend.slope.per_s);
    }
    return {judged.verdict, judged.confidence, trend.slope.per_s, std::move(judged.evidence)};
}

/// Waiting is what a pool is for. Exhausted is one from which nothing comes back while somebody waits.
ResourceJudgement judge_pool(const Pool& pool, std::uint64_t now_ns, const ResourceThresholds& thresholds) {
    ResourceJudgement judgement;
    const bool full = pool.limit != 0 && pool.in_use >= pool.limit;
    if (full && lasted(pool.starved_since_ns, now_ns, thresholds.settle_ns)) {
        judgement.verdict = SiteVerdict::definite;
        judgement.evidence = "exhausted: all " + std::to_string(pool.limit) + " are in use, and since somebody had to wait " +
                             seconds(now_ns - pool.starved_since_ns) + " ago none was put back";
    } else if (full && pool.waits > pool.waits_at_report) {
        judgement.verdict = SiteVerdict::suspect;
        judgement.evidence = "at its limit, and somebody waited since the last report";
    }
    return judgement;
}

} // namespace memtrace
