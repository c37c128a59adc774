#include "report/prometheus.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>

#include <prometheus/text_serializer.h>

#include "bpf/counters.h"
#include "report/format.hpp"
#include "report/prometheus_parts.hpp"
#include "report/top_sites.hpp"

namespace memtrace {

void TickDurations::add(double seconds) {
    const auto* const bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
    ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
    sum_s += seconds;
}

MetricLabels with_label(MetricLabels labels, const char* name, const std::string& value) {
    labels.push_back({name, shorten(printable(value), kMetricLabelBytes)});
    return labels;
}

MetricSet::Place& MetricSet::place_of(const MetricDefinition& metric) {
    const auto [found, fresh] = places_.try_emplace(&metric, Place{families_.size(), {}});
    if (fresh) {
        families_.push_back({metric.name, metric.help, metric.type, {}});
    }
    return found->second;
}

void MetricSet::add(const MetricDefinition& metric, const MetricLabels& labels, double value) {
    auto& place = place_of(metric);
    auto& metrics = families_[place.family].metric;
    const auto [found, fresh] = place.metrics.try_emplace(labels, metrics.size());
    if (fresh) {
        metrics.emplace_back().label = labels;
    }
    auto& out = metrics[found->second];
    (metric.type == kCounter ? out.counter.value : out.gauge.value) += std::isfinite(value) ? value : 0;
}

void MetricSet::add_histogram(const MetricDefinition& metric, prometheus::ClientMetric::Histogram histogram) {
    families_[place_of(metric).family].metric.emplace_back().histogram = std::move(histogram);
}

void add_state(MetricSet& set, const MetricDefinition& metric, const MetricLabels& labels, const char* name,
               const std::vector<std::string>& states, const std::string& current) {
    for (const auto& state : states) {
        set.add(metric, with_label(labels, name, state), state == current ? 1 : 0);
    }
    if (std::find(states.begin(), states.end(), current) == states.end()) {
        set.add(metric, with_label(labels, name, current), 1);
    }
}

namespace {

double number(std::uint64_t value) {
    return static_cast<double>(value);
}

// ---- memtrace itself ------------------------------------------------------------------------------------------------------------

constexpr MetricDefinition kBuild{"memtrace_build_info", kGauge, "Always 1; the version of memtrace is a label."};
constexpr MetricDefinition kProcesses{"memtrace_processes", kGauge,
                                      "Processes that are followed, or have ended since the reports before."};
constexpr MetricDefinition kUnlisted{"memtrace_processes_unlisted", kGauge,
                                     "Of these, those that have no metrics of their own here: there are too many."};
constexpr MetricDefinition kCollectorCpu{"memtrace_collector_cpu_seconds_total", kCounter,
                                         "CPU time of memtrace itself, without what its probes take in the traced programs."};
constexpr MetricDefinition kCollectorRss{"memtrace_collector_resident_memory_bytes", kGauge,
                                         "Resident memory of memtrace itself."};
constexpr MetricDefinition kCollectorKernel{"memtrace_collector_kernel_memory_bytes", kGauge,
                                            "Memory of memtrace's maps in the kernel."};
constexpr MetricDefinition kTick{"memtrace_collector_tick_duration_seconds", prometheus::MetricType::Histogram,
                                 "How long it took to read the kernel's maps, by tick."};

constexpr MetricDefinition kPushed{"memtrace_profiles_pushed_total", kCounter, "Profiles that the store took (--push-profiles)."};
constexpr MetricDefinition kPushLost{"memtrace_profiles_lost_total", kCounter,
                                     "Profiles that the store did not take: refused, or too many waited."};
constexpr MetricDefinition kPushFailures{"memtrace_profile_push_failures_total", kCounter,
                                         "Attempts to push a profile that failed; most are made again."};

void add_profiles(MetricSet& set, const PushedProfiles& profiles) {
    set.add(kPushed, {}, number(profiles.pushed));
    set.add(kPushLost, {}, number(profiles.lost));
    set.add(kPushFailures, {}, number(profiles.failures));
}

constexpr MetricDefinition kTaken{"memtrace_alert_messages_total", kCounter, "Messages of alerts that a sink took."};
constexpr MetricDefinition kSinkLost{"memtrace_alert_messages_lost_total", kCounter,
                                     "Messages of alerts that a sink did not take, and that are dropped: too many waited."};
constexpr MetricDefinition kSinkFailures{"memtrace_alert_message_failures_total", kCounter,
                                         "Attempts to tell a sink that failed; they are made again."};
constexpr MetricDefinition kRefused{"memtrace_alerts_refused_total", kCounter,
                                    "Alerts that were not followed, by report: too many pend or fire."};

void add_sinks(MetricSet& set, const CollectorCost& cost) {
    for (const auto& sink : cost.sinks) {
        const auto labels = with_label({}, "sink", sink.sink);
        set.add(kTaken, labels, number(sink.taken));
        set.add(kSinkLost, labels, number(sink.lost));
        set.add(kSinkFailures, labels, number(sink.failures));
    }
    set.add(kRefused, {}, number(cost.refused_alerts));
}

constexpr MetricDefinition kOwnCpu{"memtrace_collector_cpu_ratio", kGauge,
                                   "Share of a core that memtrace itself takes, over the last minute."};
constexpr MetricDefinition kOwnCpuBudget{"memtrace_collector_cpu_budget_ratio", kGauge,
                                         "What that may be before memtrace gives way; 0: no budget."};
constexpr MetricDefinition kOwnMemoryBudget{"memtrace_collector_memory_budget_bytes", kGauge,
                                            "What its resident memory may be before memtrace gives way; 0: no budget."};
constexpr MetricDefinition kOwnInterval{"memtrace_collector_report_interval_seconds", kGauge, "From report to report, now."};
constexpr MetricDefinition kOwnAges{"memtrace_collector_ages_interval_seconds", kGauge,
                                    "From one look at the ages of all live blocks to the next, now."};
constexpr MetricDefinition kOwnListed{"memtrace_collector_sites_listed", kGauge,
                                      "Call sites of a process that a report lists at most, now."};
constexpr MetricDefinition kOwnGivesWay{"memtrace_collector_gives_way", kGauge,
                                        "1 where memtrace does less than asked for, to keep within its budget."};

void add_own_budget(MetricSet& set, const ReportCollector& own) {
    set.add(kOwnCpu, {}, own.cpu_ratio);
    set.add(kOwnCpuBudget, {}, own.cpu_budget);
    set.add(kOwnMemoryBudget, {}, number(own.memory_budget));
    set.add(kOwnInterval, {}, own.interval_s);
    set.add(kOwnAges, {}, own.ages_s);
    set.add(kOwnListed, {}, number(own.sites_listed));
    set.add(kOwnGivesWay, {}, own.reason.empty() ? 0 : 1);
}

void add_collector(MetricSet& set, const Publication& publication) {
    const auto& cost = publication.cost;
    set.add(kBuild, {{"version", MEMTRACE_VERSION}}, 1);
    set.add(kCollectorCpu, {}, cost.cpu_s);
    set.add(kCollectorRss, {}, number(cost.rss_bytes));
    set.add(kCollectorKernel, {}, number(cost.kernel_bytes));
    prometheus::ClientMetric::Histogram ticks;
    ticks.sample_sum = cost.ticks.sum_s;
    for (std::size_t i = 0; i < cost.ticks.counts.size(); ++i) {
        ticks.sample_count += cost.ticks.counts[i];
        const bool longest = i == TickDurations::kBounds.size();
        ticks.bucket.push_back({ticks.sample_count, longest ? INFINITY : TickDurations::kBounds[i]});
    }
    set.add_histogram(kTick, std::move(ticks));
    if (cost.profiles) {
        add_profiles(set, *cost.profiles);
    }
    add_sinks(set, cost);
    if (!publication.reports.empty() && publication.reports.back().coverage.collector) {
        add_own_budget(set, *publication.reports.back().coverage.collector);
    }
}

// ---- a process ------------------------------------------------------------------------------------------------------------------

constexpr MetricDefinition kProcess{"memtrace_process_info", kGauge, "Always 1; what the process is are labels."};
constexpr MetricDefinition kRss{"memtrace_process_resident_memory_bytes", kGauge, "Resident memory of the process."};
constexpr MetricDefinition kFollowed{"memtrace_followed_seconds", kGauge, "How long the process has been followed."};
constexpr MetricDefinition kReportTime{"memtrace_report_timestamp_seconds", kGauge,
                                       "When the figures of the process were taken, in seconds since 1970."};
constexpr MetricDefinition kLiveBytes{"memtrace_live_bytes", kGauge,
                                      "Bytes in heap blocks that are live, as requested from the allocator."};
constexpr MetricDefinition kLiveBound{"memtrace_live_bytes_bound", kGauge,
                                      "Lower and upper end of the 95 % interval of memtrace_live_bytes."};
constexpr MetricDefinition kUnverified{"memtrace_unverified_bytes", kGauge,
                                       "Of memtrace_live_bytes, those that may have been freed while frees were not watched."};
constexpr MetricDefinition kLiveObjects{"memtrace_live_objects", kGauge, "Heap blocks that are live."};
constexpr MetricDefinition kAllocations{"memtrace_allocations_total", kCounter, "Allocations since the process is followed."};
constexpr MetricDefinition kFrees{"memtrace_frees_total", kCounter, "Frees of blocks whose allocation was seen."};
constexpr MetricDefinition kAllocated{"memtrace_allocated_bytes_total", kCounter,
                                      "Bytes allocated since the process is followed."};
constexpr MetricDefinition kFreed{"memtrace_freed_bytes_total", kCounter, "Bytes freed of blocks whose allocation was seen."};
constexpr MetricDefinition kVerdict{"memtrace_verdict", kGauge,
                                    "1 for the class of the verdict on the process, 0 for the others."};
constexpr MetricDefinition kLeakRate{"memtrace_leak_bytes_per_second", kGauge,
                                     "Growth of all call sites of the process whose verdict is definite or probable."};
constexpr MetricDefinition kSites{"memtrace_sites", kGauge, "Call sites of the process, by verdict."};

void add_process(MetricSet& set, const Report& report, const MetricLabels& labels) {
    const auto& process = report.process;
    const auto& totals = report.totals;
    set.add(kProcess, with_label(with_label(labels, "exe", process.exe), "state", process.state), 1);
    set.add(kRss, labels, number(process.rss_bytes));
    set.add(kFollowed, labels, report.duration_s);
    set.add(kReportTime, labels, number(report.time_unix_ns) * 1e-9);
    set.add(kLiveBytes, labels, number(totals.live_bytes));
    set.add(kLiveBound, with_label(labels, "bound", "lower"), totals.live_bytes_ci95[0]);
    set.add(kLiveBound, with_label(labels, "bound", "upper"), totals.live_bytes_ci95[1]);
    set.add(kUnverified, labels, number(totals.unverified_bytes));
    set.add(kLiveObjects, labels, number(totals.live_objects));
    set.add(kAllocations, labels, number(totals.allocs));
    set.add(kFrees, labels, number(totals.frees));
    set.add(kAllocated, labels, number(totals.allocated_bytes));
    set.add(kFreed, labels, number(totals.freed_bytes));
    add_state(set, kVerdict, labels, "class", {"leak", "healthy", "unknown"}, report.verdict.class_name);
    set.add(kLeakRate, labels, leak_rate(report));
    std::map<std::string, double> by_verdict{{"definite", 0}, {"probable", 0}, {"suspect", 0}, {"stable", 0}, {"unknown", 0}};
    for (const auto& site : report.sites) {
        ++by_verdict[site.verdict];
    }
    by_verdict["stable"] += number(report.totals.other_sites); // nor do they grow as those do that are listed
    for (const auto& [verdict, count] : by_verdict) {
        set.add(kSites, with_label(labels, "verdict", verdict), count);
    }
}

// ---- how it is traced -----------------------------------------------------------------------------------------------------------

constexpr MetricDefinition kMode{"memtrace_coverage_mode", kGauge, "1 for the mode of tracing, 0 for the others."};
constexpr MetricDefinition kInterval{"memtrace_sample_interval_bytes", kGauge,
                                     "Bytes allocated for each sample on average; 0 where every allocation is recorded."};
constexpr MetricDefinition kWindow{"memtrace_window_seconds", kGauge,
                                   "Mode windowed: allocations are watched for so long in each period."};
constexpr MetricDefinition kPeriod{"memtrace_window_period_seconds", kGauge, "Mode windowed: time from window to window."};
constexpr MetricDefinition kUnmatched{"memtrace_unmatched_frees_total", kCounter,
                                      "Frees of blocks that were not seen allocated."};
constexpr MetricDefinition kLost{"memtrace_lost_total", kCounter,
                                 "What was lost, by the counter of the kernel half: figures are off where one rises."};
constexpr MetricDefinition kHits{"memtrace_probe_hits_total", kCounter, "Probes hit, by kind."};
constexpr MetricDefinition kHitCost{"memtrace_probe_hit_cost_seconds", kGauge,
                                    "What one hit takes, trap and program, on average since the report before."};
constexpr MetricDefinition kOverhead{"memtrace_overhead_ratio", kGauge,
                                     "Share of the CPU time of the process that the probes took since the report before."};
constexpr MetricDefinition kBudget{"memtrace_overhead_budget_ratio", kGauge,
                                   "Share that --max-overhead lets them take; absent where no budget is kept."};
constexpr MetricDefinition kCapacity{"memtrace_live_capacity_objects", kGauge,
                                     "Live blocks that can be followed at once in all processes (--max-live)."};

/// Those that mean loss, also while they are 0: an alert wants to see them rise from there.
std::set<std::string> loss_counters(const ReportCoverage& coverage) {
    std::set<std::string> names;
#define MT_COUNTER_LOSS(name, loss, text)                                                                                        \
    if (loss) {                                                                                                                  \
        names.insert(#name);                                                                                                     \
    }
    MT_COUNTERS(MT_COUNTER_LOSS)
#undef MT_COUNTER_LOSS
    for (const auto& [name, value] : coverage.lost) {
        names.insert(name);
    }
    return names;
}

void add_coverage(MetricSet& set, const ReportCoverage& coverage, const MetricLabels& labels) {
    add_state(set, kMode, labels, "mode", {"exact", "sampled", "windowed", "pages"}, coverage.mode);
    set.add(kInterval, labels, number(coverage.sample_interval_bytes));
    set.add(kWindow, labels, coverage.window_s);
    set.add(kPeriod, labels, coverage.period_s);
    set.add(kUnmatched, labels, number(coverage.unmatched_frees));
    for (const auto& name : loss_counters(coverage)) {
        const auto found = coverage.lost.find(name);
        set.add(kLost, with_label(labels, "counter", name), found == coverage.lost.end() ? 0 : number(found->second));
    }
    for (const char* kind : {"enter", "return", "free"}) {
        const auto found = coverage.counters.find(std::string("hits_") + kind);
        set.add(kHits, with_label(labels, "kind", kind), found == coverage.counters.end() ? 0 : number(found->second));
    }
    const auto& overhead = coverage.overhead;
    set.add(kHitCost, labels, overhead.trap_ns * 1e-9);
    set.add(kOverhead, labels, overhead.ratio);
    if (overhead.budget) {
        set.add(kBudget, labels, *overhead.budget);
    }
    set.add(kCapacity, labels, number(coverage.max_live));
}

// ---- its call sites -------------------------------------------------------------------------------------------------------------

constexpr MetricDefinition kSiteBytes{"memtrace_site_live_bytes", kGauge, "Bytes in live blocks of a call site."};
constexpr MetricDefinition kSiteObjects{"memtrace_site_live_objects", kGauge, "Live blocks of a call site."};
constexpr MetricDefinition kSiteGrowth{"memtrace_site_growth_bytes_per_second", kGauge,
                                       "Robust slope of the live bytes of a call site."};
constexpr MetricDefinition kSiteAllocations{"memtrace_site_allocations_total", kCounter, "Allocations of a call site."};
constexpr MetricDefinition kSiteFrees{"memtrace_site_frees_total", kCounter, "Frees of blocks of a call site."};
constexpr MetricDefinition kSiteAllocated{"memtrace_site_allocated_bytes_total", kCounter, "Bytes allocated by a call site."};
constexpr MetricDefinition kSiteAge{"memtrace_site_oldest_age_seconds", kGauge, "Age of the oldest live block of a call site."};
constexpr MetricDefinition kSiteConfidence{"memtrace_site_confidence_ratio", kGauge,
                                           "Confidence in the verdict on a call site, 0 to 1."};
constexpr MetricDefinition kSiteVerdict{"memtrace_site_verdict_info", kGauge, "Always 1; the verdict on a call site is a label."};

constexpr const char* kOther = "other";

MetricLabels site_labels(const MetricLabels& labels, const std::string& id, const std::string& function,
                         const std::string& allocator) {
    return with_label(with_label(with_label(labels, "site", id), "function", function), "allocator", allocator);
}

std::string function_of(const std::vector<ReportFrame>& stack) {
    return stack.empty() ? "unknown" : innermost_name(stack);
}

/// The verdict is a label of a metric of its own: a figure whose labels change breaks off, just when a site becomes a leak.
void add_site(MetricSet& set, const ReportSite& site, const MetricLabels& labels) {
    set.add(kSiteBytes, labels, number(site.live_bytes));
    set.add(kSiteObjects, labels, number(site.live_objects));
    set.add(kSiteGrowth, labels, site.growth_bytes_per_s);
    set.add(kSiteAllocations, labels, number(site.allocs));
    set.add(kSiteFrees, labels, number(site.frees));
    set.add(kSiteAllocated, labels, number(site.allocated_bytes));
    set.add(kSiteAge, labels, site.oldest_age_s);
    set.add(kSiteConfidence, labels, site.confidence);
    set.add(kSiteVerdict, with_label(labels, "verdict", site.verdict), 1);
}

void add_sites(MetricSet& set, const Report& report, const MetricLabels& labels, std::size_t count) {
    const auto chosen = top_sites(report, count);
    std::set<std::string> seen; // of several sites with one id, the first stands here, the others are among the rest
    std::set<const ReportSite*> shown;
    for (const auto* site : chosen) {
        if (seen.insert(site->id).second) {
            shown.insert(site);
            add_site(set, *site, site_labels(labels, site->id, function_of(site->stack), site->allocator));
        }
    }
    const auto other = site_labels(labels, kOther, kOther, kOther);
    double bytes = number(report.totals.other_live_bytes);
    double objects = number(report.totals.other_live_objects);
    double growth = 0;
    for (const auto& site : report.sites) {
        if (!shown.contains(&site)) {
            bytes += number(site.live_bytes);
            objects += number(site.live_objects);
            growth += site.growth_bytes_per_s;
        }
    }
    set.add(kSiteBytes, other, bytes);
    set.add(kSiteObjects, other, objects);
    set.add(kSiteGrowth, other, growth);
}

// ---- its pages ------------------------------------------------------------------------------------------------------------------

constexpr MetricDefinition kFaulted{"memtrace_pages_faulted_bytes_total", kCounter,
                                    "Anonymous and shared memory that became resident."};
constexpr MetricDefinition kReturned{"memtrace_pages_returned_bytes_total", kCounter,
                                     "Anonymous and shared memory that ceased to be resident."};
constexpr MetricDefinition kMapped{"memtrace_pages_mapped_bytes_total", kCounter, "Anonymous address space mapped."};
constexpr MetricDefinition kUnmapped{"memtrace_pages_unmapped_bytes_total", kCounter, "Of that, unmapped again."};
constexpr MetricDefinition kPageBytes{"memtrace_page_site_bytes", kGauge,
                                      "Memory first touched at a place in the code, or mapped there and not unmapped since."};

void add_pages(MetricSet& set, const Report& report, const MetricLabels& labels, std::size_t count) {
    const auto& pages = report.pages;
    if (pages.sources.empty()) {
        return;
    }
    set.add(kFaulted, labels, number(pages.faulted_bytes));
    set.add(kReturned, labels, number(pages.returned_bytes));
    set.add(kMapped, labels, number(pages.mapped_bytes));
    set.add(kUnmapped, labels, number(pages.unmapped_bytes));
    const auto place = [&labels](const std::string& id, const std::string& function, const std::string& kind) {
        return with_label(with_label(with_label(labels, "site", id), "function", function), "kind", kind);
    };
    double other = number(pages.other_bytes);
    for (std::size_t i = 0; i < pages.sites.size(); ++i) {
        const auto& site = pages.sites[i];
        if (i < count) {
            set.add(kPageBytes, place(site.id, function_of(site.stack), site.kind), number(site.bytes));
        } else {
            other += number(site.bytes);
        }
    }
    set.add(kPageBytes, place(kOther, kOther, kOther), other);
}

/// Of several reports of one pid (before and after an exec) the last; those that hold most first.
std::vector<const Report*> by_size(const std::vector<Report>& reports) {
    std::map<std::int32_t, const Report*> last;
    for (const auto& report : reports) {
        last[report.process.pid] = &report;
    }
    std::vector<const Report*> sorted;
    for (const auto& [pid, report] : last) {
        sorted.push_back(report);
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Report* a, const Report* b) { return a->totals.live_bytes > b->totals.live_bytes; });
    return sorted;
}

} // namespace

std::vector<prometheus::MetricFamily> metric_families(const Publication& publication) {
    MetricSet set;
    add_collector(set, publication);
    auto reports = by_size(publication.reports);
    const auto count = reports.size();
    reports.resize(std::min(count, kMetricProcesses));
    set.add(kProcesses, {}, number(count));
    set.add(kUnlisted, {}, number(count - reports.size()));
    const auto sites = std::clamp(kMetricSitesOfAll / std::max<std::size_t>(reports.size(), 1), kFewestMetricSites, kMetricSites);
    for (const auto* report : reports) {
        const auto labels = with_label({{"pid", std::to_string(report->process.pid)}}, "comm", report->process.comm);
        add_process(set, *report, labels);
        add_coverage(set, report->coverage, labels);
        add_sites(set, *report, labels, sites);
        add_pages(set, *report, labels, sites);
        add_told(set, *report, labels);
    }
    return set.take();
}

void render_metrics(const Publication& publication, std::ostream& out) {
    prometheus::TextSerializer().Serialize(out, metric_families(publication));
}

} // namespace memtrace
