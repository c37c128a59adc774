#include "config/alert_config.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>

#include "analyze/verdict.hpp"
#include "config/config_file.hpp"
#include "config/options.hpp"
#include "config/toml_table.hpp"

namespace memtrace {

namespace {

constexpr double kNanos = 1e9;
constexpr std::array kSinkTypes{"log", "webhook", "alertmanager", "command"};
constexpr std::array kActionTypes{"cleanup", "signal", "command", "snapshot", "reclaim"};

/// One of several words.
template <typename Names, typename Enum>
void read_word(TomlTable& table, const char* key, const Names& names, Enum& to) {
    std::string word;
    table.text(key, word);
    const auto found = std::find(names.begin(), names.end(), word);
    if (found != names.end()) {
        to = static_cast<Enum>(found - names.begin());
        return;
    }
    std::string known;
    for (const auto* name : names) {
        known += (known.empty() ? "" : ", ") + std::string(name);
    }
    table.complain(key, word.empty() ? "is missing (one of " + known + ")" : "is none of " + known);
}

void read_severity(TomlTable& table, AlertSeverity& to) {
    std::string word;
    table.text("severity", word);
    if (!word.empty() && !parse_alert_severity(word, to)) {
        table.complain("severity", "is none of info, warning, critical, emergency");
    }
}

/// A value in the subject's unit.
Result<double> parse_value(AlertSubject subject, const std::string& text) {
    using enum AlertSubject;
    switch (subject) {
    case site:
    case resource:
    case pool:
    case reference:
        return verdict_rank(text) != 0 ? Result<double>(verdict_rank(text)) : fail("is none of suspect, probable, definite");
    case time_to_limit:
    case resource_age: {
        const auto duration = parse_duration(text);
        return duration ? Result<double>(static_cast<double>(*duration) / kNanos) : fail("is no duration, such as \"10m\"");
    }
    case live_bytes:
    case rss_bytes:
    case leak_rate:
    case site_rate: {
        const auto size = parse_size(text);
        return size ? Result<double>(static_cast<double>(*size)) : fail("is no size, such as \"1MiB\"");
    }
    case pool_use:
    case overhead: {
        const auto share = parse_percent(text);
        return share ? Result<double>(*share) : fail("is no percentage, such as \"5%\"");
    }
    case resource_rate: {
        double rate = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
        const bool whole = error == std::errc() && end == text.data() + text.size();
        return whole && std::isfinite(rate) ? Result<double>(rate) : fail("is no number a second, such as 0.5");
    }
    case memory:
    case resource_count:
    case loss: {
        const auto count = parse_size(text);
        return count ? Result<double>(static_cast<double>(*count)) : fail("is no number");
    }
    }
    return fail("is no value");
}

void read_value(TomlTable& table, const char* key, AlertSubject subject, double& to) {
    if (const auto text = table.value(key)) {
        const auto value = parse_value(subject, *text);
        value ? void(to = *value) : table.complain(key, value.error().message);
    }
}

AlertRule read_rule(TomlTable& table) {
    AlertRule rule;
    std::string subject;
    table.text("name", rule.name);
    table.text("when", subject);
    if (rule.name.empty()) {
        table.complain("name", "is missing");
    }
    if (!parse_alert_subject(subject, rule.subject)) {
        table.complain("when", subject.empty() ? "is missing" : "is nothing that is observed: see alerts.toml");
    }
    rule.below = table.has("at_most");
    if (rule.below == table.has("at_least")) {
        table.complain("at_least", "or at_most: one of them says where it fires");
    }
    read_value(table, "at_least", rule.subject, rule.threshold);
    read_value(table, "at_most", rule.subject, rule.threshold);
    rule.clear = rule.threshold;
    read_value(table, "clear", rule.subject, rule.clear);
    if (rule.below ? rule.clear < rule.threshold : rule.clear > rule.threshold) {
        table.complain("clear", "lies on the wrong side of where it fires");
    }
    std::uint64_t duration = 0;
    table.duration("for", duration);
    rule.for_s = static_cast<double>(duration) / kNanos;
    duration = 300'000'000'000;
    table.duration("cooldown", duration);
    rule.cooldown_s = static_cast<double>(duration) / kNanos;
    read_severity(table, rule.severity);
    table.labels("match", rule.match);
    return rule;
}

AlertSilence read_silence(TomlTable& table) {
    AlertSilence silence;
    table.labels("match", silence.match);
    table.moment("until", silence.until_unix_ns);
    if (silence.match.empty()) {
        table.complain("match", "is missing: { alert = \"*\" } silences all");
    }
    return silence;
}

SinkConfig read_sink(TomlTable& table) {
    SinkConfig sink;
    table.text("name", sink.name);
    read_word(table, "type", kSinkTypes, sink.type);
    const bool http = sink.type == SinkType::webhook || sink.type == SinkType::alertmanager;
    if (http) {
        table.text("url", sink.url);
        table.text("header_file", sink.header_file);
        if (sink.url.rfind("http://", 0) != 0 && sink.url.rfind("https://", 0) != 0) {
            table.complain("url", "is missing, or is no http:// or https:// address");
        }
    }
    if (sink.type == SinkType::alertmanager) {
        table.duration("repeat", sink.repeat_ns);
    }
    if (sink.type == SinkType::command) {
        table.texts("command", sink.command);
        if (sink.command.empty()) {
            table.complain("command", "is missing: [\"program\", \"argument\"]");
        }
    }
    // It is part of file names.
    if (sink.name.empty() ||
        sink.name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != std::string::npos) {
        table.complain("name", "is missing, or has something in it beside letters, digits, - and _");
    }
    read_severity(table, sink.severity);
    table.labels("match", sink.match);
    table.duration("timeout", sink.timeout_ns);
    return sink;
}

/// "TERM", "SIGTERM", "15"; 0: none.
int parse_signal(std::string text) {
    if (text.rfind("SIG", 0) == 0) {
        text.erase(0, 3);
    }
    for (int number = 1; number < SIGRTMIN; ++number) {
        const char* const name = sigabbrev_np(number);
        if (text == std::to_string(number) || (name != nullptr && text == name)) {
            return number;
        }
    }
    return 0;
}

ActionConfig read_action(TomlTable& table) {
    constexpr std::array kLevels{"low", "high", "critical"};
    ActionConfig action;
    table.text("name", action.name);
    read_word(table, "do", kActionTypes, action.type);
    if (action.type == ActionType::cleanup && table.has("level")) {
        read_word(table, "level", kLevels, action.level);
        ++action.level;
    }
    if (action.type == ActionType::signal) {
        action.signal = parse_signal(table.value("signal").value_or(""));
        if (action.signal == 0) {
            table.complain("signal", "is missing, or is no signal, such as \"USR1\"");
        }
    }
    if (action.type == ActionType::command) {
        table.texts("command", action.command);
        if (action.command.empty()) {
            table.complain("command", "is missing: [\"program\", \"argument\"]");
        }
    }
    if (action.type == ActionType::reclaim) {
        const auto bytes = parse_size(table.value("bytes").value_or(""));
        action.bytes = bytes.value_or(0);
        if (action.bytes == 0) {
            table.complain("bytes", "is missing, or is no size, such as \"64MiB\"");
        }
    }
    table.labels("match", action.match);
    if (action.match.empty()) {
        table.complain("match", "is missing: which alerts, such as { alert = \"memory-ends-now\" }");
    }
    table.duration("timeout", action.timeout_ns);
    table.duration("cooldown", action.cooldown_ns);
    table.flag("dry_run", action.dry_run);
    if (action.name.empty()) {
        table.complain("name", "is missing");
    }
    return action;
}

/// All tables of an array, by `read`; names must differ.
template <typename T, typename Read>
Status read_all(const std::string& file, TomlTable& root, const char* key, std::vector<T>& to, const Read& read) {
    const auto* const array = root.tables(key);
    for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
        TomlTable table(file, *array->get(i)->as_table());
        auto value = read(table);
        if constexpr (requires { value.name; }) {
            if (std::any_of(to.begin(), to.end(), [&](const T& other) { return other.name == value.name; })) {
                table.complain("name", "is taken already");
            }
        }
        if (auto status = table.done(); !status) {
            return status;
        }
        to.push_back(std::move(value));
    }
    return {};
}

Result<AlertConfig> read_config(const std::string& name, const toml::table& document) {
    AlertConfig config;
    TomlTable root(name, document);
    bool defaults = true;
    if (document.contains("alerts")) {
        const auto* const settings = document["alerts"].as_table();
        if (settings == nullptr) {
            root.complain("alerts", "is a table: [alerts]");
        } else {
            TomlTable table(name, *settings);
            table.flag("defaults", defaults);
            table.text("spool", config.spool);
            if (auto status = table.done(); !status) {
                return tl::unexpected(status.error());
            }
        }
    }
    std::vector<AlertRule> rules;
    for (const auto& status :
         {read_all(name, root, "alert", rules, read_rule), read_all(name, root, "silence", config.silences, read_silence),
          read_all(name, root, "sink", config.sinks, read_sink), read_all(name, root, "action", config.actions, read_action),
          root.status()}) {
        if (!status) {
            return tl::unexpected(status.error());
        }
    }
    // One of the same name takes the place of a default.
    std::erase_if(config.rules, [&](const AlertRule& rule) {
        return !defaults || std::any_of(rules.begin(), rules.end(), [&](const AlertRule& own) { return own.name == rule.name; });
    });
    config.rules.insert(config.rules.end(), rules.begin(), rules.end());
    return config;
}

} // namespace

const char* action_type_name(ActionType type) {
    return kActionTypes[static_cast<std::size_t>(type)];
}

Result<std::optional<AlertConfig>> parse_alert_config(std::string_view text, const std::string& name) {
    constexpr std::array<std::string_view, 5> kTables{"alerts", "alert", "silence", "sink", "action"};
    const auto parsed = parse_toml(text, name);
    if (!parsed) {
        return tl::unexpected(parsed.error());
    }
    const auto& document = *parsed;
    if (std::none_of(kTables.begin(), kTables.end(), [&](std::string_view table) { return document.contains(table); })) {
        return std::nullopt;
    }
    auto config = read_config(name, document);
    if (!config) {
        return tl::unexpected(config.error());
    }
    return std::move(*config);
}

Result<AlertConfig> read_alert_config(const std::vector<std::string>& files) {
    auto config = read_from_one_file(files, parse_alert_config, "alerts are configured");
    return config ? Result<AlertConfig>(std::move(*config).value_or(AlertConfig())) : tl::unexpected(config.error());
}

} // namespace memtrace
