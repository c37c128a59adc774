#include "analyze/alerts.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace memtrace {

namespace {

constexpr std::array kSubjects{"live-bytes", "rss-bytes",    "leak-rate",      "time-to-limit", "memory",   "site",
                               "site-rate",  "resource-age", "resource-count", "resource-rate", "resource", "pool",
                               "pool-use",   "reference",    "loss",           "overhead"};
constexpr std::array kSeverities{"info", "warning", "critical", "emergency"};
constexpr std::array kStates{"pending", "firing", "silenced", "resolved"};

template <typename Enum, typename Names>
bool parse_name(const Names& names, std::string_view name, Enum& value) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) {
        value = static_cast<Enum>(found - names.begin());
    }
    return found != names.end();
}

bool matches(const AlertLabels& labels, const AlertLabels& patterns) {
    return std::all_of(patterns.begin(), patterns.end(), [&](const auto& pattern) {
        const auto label = labels.find(pattern.first);
        return is_like(label == labels.end() ? std::string_view() : label->second, pattern.second);
    });
}

/// `firing`: it fires already, and goes on until the value is beyond `clear`.
bool holds(const AlertRule& rule, double value, bool firing) {
    const auto limit = firing ? rule.clear : rule.threshold;
    return rule.below ? value <= limit : value >= limit;
}

bool fires(const Alert& alert) {
    return alert.state == AlertState::firing || alert.state == AlertState::silenced;
}

} // namespace

const char* alert_subject_name(AlertSubject subject) {
    return kSubjects[static_cast<std::size_t>(subject)];
}
bool parse_alert_subject(std::string_view name, AlertSubject& subject) {
    return parse_name(kSubjects, name, subject);
}
bool is_verdict(AlertSubject subject) {
    return subject == AlertSubject::site || subject == AlertSubject::resource || subject == AlertSubject::pool ||
           subject == AlertSubject::reference;
}
const char* alert_severity_name(AlertSeverity severity) {
    return kSeverities[static_cast<std::size_t>(severity)];
}
bool parse_alert_severity(std::string_view name, AlertSeverity& severity) {
    return parse_name(kSeverities, name, severity);
}
const char* alert_state_name(AlertState state) {
    return kStates[static_cast<std::size_t>(state)];
}
bool parse_alert_state(std::string_view name, AlertState& state) {
    return parse_name(kStates, name, state);
}

