// Resources, pools and cleanups of the report.
#include <algorithm>
#include <cstdio>
#include <tuple>

#include "analyze/resource_findings.hpp"
#include "base/clock.hpp"
#include "report/build_parts.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxResources = 100; ///< listed
constexpr std::size_t kMaxPools = 50;      ///< listed
constexpr std::size_t kMaxErrors = 20;     ///< listed
constexpr std::size_t kMaxSites = 50;      ///< listed
constexpr std::size_t kMaxNames = 3;       ///< of one site

double in_seconds(std::uint64_t nanoseconds) {
    return static_cast<double>(nanoseconds) / static_cast<double>(kNanosPerSecond);
}

/// Small numbers as they are counted, others, which are addresses mostly, as such.
std::string resource_id(std::uint64_t id) {
    return id <= UINT32_MAX ? std::to_string(id) : address_id(id);
}

struct Judged {
    const Resource* resource;
    ResourceJudgement judgement;
};

ReportResource build_resource(const Model& model, const ResourceTable& table, const Judged& judged, std::uint64_t now_ns) {
    const auto& resource = *judged.resource;
    ReportResource out;
    out.kind = table.kinds()[resource.kind].name;
    out.id = resource_id(resource.id);
    out.state = judged.judgement.leaked ? "leaked" : judged.judgement.overdue ? "overdue" : "live";
    out.age_s = seconds_between(resource.born_ns, now_ns);
    out.idle_s = seconds_between(resource.used_ns, now_ns);
    out.bytes = resource.bytes;
    if (resource.parent_index != kNoIndex) {
        out.parent = table.kinds()[table.resources()[resource.parent_index].kind].name + ' ';
    }
    out.parent += resource.parent != 0 ? resource_id(resource.parent) : "";
    out.name = resource.name;
    out.acquired_at = build_stack(model, resource.acquired.stack);
    out.verdict = site_verdict_name(judged.judgement.verdict);
    out.evidence = judged.judgement.evidence;
    out.tid = resource.tid;
    return out;
}

void build_kinds(const Process& process, const std::vector<std::uint64_t>& leaked, ReportResources& out) {
    const ProcessHistories histories(process);
    const auto& kinds = process.resources.kinds();
    std::vector<double> p;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto& kind = kinds[i];
        if (kind.acquired != 0) {
            const auto trend =
                histories.trend([&](std::size_t level) { return kind.live_history.read(level, process.history.ticks); }).trend;
            out.kinds.push_back({kind.name,
                                 kind.live,
                                 leaked[i],
                                 kind.bytes,
                                 kind.acquired,
                                 kind.released,
                                 in_seconds(kind.lifetimes.quantile(0.5)),
                                 in_seconds(kind.lifetimes.quantile(0.99)),
                                 in_seconds(kind.idle.quantile(0.99)),
                                 trend.slope.per_s,
                                 {trend.slope.low, trend.slope.high}});
            p.push_back(trend.p);
        }
    }
    p = adjusted_p_values(p);
    for (std::size_t i = 0; i < p.size(); ++i) {
        out.kinds[i].p_value = p[i];
    }
    std::sort(out.kinds.begin(), out.kinds.end(),
              [](const ReportResourceKind& a, const ReportResourceKind& b) { return a.kind < b.kind; });
}

void build_listed(const Model& model, const Process& process, std::uint64_t now_ns, ReportResources& out) {
    const auto& table = process.resources;
    std::vector<Judged> judged;
    std::vector<std::uint64_t> leaked(table.kinds().size());
    for (const auto& resource : table.resources()) {
        if (resource.held) {
            judged.push_back({&resource, judge_resource(resource, table.kinds()[resource.kind], table.certain(resource), now_ns,
                                                        model.resource_thresholds())});
            leaked[resource.kind] += judged.back().judgement.leaked ? 1 : 0;
        }
    }
    const auto worse = [](const Judged& a, const Judged& b) {
        return std::tuple(b.judgement.leaked, b.judgement.verdict, a.resource->born_ns, a.resource->kind, a.resource->id) <
               std::tuple(a.judgement.leaked, a.judgement.verdict, b.resource->born_ns, b.resource->kind, b.resource->id);
    };
    const auto listed = std::min(judged.size(), kMaxResources);
    std::partial_sort(judged.begin(), judged.begin() + static_cast<std::ptrdiff_t>(listed), judged.end(), worse);
    for (std::size_t i = 0; i < judged.size(); ++i) {
        if (i < listed) {
            out.listed.push_back(build_resource(model, table, judged[i], now_ns));
        } else {
            ++out.other;
            out.other_bytes += judged[i].resource->bytes;
        }
    }
    build_kinds(process, leaked, out);
}

bool is_descriptor(const ResourceKind& kind) {
    return kind.of_kernel && kind.name.starts_with("fd:");
}

std::vector<std::string> names_at(const ResourceTable& table, std::uint32_t site) {
    std::vector<std::string> names;
    for (const auto& resource : table.resources()) {
        if (resource.held && resource.site == site && !resource.name.empty() && names.size() < kMaxNames &&
            std::find(names.begin(), names.end(), resource.name) == names.end()) {
            names.push_back(resource.name);
        }
    }
    return names;
}

struct JudgedSite {
    std::uint32_t index;
    ResourceSiteJudgement judgement;
};

