#include "report/text_alerts.hpp"

#include <algorithm>
#include <ostream>

#include "base/clock.hpp"
#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMostAlerts = 3;
constexpr std::size_t kWidth = 110;

} // namespace

void write_alert_rows(std::ostream& out, const std::vector<Alert>& alerts, std::uint64_t now_unix_ns, std::size_t indent,
                      const Paint& paint) {
    std::vector<const Alert*> firing;
    for (const auto& alert : alerts) {
        if (alert.state == AlertState::firing) {
            firing.push_back(&alert);
        }
    }
    std::ranges::stable_sort(firing, [](const Alert* a, const Alert* b) { return a->severity > b->severity; });
    for (std::size_t i = 0; i < std::min(firing.size(), kMostAlerts); ++i) {
        const auto& alert = *firing[i];
        const auto colour = alert.severity >= AlertSeverity::critical ? Colour::red : Colour::yellow;
        const auto head = std::string(alert_severity_name(alert.severity)) + ": " + printable(alert.name);
        std::string label = "alert";
        label.resize(indent, ' ');
        const auto rest =
            " for " + human_duration(seconds_between(alert.since_unix_ns, now_unix_ns)) + ": " + printable(alert.text);
        out << label << paint(colour, head) << wrapped(rest, indent + head.size(), indent, kWidth) << '\n';
    }
    if (firing.size() > kMostAlerts) {
        out << std::string(indent, ' ') << "and " << firing.size() - kMostAlerts << " more alerts\n";
    }
}

} // namespace memtrace
