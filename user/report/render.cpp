#include "report/render.hpp"

#include <ostream>

namespace memtrace {

Result<ReportFormat> parse_report_format(const std::string& name) {
    for (const auto format : {ReportFormat::text, ReportFormat::json, ReportFormat::pprof, ReportFormat::folded}) {
        if (name == format_name(format)) {
            return format;
        }
    }
    return fail("unknown report format '" + name + "': use text, json, pprof or folded");
}

const char* format_name(ReportFormat format) {
    switch (format) {
    case ReportFormat::text:
        return "text";
    case ReportFormat::json:
        return "json";
    case ReportFormat::pprof:
        return "pprof";
    case ReportFormat::folded:
        return "folded";
    }
    return "";
}

const char* format_extension(ReportFormat format) {
    switch (format) {
    case ReportFormat::text:
        return "txt";
    case ReportFormat::json:
        return "json";
    case ReportFormat::pprof:
        return "pb.gz";
    case ReportFormat::folded:
        return "folded";
    }
    return "";
}

void render(const Report& report, ReportFormat format, const TextOptions& options, std::ostream& out) {
    switch (format) {
    case ReportFormat::text:
        return render_text(report, options, out);
    case ReportFormat::json:
        return render_json(report, out);
    case ReportFormat::pprof:
        return render_pprof(report, out);
    case ReportFormat::folded:
        return render_folded(report, out);
    }
}

} // namespace memtrace
