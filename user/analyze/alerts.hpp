// Alerts: rules over what was observed of a process, and what became of each. No clock, no I/O: the same observations at the same times
// give the same alerts. One thread.
//
//   observed as the rule says --> pending --- for `for_s` ---> firing --- beyond `clear`, or gone ---> resolved, told of once
//                                    |                           |
//                                    v  no longer                +-- again within `cooldown_s` of the last time it was told of:
//                                 forgotten                          firing, but not told of before that time is over
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace memtrace {

/// What a rule looks at, with the unit of its value. Those of verdicts have the rank of the verdict (analyze/verdict.hpp).
enum class AlertSubject : std::uint8_t {
    live_bytes,     ///< bytes of the heap that are live
    rss_bytes,      ///< bytes that are resident
    leak_rate,      ///< bytes a second, of the sites that probably leak
    time_to_limit,  ///< seconds until memory runs out, where it does
    memory,         ///< 1 for the verdict on the process, which is in the label `class`
    site,           ///< verdict on a call site
    site_rate,      ///< bytes a second by which a call site grows
    resource_age,   ///< seconds, of the oldest resource of a kind
    resource_count, ///< live resources of a kind
    resource_rate,  ///< by which these grow in a second, where that is no chance
    resource,       ///< verdict on the worst resource of a kind, or on what was done to one
    pool,           ///< verdict on a pool
    pool_use,       ///< share of its limit that is in use
    reference,      ///< verdict on an error with references, or on a cycle
    loss,           ///< events lost since the report before
    overhead        ///< share of the target's CPU time that tracing takes
};
/// As in the configuration: "live-bytes".
const char* alert_subject_name(AlertSubject subject);
/// False: there is none of that name.
bool parse_alert_subject(std::string_view name, AlertSubject& subject);
/// Whether its values are ranks of verdicts.
bool is_verdict(AlertSubject subject);

enum class AlertSeverity : std::uint8_t { info, warning, critical, emergency };
const char* alert_severity_name(AlertSeverity severity);
bool parse_alert_severity(std::string_view name, AlertSeverity& severity);

using AlertLabels = std::map<std::string, std::string>;

struct Observation {
    AlertSubject subject = AlertSubject::live_bytes;
    std::string key; ///< tells observations of a subject apart: a site's id; empty: there is one only
    double value = 0;
    AlertLabels labels;
    std::string text; ///< for people, one sentence
};

struct AlertRule {
    std::string name;
    AlertSubject subject = AlertSubject::live_bytes;
    AlertSeverity severity = AlertSeverity::warning;
    bool below = false;   ///< fires at the threshold and below it; else at it and above
    double threshold = 0; ///< in the subject's unit
    double clear = 0;     ///< a firing one goes on until its value is beyond this: the threshold, or on its far side
    double for_s = 0;     ///< it must be so for that long first
    double cooldown_s = 0;
    AlertLabels match{}; ///< label -> pattern with * and ?: all must match
    bool operator==(const AlertRule&) const = default;
};

/// Alerts that are shown, but not told of.
struct AlertSilence {
    AlertLabels match;               ///< as AlertRule's; `alert` and `severity` are labels here too
    std::uint64_t until_unix_ns = 0; ///< 0: for good
    bool operator==(const AlertSilence&) const = default;
};

enum class AlertState : std::uint8_t { pending, firing, silenced, resolved };
const char* alert_state_name(AlertState state);
bool parse_alert_state(std::string_view name, AlertState& state);

struct Alert {
    std::string name; ///< of its rule
    AlertSeverity severity = AlertSeverity::warning;
    AlertState state = AlertState::pending;
    std::uint64_t since_unix_ns = 0; ///< of its state
    double value = 0;
    double threshold = 0;
    AlertLabels labels;
    std::string text;
};

/// Whether all patterns match the alert's labels, its name (`alert`) and severity among them.
bool matches(const Alert& alert, const AlertLabels& patterns);

/// A moment, by both clocks.
struct AlertTime {
    double seconds = 0; ///< monotonic, from any zero of the process's own
    std::uint64_t unix_ns = 0;
};

class AlertBook {
public:
    /// Alerts that are kept at once; more are refused.
    static constexpr std::size_t kMaxAlerts = 1'000;

    AlertBook() = default;
    AlertBook(std::vector<AlertRule> rules, std::vector<AlertSilence> silences)
        : rules_(std::move(rules)), silences_(std::move(silences)) {}

    /// Other rules from now on: alerts of those that are the same go on. What was told of others is resolved with the process's next update.
    void change(std::vector<AlertRule> rules, std::vector<AlertSilence> silences);

    /// All that was observed of `process` now; `labels` are those of the process. Returns what is to be told: alerts that fire, and those
    /// told of before that are resolved; by rule, then by key.
    std::vector<Alert> update(std::uint64_t process, const AlertLabels& labels, const std::vector<Observation>& observations,
                              AlertTime now);
    /// The process is gone: what was told of it is resolved.
    std::vector<Alert> end(std::uint64_t process, std::uint64_t unix_ns);
    /// What was told of it as end() would resolve it; nothing changes here.
    [[nodiscard]] std::vector<Alert> to_resolve(std::uint64_t process, std::uint64_t unix_ns) const;

    /// What pends, fires or is silenced, by rule, then by key.
    [[nodiscard]] std::vector<Alert> alerts(std::uint64_t process) const;
    /// How often one was refused since the start: each look counts.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

private:
    struct Entry {
        Alert alert;
        bool holds = false; ///< as of this update
        bool told = false;  ///< that it fires
        double since_s = 0; ///< it holds, or of the last time that it did
        double told_s = 0;  ///< the last time that it was told of
        bool was_told = false;
    };
    using Key = std::tuple<std::uint64_t, std::size_t, std::string>; ///< process, rule, key

    void take_dropped(std::uint64_t process, std::uint64_t unix_ns, std::vector<Alert>& news);
    void observe(std::uint64_t process, std::size_t rule, const AlertLabels& labels, const Observation& observation,
                 AlertTime now);
    [[nodiscard]] bool is_silenced(const Alert& alert, std::uint64_t unix_ns) const;
    void advance(const AlertRule& rule, Entry& entry, AlertTime now, std::vector<Alert>& news) const;

    std::vector<AlertRule> rules_;
    std::vector<AlertSilence> silences_;
    std::map<Key, Entry> entries_;
    std::multimap<std::uint64_t, Alert> dropped_; ///< by process: told of, and their rule is gone
    std::uint64_t refused_ = 0;
};

/// Whether `text` is like `pattern`, in which * stands for any characters and ? for one.
bool is_like(std::string_view text, std::string_view pattern);

/// The rules where the configuration has none.
std::vector<AlertRule> default_alert_rules();

} // namespace memtrace
