// What programs tell of themselves, what the kernel gives out to them, and alerts, as metrics.
#include <algorithm>
#include <map>

#include "report/prometheus.hpp"
#include "report/prometheus_parts.hpp"

namespace memtrace {

namespace {

double number(std::uint64_t value) {
    return static_cast<double>(value);
}

constexpr MetricDefinition kObjects{"memtrace_reference_objects", kGauge, "Tracked objects that are alive."};
constexpr MetricDefinition kHeld{"memtrace_references_held", kGauge,
                                 "References to tracked objects that are held, strong and weak."};
constexpr MetricDefinition kEdges{"memtrace_reference_edges", kGauge, "References from one tracked object to another."};
constexpr MetricDefinition kCycles{"memtrace_reference_cycles", kGauge, "Cycles of objects that keep but each other alive."};
constexpr MetricDefinition kCycleBytes{"memtrace_reference_cycle_bytes", kGauge,
                                       "Bytes in cycles that are listed in the report, with what hangs on them."};
constexpr MetricDefinition kErrors{"memtrace_reference_errors", kGauge,
                                   "References released twice, never or too late, and the like, by kind and verdict."};

void add_references(MetricSet& set, const ReportReferences& references, const MetricLabels& labels) {
    set.add(kObjects, labels, number(references.objects));
    set.add(kHeld, labels, number(references.references));
    set.add(kEdges, labels, number(references.edges));
    set.add(kCycles, labels, number(references.other_cycles));
    set.add(kCycleBytes, labels, 0);
    for (const auto& cycle : references.cycles) {
        set.add(kCycles, labels, number(cycle.count));
        set.add(kCycleBytes, labels, number(cycle.total_bytes));
    }
    const auto errors = [&labels](const std::string& kind, const std::string& verdict) {
        return with_label(with_label(labels, "kind", kind), "verdict", verdict);
    };
    set.add(kErrors, errors("other", "other"), number(references.other_errors));
    for (const auto& error : references.errors) {
        set.add(kErrors, errors(error.kind, error.verdict), number(error.count));
    }
}

constexpr MetricDefinition kLive{"memtrace_resources", kGauge, "Resources that are held, by kind."};
constexpr MetricDefinition kLeaked{"memtrace_resources_leaked", kGauge,
                                   "Of these, those that nobody can give back any more: their owner has gone."};
constexpr MetricDefinition kBytes{"memtrace_resource_bytes", kGauge,
                                  "Bytes of the resources that are held, as the program tells."};
constexpr MetricDefinition kAcquired{"memtrace_resources_acquired_total", kCounter, "Resources acquired."};
constexpr MetricDefinition kReleased{"memtrace_resources_released_total", kCounter, "Resources released."};
constexpr MetricDefinition kLifetime{"memtrace_resource_lifetime_seconds", kGauge,
                                     "How long resources that were released were held."};
constexpr MetricDefinition kIdle{"memtrace_resource_idle_seconds", kGauge,
                                 "Longest time between two uses of a resource, of those released."};
constexpr MetricDefinition kMisused{"memtrace_resource_errors", kGauge,
                                    "Resources released or used after they had been released, by error."};

/// Kinds are named by the program: those beyond the bound are one.
void add_kinds(MetricSet& set, const std::vector<ReportResourceKind>& kinds, const MetricLabels& labels) {
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto& kind = kinds[i];
        const bool own = i < kMetricKinds;
        const auto of_kind = with_label(labels, "kind", own ? kind.kind : "other");
        set.add(kLive, of_kind, number(kind.live));
        set.add(kLeaked, of_kind, number(kind.leaked));
        set.add(kBytes, of_kind, number(kind.bytes));
        set.add(kAcquired, of_kind, number(kind.acquired));
        set.add(kReleased, of_kind, number(kind.released));
        if (own) {
            set.add(kLifetime, with_label(of_kind, "percentile", "50"), kind.lifetime_p50_s);
            set.add(kLifetime, with_label(of_kind, "percentile", "99"), kind.lifetime_p99_s);
            set.add(kIdle, with_label(of_kind, "percentile", "99"), kind.idle_p99_s);
        }
    }
}

constexpr MetricDefinition kAlerts{"memtrace_alerts", kGauge, "Alerts of memtrace's own rules, by name, severity and state."};

constexpr MetricDefinition kInUse{"memtrace_pool_in_use", kGauge, "Places of a pool that are taken."};
constexpr MetricDefinition kLimit{"memtrace_pool_limit", kGauge, "Places of a pool; 0 where it has no limit."};
constexpr MetricDefinition kPeak{"memtrace_pool_peak", kGauge, "Most places of a pool that were taken at once."};
constexpr MetricDefinition kWaits{"memtrace_pool_waits_total", kCounter,
                                  "How often somebody waited for a place, or was refused."};
constexpr MetricDefinition kExhausted{"memtrace_pool_exhausted", kGauge,
                                      "1 where all places are taken and somebody waits for one."};

/// The address tells pools of one name apart.
void add_pools(MetricSet& set, const std::vector<ReportPool>& pools, const MetricLabels& labels) {
    for (std::size_t i = 0; i < std::min(pools.size(), kMetricKinds); ++i) {
        const auto& pool = pools[i];
        const auto of_pool = with_label(with_label(labels, "pool", pool.name), "address", pool.id);
        set.add(kInUse, of_pool, number(pool.in_use));
        set.add(kLimit, of_pool, number(pool.limit));
        set.add(kPeak, of_pool, number(pool.peak));
        set.add(kWaits, of_pool, number(pool.waits));
        set.add(kExhausted, of_pool, pool.verdict == "definite" ? 1 : 0);
    }
}

} // namespace

void add_told(MetricSet& set, const Report& report, const MetricLabels& labels) {
    for (const auto& alert : report.alerts) {
        const auto of_alert =
            with_label(with_label(labels, "alert", alert.name), "severity", alert_severity_name(alert.severity));
        set.add(kAlerts, with_label(of_alert, "state", alert_state_name(alert.state)), 1);
    }
    const auto& resources = report.resources;
    if (report.references.followed) {
        add_references(set, report.references, labels);
    } else if (resources.kinds.empty()) {
        return;
    }
    add_kinds(set, resources.kinds, labels);
    set.add(kMisused, with_label(labels, "error", "other"), number(resources.other_errors));
    for (const auto& error : resources.errors) {
        set.add(kMisused, with_label(labels, "error", error.error), number(error.count));
    }
    add_pools(set, resources.pools, labels);
}

} // namespace memtrace
