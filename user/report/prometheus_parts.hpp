// What the parts of prometheus.cpp share. Internal to it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <prometheus/metric_family.h>

#include "report/report.hpp"

namespace memtrace {

/// A metric, stated once. Lives for ever.
struct MetricDefinition {
    const char* name;
    prometheus::MetricType type;
    const char* help;
};

constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kCounter = prometheus::MetricType::Counter;

using MetricLabels = std::vector<prometheus::ClientMetric::Label>;

/// `labels` and one more, its value made printable (Prometheus takes valid UTF-8 only) and cut.
MetricLabels with_label(MetricLabels labels, const char* name, const std::string& value);

/// Metrics by family, in order of first appearance. Values with the same labels are added up: names that a program chose may come
/// twice, or be alike once they are cut, and one series given twice is an error to Prometheus.
class MetricSet {
public:
    void add(const MetricDefinition& metric, const MetricLabels& labels, double value);
    void add_histogram(const MetricDefinition& metric, prometheus::ClientMetric::Histogram histogram);
    [[nodiscard]] std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

private:
    struct Place {
        std::size_t family;
        std::map<MetricLabels, std::size_t> metrics;
    };
    Place& place_of(const MetricDefinition& metric);

    std::vector<prometheus::MetricFamily> families_;
    std::map<const MetricDefinition*, Place> places_;
};

/// One series for each of `states` and for `current`: 1 for that, 0 for the others.
void add_state(MetricSet& set, const MetricDefinition& metric, const MetricLabels& labels, const char* name,
               const std::vector<std::string>& states, const std::string& current);

/// What the program tells of itself (references, resources, pools), what it has of the kernel, and alerts. `labels` are those of the process.
void add_told(MetricSet& set, const Report& report, const MetricLabels& labels);

} // namespace memtrace
