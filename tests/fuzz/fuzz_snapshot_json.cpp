// Snapshots are foreign bytes to `report` and `diff`. What parses must render in every format, and its JSON must come back as it is:
// parse and render again give the same text.
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "report/render.hpp"

namespace {

using namespace memtrace;

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

std::string json_of(const Report& report) {
    std::ostringstream out;
    render_json(report, out);
    return out.str();
}

void render_all(const Report& report) {
    std::ostringstream out;
    for (const auto format : {ReportFormat::text, ReportFormat::pprof, ReportFormat::folded}) {
        render(report, format, TextOptions{.top = 3, .colour = true, .verbose = true}, out);
    }
    render_diff(Report{}, report, TextOptions{}, out);
    render_diff(report, Report{}, TextOptions{.top = 1}, out);
    render_diff(report, report, TextOptions{}, out);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto report = parse_json_report(std::string(reinterpret_cast<const char*>(data), size));
    if (!report) {
        require(!report.error().message.empty());
        return 0;
    }
    render_all(*report);
    const auto text = json_of(*report);
    const auto again = parse_json_report(text);
    require(again.has_value());
    require(json_of(*again) == text);
    return 0;
}