/// All that hold something, at once.
std::vector<JudgedSite> judge_resource_sites(const Process& process, const ReportResources& out,
                                             const ResourceThresholds& thresholds) {
    const auto& sites = process.resources.sites();
    const ProcessHistories histories(process);
    std::vector<std::uint32_t> tested;
    std::vector<ResolvedTrend> found;
    std::vector<double> p;
    for (std::uint32_t i = 0; i < sites.size(); ++i) {
        if (sites[i].held != 0) {
            tested.push_back(i);
            found.push_back(
                histories.trend([&](std::size_t level) { return sites[i].held_history.read(level, process.history.ticks); }));
            p.push_back(found.back().trend.p);
        }
    }
    p = adjusted_p_values(p);
    std::vector<JudgedSite> judged;
    for (std::size_t i = 0; i < tested.size(); ++i) {
        const auto& site = sites[tested[i]];
        const auto& trend = found[i].trend;
        const auto& seconds = histories.at(found[i].level).seconds;
        SiteHistory history;
        history.counted = Counted::resources;
        history.points = seconds.size();
        history.lasted_s = seconds.empty() ? 0 : seconds.back() - seconds[trend.begin];
        history.allocs = site.acquired;
        history.frees = site.released;
        history.live_objects = site.held;
        const bool limited = is_descriptor(process.resources.kinds()[site.kind]);
        const auto limit = limited ? ResourceLimitState{out.descriptors, out.descriptor_limit} : ResourceLimitState{};
        judged.push_back({tested[i], judge_resource_site(history, trend, p[i], limit, thresholds)});
    }
    return judged;
}

void build_resource_sites(const Model& model, const Process& process, ReportResources& out) {
    const auto& table = process.resources;
    auto judged = judge_resource_sites(process, out, model.resource_thresholds());
    std::sort(judged.begin(), judged.end(), [&](const JudgedSite& a, const JudgedSite& b) {
        return std::tuple(b.judgement.verdict, table.sites()[b.index].held, a.index) <
               std::tuple(a.judgement.verdict, table.sites()[a.index].held, b.index);
    });
    for (const auto& [index, judgement] : judged) {
        const auto& site = table.sites()[index];
        if (out.sites.size() == kMaxSites) {
            ++out.other_sites;
            continue;
        }
        const bool grows = judgement.verdict > SiteVerdict::stable;
        out.sites.push_back({table.kinds()[site.kind].name, site.held, site.acquired, site.released, judgement.growth_per_s,
                             site_verdict_name(judgement.verdict), judgement.confidence, judgement.evidence,
                             grows ? names_at(table, index) : std::vector<std::string>{}, build_stack(model, site.stack)});
    }
}

void build_descriptors(const Process& process, ReportResources& out) {
    if (process.kernel_resources) {
        out.descriptor_limit = process.kernel_resources->descriptor_limit;
    }
    for (const auto& kind : process.resources.kinds()) {
        out.descriptors += is_descriptor(kind) ? kind.live : 0;
    }
}

void build_errors(const Model& model, const ResourceTable& table, ReportResources& out) {
    out.other_errors = table.counters().errors_refused;
    for (const auto& error : table.errors()) {
        if (out.errors.size() == kMaxErrors) {
            out.other_errors += error.count;
            continue;
        }
        out.errors.push_back({error.double_release ? "double_release" : "use_after_release", table.kinds()[error.kind].name,
                              resource_id(error.id), error.count, build_stack(model, error.acquired.stack),
                              build_stack(model, error.released.stack), build_stack(model, error.used.stack),
                              error.certain ? "definite" : "suspect"});
    }
}

void build_pools(const Model& model, const ResourceTable& table, std::uint64_t now_ns, ReportResources& out) {
    for (const auto& pool : table.pools()) {
        const auto judgement = judge_pool(pool, now_ns, model.resource_thresholds());
        out.pools.push_back({pool.name, address_id(pool.address), pool.in_use, pool.limit, pool.peak, pool.waits,
                             pool.waits - pool.waits_at_report, build_stack(model, pool.waited.stack),
                             site_verdict_name(judgement.verdict), judgement.evidence});
    }
    std::sort(out.pools.begin(), out.pools.end(), [](const ReportPool& a, const ReportPool& b) {
        return std::tuple(b.verdict == "definite", b.waits, a.name, a.id) <
               std::tuple(a.verdict == "definite", a.waits, b.name, b.id);
    });
    if (out.pools.size() > kMaxPools) {
        out.counters["pools_not_listed"] = out.pools.size() - kMaxPools;
        out.pools.resize(kMaxPools);
    }
}

} // namespace

void build_resources(const Model& model, const Process& process, Report& report) {
    if (!process.contract && !process.kernel_resources) {
        return;
    }
    const auto& table = process.resources;
    auto& out = report.resources;
    const auto now_ns = process.last_mono_ns;
    build_listed(model, process, now_ns, out);
    build_descriptors(process, out);
    build_resource_sites(model, process, out);
    build_errors(model, table, out);
    build_pools(model, table, now_ns, out);
    for (const auto& cleanup : table.cleanups()) {
        out.cleanups.push_back({cleanup.level >= 3   ? "critical"
                                : cleanup.level == 2 ? "high"
                                                     : "low",
                                cleanup.ended, cleanup.wanted_bytes, cleanup.freed_bytes, cleanup.released,
                                seconds_between(cleanup.began_ns, cleanup.ended ? cleanup.ended_ns : now_ns),
                                seconds_between(cleanup.began_ns, now_ns)});
    }
    const auto& counters = table.counters();
    for (const auto& [name, value] :
         std::initializer_list<std::pair<const char*, std::uint64_t>>{{"unknown_resources", counters.unknown_resources},
                                                                      {"resources_refused", counters.resources_refused},
                                                                      {"kinds_refused", counters.kinds_refused},
                                                                      {"sites_refused", counters.sites_refused},
                                                                      {"pools_refused", counters.pools_refused},
                                                                      {"errors_refused", counters.errors_refused},
                                                                      {"missed_releases", counters.missed_releases}}) {
        if (value != 0) {
            out.counters[name] = value;
        }
    }
}

} // namespace memtrace
