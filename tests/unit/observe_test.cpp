// What alerts see of a report, and what sinks are told.
#include "report/observe.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

#include "report/alert_messages.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

std::vector<Observation> of(const Report& report, AlertSubject subject) {
    auto found = observe(report);
    std::erase_if(found, [&](const Observation& observation) { return observation.subject != subject; });
    return found;
}

TEST(Observe, OfAProcessOneEach) {
    auto report = test::sample_report();
    report.coverage.lost_now = 3;
    report.coverage.overhead.ratio = 0.04;
    EXPECT_EQ(of(report, AlertSubject::live_bytes).at(0).value, static_cast<double>(report.totals.live_bytes));
    EXPECT_EQ(of(report, AlertSubject::loss).at(0).value, 3);
    EXPECT_EQ(of(report, AlertSubject::overhead).at(0).value, 0.04);
    EXPECT_EQ(of(report, AlertSubject::memory).at(0).labels.at("class"), report.verdict.class_name);
    EXPECT_TRUE(of(report, AlertSubject::time_to_limit).empty()) << "it does not grow";
    report.forecast = {"cgroup", 1 << 30, 1 << 29, 1024, 3600, {1800, std::numeric_limits<double>::infinity()}};
    EXPECT_EQ(of(report, AlertSubject::time_to_limit).at(0).value, 3600);
}

TEST(Observe, SitesThatLeakOrGrow) {
    auto report = test::sample_report();
    report.sites.clear();
    for (std::size_t i = 0; i < 1'500; ++i) {
        auto site = test::site(std::to_string(i), 1'000'000 - i, 1);
        site.growth_bytes_per_s = i % 2 == 0 ? 1 : 0;
        site.verdict = i == 1'400 ? "probable" : "stable";
        report.sites.push_back(site);
    }
    const auto rates = of(report, AlertSubject::site_rate);
    EXPECT_EQ(rates.size(), 501U) << "of the thousand largest those that grow, and the leak";
    const auto verdicts = of(report, AlertSubject::site);
    const auto leak = std::find_if(verdicts.begin(), verdicts.end(), [](const auto& site) { return site.value != 0; });
    ASSERT_NE(leak, verdicts.end());
    EXPECT_EQ(leak->key, "1400");
    EXPECT_EQ(leak->labels.at("function"), "open_1400");
    EXPECT_EQ(of(report, AlertSubject::leak_rate).at(0).value, 1);
}

TEST(Observe, OfAKindTheOldestAndTheWorst) {
    Report report;
    report.resources.kinds.push_back({"cursor", 3, 1, 0, 10, 7, 1, 2, 0});
    for (const auto& [id, age, verdict] :
         {std::tuple("a", 5.0, "suspect"), std::tuple("b", 9.0, "stable"), std::tuple("c", 1.0, "definite")}) {
        ReportResource resource;
        resource.kind = "cursor";
        resource.id = id;
        resource.age_s = age;
        resource.verdict = verdict;
        report.resources.listed.push_back(resource);
    }
    EXPECT_EQ(of(report, AlertSubject::resource_age).at(0).value, 9);
    EXPECT_EQ(of(report, AlertSubject::resource).at(0).value, 3);
    EXPECT_EQ(of(report, AlertSubject::resource_count).at(0).value, 3);
}

Alert firing() {
    Alert alert;
    alert.name = "leak";
    alert.severity = AlertSeverity::critical;
    alert.state = AlertState::firing;
    alert.since_unix_ns = 1'700'000'000'000'000'000;
    alert.value = 3;
    alert.threshold = 2;
    alert.labels = {{"pid", "7"}, {"comm", "d\x1b[31mb"}, {"verdict", "definite"}};
    alert.text = "grows\xff";
    return alert;
}

TEST(AlertMessages, AreJsonWhateverTheTargetIsCalled) {
    auto report = test::sample_report();
    const auto message = nlohmann::json::parse(alert_message(report, "host", {firing()}));
    EXPECT_EQ(message["schema"], "memtrace.alerts/1");
    EXPECT_EQ(message["alerts"][0]["severity"], "critical");
    EXPECT_EQ(message["alerts"][0]["since"], "2023-11-14T22:13:20.000Z");
    EXPECT_EQ(alert_line(firing()), "firing leak (critical) of d?[31mb (pid 7): grows?");
}

TEST(AlertMessages, HavePrioritiesOfSyslog) {
    auto alert = firing();
    for (const auto& [severity, priority] : {std::pair(AlertSeverity::info, 6), std::pair(AlertSeverity::warning, 4),
                                             std::pair(AlertSeverity::critical, 2), std::pair(AlertSeverity::emergency, 1)}) {
        alert.severity = severity;
        EXPECT_EQ(log_priority(alert), priority);
    }
    alert.state = AlertState::resolved;
    EXPECT_EQ(log_priority(alert), 5) << "whatever it was";
}

TEST(AlertMessages, AlertmanagerKnowsAnAlertByItsLabels) {
    auto report = test::sample_report();
    auto over = firing();
    over.state = AlertState::resolved;
    const auto body = nlohmann::json::parse(alertmanager_message(report, "host", {firing(), over}, 1'700'000'060'000'000'000));
    EXPECT_EQ(body[0]["labels"], body[1]["labels"]);
    EXPECT_EQ(body[0]["labels"]["alertname"], "leak");
    EXPECT_FALSE(body[0]["labels"].contains("verdict"));
    EXPECT_EQ(body[0]["startsAt"], "2023-11-14T22:13:20.000Z");
    EXPECT_EQ(body[0]["endsAt"], "2023-11-14T22:14:20.000Z");
    EXPECT_EQ(body[1]["endsAt"], "2023-11-14T22:13:20.000Z");
}

} // namespace
} // namespace memtrace
