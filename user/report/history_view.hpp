// What people and programs are shown of a history. Pure functions, but for the time zone, in which the text tells times. Any thread.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <vector>

#include "report/history.hpp"

namespace memtrace {

/// All that is told of one process, within a span of time.
struct HistoryView {
    HistoryProcess process;
    std::int64_t from_ms = 0; ///< asked for; 0: from its beginning
    std::int64_t to_ms = 0;
    std::vector<HistorySample> samples;
    std::vector<HistoryVerdict> verdicts; ///< changes; the first may be older than the span: what held at its beginning
    std::vector<HistorySite> sites;       ///< the most grown first
    std::vector<HistoryKind> kinds;
    std::vector<HistoryAlert> alerts;
    std::vector<HistorySnapshot> snapshots;
};

struct HistoryTextOptions {
    bool unicode = false; ///< the terminal takes more than ASCII
    bool colour = false;
    unsigned top = 5;       ///< sites shown
    bool sites = false;     ///< with their stacks, and no other sections but those asked for too
    bool alerts = false;    ///< all of them
    bool snapshots = false; ///< all of them
    std::int64_t now_ms = 0;
};

void render_history_list(const std::vector<HistoryProcess>& processes, const std::vector<HistorySample>& newest,
                         const HistoryTextOptions& options, std::ostream& out);
void render_history_text(const HistoryView& view, const HistoryTextOptions& options, std::ostream& out);
/// One object on one line, "schema": "memtrace.history/1"; times RFC 3339 in UTC.
void render_history_json(const HistoryView& view, std::ostream& out);
void render_history_list_json(const std::vector<HistoryProcess>& processes, std::ostream& out);

} // namespace memtrace
