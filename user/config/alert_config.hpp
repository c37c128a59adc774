// What the configuration says of alerts: rules, silences, who is told and what is done. Plain structs. scripts/alerts/alerts.toml describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/alerts.hpp"
#include "base/result.hpp"

namespace memtrace {

enum class SinkType : std::uint8_t { log, webhook, alertmanager, command };

/// Who is told.
struct SinkConfig {
    std::string name;
    SinkType type = SinkType::log;
    std::string url;                              ///< webhook; alertmanager: without its path
    std::string header_file;                      ///< of these: a file of HTTP headers, for a token; empty: none
    std::vector<std::string> command;             ///< program and arguments
    AlertSeverity severity = AlertSeverity::info; ///< this, and what is worse
    AlertLabels match{};                          ///< as a rule's
    std::uint64_t timeout_ns = 10'000'000'000;    ///< for one attempt
    std::uint64_t repeat_ns = 60'000'000'000;     ///< alertmanager: what fires is told again
    bool operator==(const SinkConfig&) const = default;
};

enum class ActionType : std::uint8_t { cleanup, signal, command, snapshot, reclaim };

/// What is done when an alert fires.
struct ActionConfig {
    std::string name;
    ActionType type = ActionType::snapshot;
    AlertLabels match{};              ///< labels of the alert, with `alert` and `severity` among them; at least one
    unsigned level = 2;               ///< cleanup: 1 low, 2 high, 3 critical
    int signal = 0;                   ///< signal
    std::vector<std::string> command; ///< command
    std::uint64_t bytes = 0;          ///< reclaim
    std::uint64_t timeout_ns = 10'000'000'000;
    std::uint64_t cooldown_ns = 600'000'000'000;
    bool dry_run = false; ///< says what it would do
    bool operator==(const ActionConfig&) const = default;
};
const char* action_type_name(ActionType type);

struct AlertConfig {
    std::vector<AlertRule> rules = default_alert_rules();
    std::vector<AlertSilence> silences;
    std::vector<SinkConfig> sinks;
    std::vector<ActionConfig> actions;
    std::string spool; ///< directory for what could not be told yet; empty: it is kept in memory only
    bool operator==(const AlertConfig&) const = default;
};

/// Of a configuration file's `text`; nothing where it does not speak of alerts. What it says of other things is passed over. `name` is what
/// messages call the file.
Result<std::optional<AlertConfig>> parse_alert_config(std::string_view text, const std::string& name);

/// Of the --config files, one of which may speak of alerts; the defaults where none does.
Result<AlertConfig> read_alert_config(const std::vector<std::string>& files);

} // namespace memtrace
