// Alerts in the snapshot JSON.
#include "base/clock.hpp"
#include "report/json_parse_parts.hpp"
#include "report/json_parts.hpp"

namespace memtrace {

Json alert_json(const Alert& alert) {
    return {{"name", alert.name},
            {"severity", alert_severity_name(alert.severity)},
            {"state", alert_state_name(alert.state)},
            {"since", rfc3339(alert.since_unix_ns)},
            {"value", finite(alert.value)},
            {"threshold", finite(alert.threshold)},
            {"labels", object_json(alert.labels)},
            {"text", alert.text}};
}

std::vector<Alert> read_alerts(const JsonFields& root, std::string& error) {
    return read_array<Alert>(root, "alerts", error, [](const JsonFields& fields, std::string&) {
        Alert alert;
        std::string severity;
        std::string state;
        std::string since;
        fields.string("name", alert.name);
        fields.string("severity", severity);
        fields.string("state", state);
        fields.string("since", since);
        fields.number("value", alert.value);
        fields.number("threshold", alert.threshold);
        fields.strings("labels", alert.labels);
        fields.string("text", alert.text);
        if (!parse_alert_severity(severity, alert.severity)) {
            fields.complain("severity", "is none that is known");
        }
        if (!parse_alert_state(state, alert.state)) {
            fields.complain("state", "is none that is known");
        }
        alert.since_unix_ns = parse_rfc3339(since);
        return alert;
    });
}

} // namespace memtrace