/// A star that does not lead on takes one more character, and what follows it is tried again: at most text x pattern steps.
bool is_like(std::string_view text, std::string_view pattern) {
    std::size_t at = 0;
    std::size_t in_pattern = 0;
    std::size_t after_star = std::string_view::npos;
    std::size_t star_took = 0;
    while (at < text.size()) {
        if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
            after_star = ++in_pattern;
            star_took = at;
        } else if (in_pattern < pattern.size() && (pattern[in_pattern] == '?' || pattern[in_pattern] == text[at])) {
            ++at;
            ++in_pattern;
        } else if (after_star != std::string_view::npos) {
            at = ++star_took;
            in_pattern = after_star;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', in_pattern) == std::string_view::npos;
}

bool matches(const Alert& alert, const AlertLabels& patterns) {
    auto labels = alert.labels;
    labels["alert"] = alert.name;
    labels["severity"] = alert_severity_name(alert.severity);
    return matches(labels, patterns);
}

bool AlertBook::is_silenced(const Alert& alert, std::uint64_t unix_ns) const {
    return std::any_of(silences_.begin(), silences_.end(), [&](const AlertSilence& silence) {
        return (silence.until_unix_ns == 0 || unix_ns < silence.until_unix_ns) && matches(alert, silence.match);
    });
}

void AlertBook::observe(std::uint64_t process, std::size_t rule_index, const AlertLabels& labels, const Observation& observation,
                        AlertTime now) {
    const auto& rule = rules_[rule_index];
    if (rule.subject != observation.subject || !(holds(rule, observation.value, false) || holds(rule, observation.value, true))) {
        return;
    }
    auto all = observation.labels;
    all.insert(labels.begin(), labels.end());
    const Key key{process, rule_index, observation.key};
    auto found = entries_.find(key);
    const bool firing = found != entries_.end() && fires(found->second.alert);
    if (!holds(rule, observation.value, firing) || !matches(all, rule.match)) {
        return;
    }
    if (found == entries_.end()) {
        if (entries_.size() >= kMaxAlerts) {
            ++refused_;
            return;
        }
        found = entries_.try_emplace(key).first;
    }
    auto& entry = found->second;
    auto& alert = entry.alert;
    if (alert.name.empty() || alert.state == AlertState::resolved) {
        alert.state = AlertState::pending;
        alert.since_unix_ns = now.unix_ns;
        entry.since_s = now.seconds;
    }
    alert.name = rule.name;
    alert.severity = rule.severity;
    alert.value = observation.value;
    alert.threshold = rule.threshold;
    alert.labels = std::move(all);
    alert.text = observation.text;
    entry.holds = true;
}

void AlertBook::advance(const AlertRule& rule, Entry& entry, AlertTime now, std::vector<Alert>& news) const {
    auto& alert = entry.alert;
    const auto become = [&](AlertState state) {
        if (alert.state != state) {
            alert.state = state;
            alert.since_unix_ns = now.unix_ns;
        }
    };
    if (!entry.holds) {
        const bool told = std::exchange(entry.told, false);
        become(AlertState::resolved);
        if (told) {
            news.push_back(alert);
        }
        return;
    }
    if (now.seconds - entry.since_s < rule.for_s) {
        return;
    }
    become(is_silenced(alert, now.unix_ns) ? AlertState::silenced : AlertState::firing);
    const bool cooled = !entry.was_told || now.seconds - entry.told_s >= rule.cooldown_s;
    if (alert.state == AlertState::firing && !entry.told && cooled) {
        entry.told = entry.was_told = true;
        entry.told_s = now.seconds;
        news.push_back(alert);
    }
}

void AlertBook::change(std::vector<AlertRule> rules, std::vector<AlertSilence> silences) {
    std::map<Key, Entry> entries;
    for (auto& [key, entry] : entries_) {
        const auto& [process, rule, of] = key;
        const auto same = std::find(rules.begin(), rules.end(), rules_[rule]);
        if (same != rules.end()) {
            entries.emplace(Key{process, static_cast<std::size_t>(same - rules.begin()), of}, std::move(entry));
        } else if (entry.told) {
            dropped_.emplace(process, std::move(entry.alert));
        }
    }
    entries_ = std::move(entries);
    rules_ = std::move(rules);
    silences_ = std::move(silences);
}

void AlertBook::take_dropped(std::uint64_t process, std::uint64_t unix_ns, std::vector<Alert>& news) {
    const auto [begin, end] = dropped_.equal_range(process);
    for (auto at = begin; at != end; ++at) {
        news.push_back(std::move(at->second));
        news.back().state = AlertState::resolved;
        news.back().since_unix_ns = unix_ns;
    }
    dropped_.erase(begin, end);
}

std::vector<Alert> AlertBook::update(std::uint64_t process, const AlertLabels& labels,
                                     const std::vector<Observation>& observations, AlertTime now) {
    for (std::size_t rule = 0; rule < rules_.size(); ++rule) {
        for (const auto& observation : observations) {
            observe(process, rule, labels, observation, now);
        }
    }
    std::vector<Alert> news;
    take_dropped(process, now.unix_ns, news);
    for (auto at = entries_.lower_bound({process, 0, ""}); at != entries_.end() && std::get<0>(at->first) == process;) {
        const auto& rule = rules_[std::get<1>(at->first)];
        auto& entry = at->second;
        advance(rule, entry, now, news);
        const bool cooling = entry.was_told && now.seconds - entry.told_s < rule.cooldown_s;
        if (std::exchange(entry.holds, false) || cooling) {
            ++at;
        } else {
            at = entries_.erase(at);
        }
    }
    return news;
}

std::vector<Alert> AlertBook::end(std::uint64_t process, std::uint64_t unix_ns) {
    auto news = to_resolve(process, unix_ns);
    dropped_.erase(process);
    std::erase_if(entries_, [&](const auto& entry) { return std::get<0>(entry.first) == process; });
    return news;
}

std::vector<Alert> AlertBook::to_resolve(std::uint64_t process, std::uint64_t unix_ns) const {
    std::vector<Alert> news;
    const auto [begin, end] = dropped_.equal_range(process);
    std::transform(begin, end, std::back_inserter(news), [](const auto& dropped) { return dropped.second; });
    for (auto at = entries_.lower_bound({process, 0, ""}); at != entries_.end() && std::get<0>(at->first) == process; ++at) {
        if (at->second.told) {
            news.push_back(at->second.alert);
        }
    }
    for (auto& alert : news) {
        alert.state = AlertState::resolved;
        alert.since_unix_ns = unix_ns;
    }
    return news;
}

std::vector<Alert> AlertBook::alerts(std::uint64_t process) const {
    std::vector<Alert> found;
    for (auto at = entries_.lower_bound({process, 0, ""}); at != entries_.end() && std::get<0>(at->first) == process; ++at) {
        if (at->second.alert.state != AlertState::resolved) {
            found.push_back(at->second.alert);
        }
    }
    return found;
}

std::vector<AlertRule> default_alert_rules() {
    using enum AlertSubject;
    using enum AlertSeverity;
    const auto rule = [](const char* name, AlertSubject subject, AlertSeverity severity, double threshold, double for_s) {
        return AlertRule{.name = name,
                         .subject = subject,
                         .severity = severity,
                         .threshold = threshold,
                         .clear = threshold,
                         .for_s = for_s,
                         .cooldown_s = 300};
    };
    constexpr double kDefinite = 3;
    constexpr double kProbable = 2;
    constexpr double kHour = 3'600;
    std::vector<AlertRule> rules{rule("leak-definite", site, critical, kDefinite, 30),
                                 rule("leak-probable", site, warning, kProbable, 60),
                                 rule("memory-ends-soon", time_to_limit, critical, 6 * kHour, 60),
                                 rule("memory-ends-now", time_to_limit, emergency, kHour / 4, 30),
                                 rule("resource-leak", resource, warning, kProbable, 30),
                                 rule("pool-exhausted", pool, critical, kDefinite, 10),
                                 rule("reference-error", reference, warning, kProbable, 0),
                                 rule("tracing-loss", loss, warning, 1, 0),
                                 rule("tracing-overhead", overhead, warning, 0.10, 60)};
    for (auto& each : rules) {
        if (each.subject == time_to_limit) {
            each.below = true;
            each.match = {{"class", "leak"}}; // what warms up grows as fast
            each.clear = each.threshold * 1.5;
        }
    }
    return rules;
}

} // namespace memtrace
