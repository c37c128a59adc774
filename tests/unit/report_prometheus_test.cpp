// The metrics of a report: what they say, that there is a bounded number of them, and that no name can break them.
#include "report/prometheus.hpp"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "report/top_sites.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

std::string metrics_of(const Publication& publication) {
    std::ostringstream out;
    render_metrics(publication, out);
    return out.str();
}

std::string metrics_of(const Report& report) {
    return metrics_of(Publication{{report}, {}});
}

/// The value of a series, as it is written; "absent" where there is none.
std::string value_of(const std::string& metrics, const std::string& series) {
    std::istringstream lines(metrics);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(series + ' ')) {
            return line.substr(series.size() + 1);
        }
    }
    return "absent";
}

std::size_t series_in(const Publication& publication) {
    std::size_t count = 0;
    for (const auto& family : metric_families(publication)) {
        count += family.metric.size();
    }
    return count;
}

constexpr const char* kProcess = "pid=\"1234\",comm=\"lightning\"";

std::string of(const std::string& name, const std::string& more = "") {
    return name + '{' + kProcess + (more.empty() ? "" : "," + more) + '}';
}

std::string site_series(const std::string& name, const std::string& id) {
    return of(name, "site=\"" + id + "\",function=\"open_" + id + "\",allocator=\"libc\"");
}

TEST(Metrics, OfTheProcess) {
    const auto metrics = metrics_of(test::sample_report());
    EXPECT_EQ(value_of(metrics, of("memtrace_live_bytes")), "7340032");
    EXPECT_EQ(value_of(metrics, of("memtrace_live_objects")), "3100");
    EXPECT_EQ(value_of(metrics, of("memtrace_allocations_total")), "5000");
    EXPECT_EQ(value_of(metrics, of("memtrace_freed_bytes_total")), "2097152");
    EXPECT_EQ(value_of(metrics, of("memtrace_process_resident_memory_bytes")), "125829120");
    EXPECT_EQ(value_of(metrics, of("memtrace_verdict", "class=\"leak\"")), "1");
    EXPECT_EQ(value_of(metrics, of("memtrace_verdict", "class=\"healthy\"")), "0");
    EXPECT_EQ(value_of(metrics, of("memtrace_leak_bytes_per_second")), "204800");
    EXPECT_EQ(value_of(metrics, of("memtrace_sites", "verdict=\"definite\"")), "1");
    EXPECT_EQ(value_of(metrics, "memtrace_processes"), "1");
    EXPECT_EQ(value_of(metrics, "memtrace_processes_unlisted"), "0");
}

TEST(Metrics, OfTheTracing) {
    auto report = test::sample_report();
    report.coverage.mode = "sampled";
    report.coverage.sample_interval_bytes = 65536;
    report.coverage.lost = {{"live_full", 7}};
    report.coverage.overhead.budget = 0.05;
    const auto metrics = metrics_of(report);
    EXPECT_EQ(value_of(metrics, of("memtrace_coverage_mode", "mode=\"sampled\"")), "1");
    EXPECT_EQ(value_of(metrics, of("memtrace_coverage_mode", "mode=\"exact\"")), "0");
    EXPECT_EQ(value_of(metrics, of("memtrace_sample_interval_bytes")), "65536");
    EXPECT_EQ(value_of(metrics, of("memtrace_lost_total", "counter=\"live_full\"")), "7");
    EXPECT_EQ(value_of(metrics, of("memtrace_lost_total", "counter=\"events_lost\"")), "0") << "an alert wants to see it rise";
    EXPECT_DOUBLE_EQ(std::stod(value_of(metrics, of("memtrace_overhead_budget_ratio"))), 0.05);
    EXPECT_EQ(value_of(metrics_of(test::sample_report()), of("memtrace_overhead_budget_ratio")), "absent") << "none is kept";
}

TEST(Metrics, OfTheCollectorItself) {
    Publication publication;
    publication.cost.cpu_s = 1.5;
    publication.cost.ticks.add(0.002);
    publication.cost.ticks.add(0.5);
    publication.cost.ticks.add(10);
    const auto metrics = metrics_of(publication);
    EXPECT_EQ(value_of(metrics, "memtrace_collector_cpu_seconds_total"), "1.5");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_tick_duration_seconds_count"), "3");
    EXPECT_DOUBLE_EQ(std::stod(value_of(metrics, "memtrace_collector_tick_duration_seconds_sum")), 10.502);
    EXPECT_EQ(value_of(metrics, "memtrace_collector_tick_duration_seconds_bucket{le=\"1\"}"), "2");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_tick_duration_seconds_bucket{le=\"+Inf\"}"), "3");
}

