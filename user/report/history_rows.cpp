// Report -> what a history keeps of it, and back.
#include <algorithm>
#include <numeric>

#include "analyze/verdict.hpp"
#include "base/clock.hpp"
#include "report/format.hpp"
#include "report/history.hpp"
#include "report/json_parse_parts.hpp"
#include "report/json_parts.hpp"
#include "report/top_sites.hpp"

namespace memtrace {

namespace {

std::int64_t to_ms(std::uint64_t unix_ns) {
    return static_cast<std::int64_t>(unix_ns / kNanosPerMilli);
}

HistorySite site_row(const ReportSite& site, std::int64_t at_ms) {
    return {site.id,
            site.allocator,
            site.function,
            site.stack,
            site.stack_truncated,
            {{at_ms, site.live_bytes, site.live_objects, site.allocs, site.frees, site.growth_bytes_per_s, site.verdict}}};
}

HistoryKind kind_row(const ReportResources& resources, const ReportResourceKind& kind, std::int64_t at_ms) {
    HistoryKindSample sample{at_ms, kind.live, kind.leaked, kind.bytes, 0, ""};
    for (const auto& site : resources.sites) {
        if (site.kind == kind.kind && verdict_rank(site.verdict) > 0) {
            sample.growth_per_s += site.growth_per_s;
            sample.verdict = verdict_rank(site.verdict) > verdict_rank(sample.verdict) ? site.verdict : sample.verdict;
        }
    }
    return {kind.kind, {sample}};
}

/// Those that leak, those that grow and those of which there are most, where not all can be kept.
std::vector<HistoryKind> kind_rows(const ReportResources& resources, std::int64_t at_ms) {
    std::vector<HistoryKind> rows;
    for (const auto& kind : resources.kinds) {
        if (kind.live > 0 || kind.acquired > 0) {
            rows.push_back(kind_row(resources, kind, at_ms));
        }
    }
    std::stable_sort(rows.begin(), rows.end(), [](const HistoryKind& a, const HistoryKind& b) {
        const auto key = [](const HistoryKind& row) {
            const auto& sample = row.samples.front();
            return std::tuple(sample.leaked, verdict_rank(sample.verdict), sample.live);
        };
        return key(a) > key(b);
    });
    rows.resize(std::min(rows.size(), kHistoryKinds));
    return rows;
}

/// What tells one alert from another of its rule: its labels, but for a verdict, which may become more certain while it fires.
std::string alert_key(const Alert& alert) {
    std::string key = alert.name;
    for (const auto& [name, value] : alert.labels) {
        if (name != "verdict") {
            key.append(1, '\0').append(name).append(1, '\0').append(value);
        }
    }
    return key;
}

HistoryAlert alert_row(const Alert& alert, std::int64_t at_ms) {
    return {at_ms,
            alert.name,
            alert_severity_name(alert.severity),
            alert_state_name(alert.state),
            to_ms(alert.since_unix_ns),
            alert.value,
            alert.threshold,
            dump_json(object_json(alert.labels)),
            alert.text};
}

} // namespace

HistoryProcess history_process(const Report& report) {
    const auto& from = report.process;
    HistoryProcess process;
    process.pid = from.pid;
    process.start_ms = to_ms(parse_rfc3339(from.start_time));
    process.comm = from.comm;
    process.exe = from.exe;
    for (const auto& word : from.cmdline) {
        process.cmdline += (process.cmdline.empty() ? "" : " ") + word;
    }
    process.state = from.state;
    process.first_ms = process.last_ms = to_ms(report.time_unix_ns);
    return process;
}

HistoryRows history_rows(const Report& report) {
    HistoryRows rows;
    rows.process = history_process(report);
    const auto at_ms = rows.process.last_ms;
    const auto& lost = report.coverage.lost;
    rows.sample = {
        at_ms,
        report.totals.live_bytes,
        report.totals.live_objects,
        report.process.rss_bytes,
        leak_rate(report),
        report.coverage.overhead.ratio,
        std::accumulate(lost.begin(), lost.end(), std::uint64_t{0},
                        [](std::uint64_t sum, const auto& counter) { return saturating_add(sum, counter.second); }),
        report.resources.descriptors,
        report.verdict.class_name,
        report.coverage.mode,
    };
    rows.verdict_text = report.verdict.text;
    for (const auto* site : top_sites(report, kHistorySites)) {
        if (site->live_bytes > 0 || verdict_rank(site->verdict) > 0) {
            rows.sites.push_back(site_row(*site, at_ms));
        }
    }
    rows.kinds = kind_rows(report.resources, at_ms);
    return rows;
}

std::vector<HistoryAlert> history_alert_changes(HistoryAlerts& known, const Report& report) {
    const auto at_ms = to_ms(report.time_unix_ns);
    HistoryAlerts now;
    for (const auto& alert : report.alerts) {
        if (alert.state == AlertState::firing || alert.state == AlertState::silenced) {
            now.emplace(alert_key(alert), alert_row(alert, at_ms));
        }
    }
    std::vector<HistoryAlert> changes;
    for (const auto& [key, alert] : now) {
        const auto before = known.find(key);
        if (before == known.end() || before->second.state != alert.state) {
            changes.push_back(alert);
        }
    }
    for (const auto& [key, alert] : known) {
        if (!now.contains(key)) {
            changes.push_back(alert);
            changes.back().state = alert_state_name(AlertState::resolved);
            changes.back().at_ms = changes.back().since_ms = at_ms;
        }
    }
    known = std::move(now);
    return changes;
}

std::string history_stack_json(const std::vector<ReportFrame>& stack) {
    std::string text;
    append_stack(text, "stack", stack);
    constexpr std::string_view kKey = R"(,"stack":)";
    return text.substr(kKey.size());
}

std::vector<ReportFrame> history_stack(const std::string& json) {
    std::string error;
    auto object = nlohmann::json::object();
    object["stack"] = nlohmann::json::parse(json, nullptr, false); // what is no JSON is no array either
    auto stack = read_stack(JsonFields(object, "site", error), "stack", error);
    return error.empty() ? std::move(stack) : std::vector<ReportFrame>();
}

std::int64_t history_growth(const HistorySite& site) {
    return site.samples.empty() ? 0 : difference(site.samples.back().live_bytes, site.samples.front().live_bytes);
}

Report history_report(const HistoryProcess& process, const HistorySample& sample, const std::vector<HistorySite>& sites) {
    const auto to_ns = [](std::int64_t ms) { return static_cast<std::uint64_t>(std::max<std::int64_t>(ms, 0)) * kNanosPerMilli; };
    Report report;
    report.time_unix_ns = to_ns(sample.at_ms);
    report.time = rfc3339(report.time_unix_ns);
    report.process.pid = process.pid;
    report.process.start_time = rfc3339(to_ns(process.start_ms));
    report.process.comm = process.comm;
    report.process.exe = process.exe;
    report.process.rss_bytes = sample.rss_bytes;
    report.coverage.mode = sample.mode;
    report.totals.live_bytes = sample.live_bytes;
    report.totals.live_objects = sample.live_objects;
    report.verdict.class_name = sample.verdict;
    for (const auto& row : sites) {
        if (row.samples.empty()) {
            continue;
        }
        const auto& at = row.samples.back();
        ReportSite site;
        site.id = row.id;
        site.live_bytes = at.live_bytes;
        site.live_objects = at.live_objects;
        site.allocs = at.allocs;
        site.frees = at.frees;
        site.growth_bytes_per_s = at.growth_bytes_per_s;
        site.verdict = at.verdict;
        site.allocator = row.allocator;
        site.function = row.function;
        site.stack = row.stack;
        site.stack_truncated = row.stack_truncated;
        report.sites.push_back(std::move(site));
    }
    std::sort(report.sites.begin(), report.sites.end(), [](const ReportSite& a, const ReportSite& b) {
        return a.live_bytes != b.live_bytes ? a.live_bytes > b.live_bytes : a.id < b.id;
    });
    return report;
}

} // namespace memtrace
