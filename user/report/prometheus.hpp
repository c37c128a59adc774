// Reports as Prometheus metrics: a pure function, any thread. Which there are: scripts/prometheus/README.md.
//
// The number of series is bounded whatever the program does: of each process the top sites and an "other", and so many kinds of
// resources and pools; of the processes those that hold most. Figures that may fall are gauges. A counter has no "other": it would fall
// when a site moves from there to the top, which a reader takes for a restart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <prometheus/metric_family.h>

#include "report/report.hpp"

namespace memtrace {

constexpr std::size_t kMetricProcesses = 500;
constexpr std::size_t kMetricSites = 20;         ///< of one process ...
constexpr std::size_t kMetricSitesOfAll = 2'000; ///< ... fewer where there are many processes, but at least kFewestMetricSites
constexpr std::size_t kFewestMetricSites = 3;
constexpr std::size_t kMetricKinds = 50;       ///< kinds of resources, and pools, of one process
constexpr std::size_t kMetricLabelBytes = 200; ///< a longer text is cut in its middle

/// How long ticks took.
struct TickDurations {
    static constexpr std::array<double, 8> kBounds{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3}; ///< seconds
    std::array<std::uint64_t, kBounds.size() + 1> counts{}; ///< the last: longer than all bounds
    double sum_s = 0;
    void add(double seconds);
};

/// What became of the profiles of --push-profiles, since the start.
struct PushedProfiles {
    std::uint64_t pushed = 0;
    std::uint64_t lost = 0;
    std::uint64_t failures = 0; ///< attempts
};

/// What became of the messages for a sink of alerts, since it is there.
struct SinkMessages {
    std::string sink;
    std::uint64_t taken = 0;
    std::uint64_t lost = 0;
    std::uint64_t failures = 0; ///< attempts
};

/// What memtrace itself takes.
struct CollectorCost {
    double cpu_s = 0;               ///< since its start, user and system
    std::uint64_t rss_bytes = 0;    ///< of its process
    std::uint64_t kernel_bytes = 0; ///< of its maps in the kernel
    TickDurations ticks;
    std::optional<PushedProfiles> profiles; ///< none are pushed
    std::vector<SinkMessages> sinks;        ///< but the log
    std::uint64_t refused_alerts = 0;
};

/// All that readers get to see at one moment: swapped whole, never changed.
struct Publication {
    std::vector<Report> reports; ///< in order of appearance; of a pid the last one counts
    CollectorCost cost;
};

std::vector<prometheus::MetricFamily> metric_families(const Publication& publication);

/// The text format of Prometheus, version 0.0.4.
void render_metrics(const Publication& publication, std::ostream& out);

} // namespace memtrace