TEST(Metrics, OfTheBudgetForTheCollector) {
    auto report = test::sample_report();
    EXPECT_EQ(value_of(metrics_of(report), "memtrace_collector_gives_way"), "absent") << "an old report does not tell";
    report.coverage.collector = {0.5, 0.25, 1, 1024, 20, 2, 80, 300, 0, 0, ""};
    EXPECT_EQ(value_of(metrics_of(report), "memtrace_collector_gives_way"), "0");
    report.coverage.collector->reason = "too dear";
    const auto metrics = metrics_of(report);
    EXPECT_EQ(value_of(metrics, "memtrace_collector_gives_way"), "1");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_cpu_ratio"), "0.5");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_cpu_budget_ratio"), "0.25");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_memory_budget_bytes"), "1024");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_report_interval_seconds"), "20");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_ages_interval_seconds"), "80");
    EXPECT_EQ(value_of(metrics, "memtrace_collector_sites_listed"), "300");
}

TEST(Metrics, OfAlertsAndWhoIsToldOfThem) {
    auto report = test::sample_report();
    Alert alert;
    alert.name = "leak";
    alert.severity = AlertSeverity::critical;
    alert.state = AlertState::firing;
    report.alerts = {alert, alert};
    Publication publication{{report}, {}};
    publication.cost.sinks = {{"ops", 7, 2, 3}};
    publication.cost.refused_alerts = 4;
    const auto metrics = metrics_of(publication);
    EXPECT_EQ(value_of(metrics, of("memtrace_alerts", "alert=\"leak\",severity=\"critical\",state=\"firing\"")), "2");
    EXPECT_EQ(value_of(metrics, "memtrace_alert_messages_total{sink=\"ops\"}"), "7");
    EXPECT_EQ(value_of(metrics, "memtrace_alert_messages_lost_total{sink=\"ops\"}"), "2");
    EXPECT_EQ(value_of(metrics, "memtrace_alert_message_failures_total{sink=\"ops\"}"), "3");
    EXPECT_EQ(value_of(metrics, "memtrace_alerts_refused_total"), "4");
}

