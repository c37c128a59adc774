// Folded stacks: what flame graph tools read. One line a site that holds something: "outermost;...;innermost live_bytes".
#include <algorithm>
#include <ostream>

#include "report/format.hpp"
#include "report/render.hpp"

namespace memtrace {

namespace {

/// A frame's name without what separates frames and lines.
std::string folded_name(const ReportFrame& frame) {
    std::string name = printable(frame_name(frame));
    std::replace(name.begin(), name.end(), ';', ':');
    return name;
}

} // namespace

void render_folded(const Report& report, std::ostream& out) {
    std::string line;
    for (const auto& site : report.sites) {
        if (site.live_bytes == 0) {
            continue;
        }
        line.clear();
        for (auto frame = site.stack.rbegin(); frame != site.stack.rend(); ++frame) {
            if (!line.empty()) {
                line += ';';
            }
            line += folded_name(*frame);
        }
        if (line.empty()) {
            line = "[no stack]";
        }
        out << line << ' ' << site.live_bytes << '\n';
    }
}

} // namespace memtrace
