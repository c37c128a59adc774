// The exporters: pure functions of one Report to a stream. None of them does any other I/O.
#pragma once

#include <iosfwd>
#include <string>

#include "base/result.hpp"
#include "report/report.hpp"

namespace memtrace {

enum class ReportFormat { text, json, pprof, folded };

Result<ReportFormat> parse_report_format(const std::string& name);
/// What parse_report_format reads: "text", "json", "pprof", "folded".
const char* format_name(ReportFormat format);
/// File name ending without the dot: "txt", "json", "pb.gz", "folded".
const char* format_extension(ReportFormat format);

struct TextOptions {
    unsigned top = 10;    ///< sites shown
    bool colour = false;  ///< ANSI colour: only for a terminal
    bool verbose = false; ///< every counter, whole paths
};

/// For a terminal of 80 to 120 columns. What comes from the target is stripped of control characters.
void render_text(const Report& report, const TextOptions& options, std::ostream& out);

/// Schema "memtrace.snapshot/1", one line, newline at the end.
void render_json(const Report& report, std::ostream& out);

/// gzip-compressed profile.proto (github.com/google/pprof): sample types alloc_objects, alloc_space, inuse_objects, inuse_space.
void render_pprof(const Report& report, std::ostream& out);

/// Folded stacks, outermost first, weighted by live bytes: "main;work;malloc_caller 4096". Sites that hold nothing are left out. An
/// unknown function is "[module+0xoffset]"; ';' in a name becomes ':', a line break or another control character '?'.
void render_folded(const Report& report, std::ostream& out);

void render(const Report& report, ReportFormat format, const TextOptions& options, std::ostream& out);

/// Reads what render_json wrote; what is not in the JSON stays at its default, but for time_unix_ns, which comes from `time`. A
/// foreign, truncated or hostile text is an error ("not a memtrace snapshot: ..."), never a crash. Fields that it does not know are
/// ignored, fields that are missing stay at their default (but for schema, process.pid, totals and sites). Counts are bounded to 2^63-1.
Result<Report> parse_json_report(const std::string& text);

/// What changed between two reports, sites matched by id (several with one id count as their sum): grew, new, gone, shrank; largest
/// change first. New had nothing live before, gone has nothing live now. `options.top` bounds each section.
void render_diff(const Report& before, const Report& after, const TextOptions& options, std::ostream& out);

} // namespace memtrace