TEST(Metrics, SitesThatAreNotListedAreAmongTheOthers) {
    auto report = test::large_report(1'000, 1);
    report.totals.other_sites = 7;
    report.totals.other_live_bytes = 1'000'000;
    const auto with = metrics_of(report);
    report.totals.other_live_bytes = 0;
    const auto without = metrics_of(report);
    const auto other = of("memtrace_site_live_bytes", "site=\"other\",function=\"other\",allocator=\"other\"");
    EXPECT_NE(value_of(without, other), "absent") << without.substr(0, 2'000);
    EXPECT_EQ(std::stod(value_of(with, other)) - std::stod(value_of(without, other)), 1'000'000);
}

TEST(Metrics, OfSitesAndTheRestOfThem) {
    auto report = test::large_report(1'000, 1);
    report.sites[900].verdict = "probable"; // small, and what matters
    report.sites[900].growth_bytes_per_s = 100;
    std::uint64_t live = 0;
    for (const auto& site : report.sites) {
        live += site.live_bytes;
    }
    std::uint64_t shown = 0;
    std::set<std::string> ids;
    for (const auto& family : metric_families({{report}, {}})) {
        for (const auto& metric : family.metric) {
            if (family.name == "memtrace_site_live_bytes") {
                shown += static_cast<std::uint64_t>(metric.gauge.value);
                ids.insert(metric.label[2].value);
            }
        }
    }
    EXPECT_EQ(ids.size(), kMetricSites + 1);
    EXPECT_TRUE(ids.contains("900"));
    EXPECT_TRUE(ids.contains("other"));
    EXPECT_EQ(shown, live);
}

TEST(Metrics, VerdictIsNoLabelOfAFigure) {
    auto before = test::sample_report();
    before.sites[1].verdict = "suspect";
    const auto series = site_series("memtrace_site_live_bytes", "00000000000000aa");
    EXPECT_EQ(value_of(metrics_of(before), series), "3145728");
    EXPECT_EQ(value_of(metrics_of(test::sample_report()), series), "3145728") << "the series goes on when the verdict changes";
}

TEST(Metrics, SeveralSitesOfOneIdAreOneSeries) {
    auto report = test::sample_report();
    report.sites[1] = report.sites[0];
    const auto metrics = metrics_of(report);
    EXPECT_EQ(test::occurrences(metrics, "memtrace_site_live_bytes{"), 2U) << "one, and the rest";
    EXPECT_EQ(value_of(metrics, of("memtrace_site_live_bytes", "site=\"other\",function=\"other\",allocator=\"other\"")),
              "4194304");
}

TEST(Metrics, InnermostNamedFrameNamesTheSite) {
    auto report = test::sample_report();
    report.sites[0].stack[0].function.clear();
    EXPECT_TRUE(test::contains(metrics_of(report), "site=\"00000000000000bb\",function=\"main\""));
    report.sites[0].stack[1].function.clear();
    EXPECT_TRUE(test::contains(metrics_of(report), "site=\"00000000000000bb\",function=\"[lightning+0x1234]\""));
}

TEST(Metrics, HostileNamesStayInTheirLabel) {
    auto report = test::sample_report();
    report.process.comm = "a\"} 1\nevil_metric{x=\"\\";
    report.sites[0].stack[0].function = "broken \xff utf-8 \x1b[31m" + std::string(100'000, 'x');
    const auto metrics = metrics_of(report);
    EXPECT_FALSE(test::contains(metrics, "\nevil_metric"));
    EXPECT_TRUE(test::contains(metrics, R"(comm="a\"} 1?evil_metric{x=\"\\")")) << metrics.substr(0, 2'000);
    EXPECT_FALSE(test::contains(metrics, "\xff"));
    EXPECT_FALSE(test::contains(metrics, std::string(kMetricLabelBytes, 'x')));
}

TEST(Metrics, NumberOfSeriesIsBounded) {
    auto report = test::large_report(5'000, 1);
    for (int i = 0; i < 5'000; ++i) {
        report.references.followed = true;
        report.resources.kinds.push_back({"kind" + std::to_string(i), 1, 0, 1, 1, 0, 0, 0, 0});
        ReportPool pool;
        pool.name = "pool" + std::to_string(i);
        report.resources.pools.push_back(pool);
        report.pages.sources = {"pages"};
        ReportPageSite page;
        page.id = std::to_string(i);
        report.pages.sites.push_back(page);
    }
    EXPECT_LT(series_in({{report}, {}}), 1'200U);
    Publication many;
    for (int pid = 1; pid <= 2'000; ++pid) {
        auto next = test::sample_report();
        next.process.pid = pid;
        many.reports.push_back(next);
    }
    EXPECT_LT(series_in(many), kMetricProcesses * 150);
    EXPECT_EQ(value_of(metrics_of(many), "memtrace_processes_unlisted"), "1500");
}

TEST(Metrics, AfterAnExecTheNewProgramCounts) {
    auto before = test::sample_report();
    before.process.state = "exec";
    auto after = test::sample_report();
    after.totals.live_bytes = 5;
    const auto metrics = metrics_of(Publication{{before, after}, {}});
    EXPECT_EQ(value_of(metrics, of("memtrace_live_bytes")), "5");
    EXPECT_EQ(value_of(metrics, "memtrace_processes"), "1");
}

TEST(Metrics, WhatTheProgramTells) {
    auto report = test::sample_report();
    EXPECT_FALSE(test::contains(metrics_of(report), "memtrace_resources")) << "it tells of none";
    report.references.followed = true;
    report.references.objects = 9;
    ReportCycle cycle;
    cycle.count = 3;
    cycle.total_bytes = 96;
    report.references.cycles = {cycle};
    report.references.other_cycles = 2;
    ReportReferenceError error;
    error.kind = "double_release";
    error.verdict = "definite";
    error.count = 4;
    report.references.errors = {error};
    report.resources.kinds = {{"cursor", 5, 2, 640, 10, 5, 0.25, 2, 1}};
    ReportPool pool;
    pool.name = "workers";
    pool.id = "0x10";
    pool.in_use = 8;
    pool.limit = 8;
    pool.waits = 21;
    pool.verdict = "definite";
    report.resources.pools = {pool};
    const auto metrics = metrics_of(report);
    EXPECT_EQ(value_of(metrics, of("memtrace_reference_objects")), "9");
    EXPECT_EQ(value_of(metrics, of("memtrace_reference_cycles")), "5");
    EXPECT_EQ(value_of(metrics, of("memtrace_reference_cycle_bytes")), "96");
    EXPECT_EQ(value_of(metrics, of("memtrace_reference_errors", "kind=\"double_release\",verdict=\"definite\"")), "4");
    EXPECT_EQ(value_of(metrics, of("memtrace_resources", "kind=\"cursor\"")), "5");
    EXPECT_EQ(value_of(metrics, of("memtrace_resources_leaked", "kind=\"cursor\"")), "2");
    EXPECT_EQ(value_of(metrics, of("memtrace_resource_lifetime_seconds", "kind=\"cursor\",percentile=\"50\"")), "0.25");
    EXPECT_EQ(value_of(metrics, of("memtrace_pool_in_use", "pool=\"workers\",address=\"0x10\"")), "8");
    EXPECT_EQ(value_of(metrics, of("memtrace_pool_waits_total", "pool=\"workers\",address=\"0x10\"")), "21");
    EXPECT_EQ(value_of(metrics, of("memtrace_pool_exhausted", "pool=\"workers\",address=\"0x10\"")), "1");
}

TEST(TopSites, LeaksThenSuspectsForHalfTheRestThenTheLargest) {
    auto report = test::large_report(10, 1); // the first is the largest
    report.sites[9].verdict = "probable";
    report.sites[9].growth_bytes_per_s = 1;
    report.sites[8].verdict = "definite";
    report.sites[8].growth_bytes_per_s = 2;
    for (const std::size_t i : {5, 6, 7}) {
        report.sites[i].verdict = "suspect";
        report.sites[i].growth_bytes_per_s = static_cast<double>(i);
    }
    std::string chosen;
    for (const auto* site : top_sites(report, 6)) {
        chosen += site->id;
    }
    EXPECT_EQ(chosen, "897601");
    EXPECT_EQ(top_sites(report, 1).front()->id, "8");
    EXPECT_EQ(top_sites(report, 100).size(), 10U);
}

} // namespace
} // namespace memtrace
