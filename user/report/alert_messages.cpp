#include "report/alert_messages.hpp"

#include "base/clock.hpp"
#include "report/format.hpp"
#include "report/json_parts.hpp"

namespace memtrace {

namespace {

std::string label(const Alert& alert, const char* name) {
    const auto found = alert.labels.find(name);
    return found == alert.labels.end() ? "" : found->second;
}

} // namespace

std::string alert_message(const Report& report, const std::string& host, const std::vector<Alert>& alerts) {
    const auto& process = report.process;
    Json list = Json::array();
    for (const auto& alert : alerts) {
        list.push_back(alert_json(alert));
    }
    const Json message = {
        {"schema", "memtrace.alerts/1"},
        {"time", report.time},
        {"host", host},
        {"process", {{"pid", process.pid}, {"start_time", process.start_time}, {"comm", process.comm}, {"exe", process.exe}}},
        {"alerts", list}};
    return dump_json(message) + "\n";
}

std::string alertmanager_message(const Report& report, const std::string& host, const std::vector<Alert>& alerts,
                                 std::uint64_t until_unix_ns) {
    Json list = Json::array();
    for (const auto& alert : alerts) {
        auto labels = alert.labels;
        labels.erase("verdict"); // labels are the identity of an alert: what changes is told beside it
        labels["alertname"] = alert.name;
        labels["severity"] = alert_severity_name(alert.severity);
        labels["instance"] = host;
        labels["exe"] = report.process.exe;
        Json one = {{"labels", object_json(labels)},
                    {"annotations",
                     {{"summary", alert.text}, {"verdict", label(alert, "verdict")}, {"value", std::to_string(alert.value)}}}};
        const bool resolved = alert.state == AlertState::resolved;
        if (!resolved) {
            one["startsAt"] = rfc3339(alert.since_unix_ns);
        }
        one["endsAt"] = rfc3339(resolved ? alert.since_unix_ns : until_unix_ns);
        list.push_back(one);
    }
    return dump_json(list) + "\n";
}

int log_priority(const Alert& alert) {
    constexpr int kPriorities[]{6, 4, 2, 1};
    return alert.state == AlertState::resolved ? 5 : kPriorities[static_cast<std::size_t>(alert.severity)];
}

std::string alert_line(const Alert& alert) {
    return printable(std::string(alert_state_name(alert.state)) + " " + alert.name + " (" + alert_severity_name(alert.severity) +
                     ") of " + label(alert, "comm") + " (pid " + label(alert, "pid") + "): " + alert.text);
}

} // namespace memtrace
