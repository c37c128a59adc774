// What a history holds of a run, as plain values: made of Reports by pure functions, kept by store/history*, rendered by pure functions.
// Times are milliseconds since 1970 UTC, which is what is stored. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "report/report.hpp"

namespace memtrace {

/// Whom rows are about: with the boot that the host was in, a process for as long as it runs one program.
struct HistoryProcess {
    std::int64_t id = 0; ///< in its file; 0: not read from one
    std::int32_t pid = 0;
    std::int64_t start_ms = 0;
    std::string comm;
    std::string exe;
    std::string cmdline; ///< words with blanks between them, for people
    std::string state;   ///< ReportProcess::state
    std::int64_t first_ms = 0;
    std::int64_t last_ms = 0;
};

/// A process at a report.
struct HistorySample {
    std::int64_t at_ms = 0;
    std::uint64_t live_bytes = 0;
    std::uint64_t live_objects = 0;
    std::uint64_t rss_bytes = 0;
    double leak_bytes_per_s = 0; ///< of the sites that are leaks, together
    double overhead = 0;         ///< ReportOverhead::ratio
    std::uint64_t lost = 0;      ///< events, since memtrace attached to it
    std::uint64_t descriptors = 0;
    std::string verdict; ///< ReportVerdict::class_name
    std::string mode;    ///< ReportCoverage::mode
};

struct HistoryVerdict {
    std::int64_t at_ms = 0;
    std::string verdict;
    std::string text;
};

struct HistorySiteSample {
    std::int64_t at_ms = 0;
    std::uint64_t live_bytes = 0;
    std::uint64_t live_objects = 0;
    std::uint64_t allocs = 0;
    std::uint64_t frees = 0;
    double growth_bytes_per_s = 0;
    std::string verdict;
};

/// A call site: named once, however many processes and runs have it.
struct HistorySite {
    std::string id; ///< ReportSite::id
    std::string allocator;
    std::string function;
    std::vector<ReportFrame> stack; ///< innermost first
    bool stack_truncated = false;
    std::vector<HistorySiteSample> samples; ///< by time
};

struct HistoryKindSample {
    std::int64_t at_ms = 0;
    std::uint64_t live = 0;
    std::uint64_t leaked = 0;
    std::uint64_t bytes = 0;
    double growth_per_s = 0; ///< of the places that acquire ever more of them
    std::string verdict;     ///< the worst of those places
};

struct HistoryKind {
    std::string kind;
    std::vector<HistoryKindSample> samples; ///< by time
};

/// An alert began to fire, was silenced, or was resolved.
struct HistoryAlert {
    std::int64_t at_ms = 0;
    std::string name;
    std::string severity;
    std::string state; ///< firing | silenced | resolved
    std::int64_t since_ms = 0;
    double value = 0;
    double threshold = 0;
    std::string labels; ///< a JSON object
    std::string text;
};

struct HistorySnapshot {
    std::int64_t at_ms = 0;
    std::string format; ///< "json", ...
    std::string path;   ///< absolute
    bool gone = false;  ///< the file is not there any more
};

/// What one report adds.
struct HistoryRows {
    HistoryProcess process;
    HistorySample sample;
    std::string verdict_text;
    std::vector<HistorySite> sites; ///< one sample each
    std::vector<HistoryKind> kinds; ///< one sample each
    std::vector<HistoryAlert> alerts;
};

/// Call sites kept of one report at most: the leaks, suspects, and those that hold most (report/top_sites.hpp).
constexpr std::size_t kHistorySites = 20;
constexpr std::size_t kHistoryKinds = 32;

HistoryProcess history_process(const Report& report);
/// All but the alerts.
HistoryRows history_rows(const Report& report);

/// Alerts that a process had, by what stays the same while they fire.
using HistoryAlerts = std::map<std::string, HistoryAlert>;
/// What has changed since `known`, which is brought up to date. Those that pend are none yet; of a process that has ended all are
/// resolved.
std::vector<HistoryAlert> history_alert_changes(HistoryAlerts& known, const Report& report);

/// A stack as it is stored, an array of frames as in a snapshot's sites[].stack; and back: none where it is not what was written.
std::string history_stack_json(const std::vector<ReportFrame>& stack);
std::vector<ReportFrame> history_stack(const std::string& json);

/// What a site grew by from the first of its samples to the last.
std::int64_t history_growth(const HistorySite& site);

/// A Report of what a history knows of a moment: totals and the sites that were kept, for render_diff().
Report history_report(const HistoryProcess& process, const HistorySample& sample, const std::vector<HistorySite>& sites);

} // namespace memtrace
