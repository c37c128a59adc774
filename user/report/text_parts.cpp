#include "report/text_parts.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <tuple>

#include "analyze/verdict.hpp"
#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kNameWidth = 72; ///< of a function, so that a frame mostly fits a line

std::string frame_text(const ReportFrame& frame, bool verbose, const Paint& paint) {
    std::string text;
    if (!frame.function.empty()) {
        const std::string name = printable(frame.function);
        text = (verbose ? name : shorten(name, kNameWidth)) + " ";
    }
    if (!frame.file.empty()) {
        text += "(" + printable(verbose ? frame.file : base_name(frame.file));
        if (frame.line > 0) {
            text += ":" + std::to_string(frame.line) + (frame.column > 0 ? ":" + std::to_string(frame.column) : "");
        }
        text += ") ";
    }
    return text + paint(Colour::dim, frame.inlined ? "[inlined]" : printable(frame_location(frame, verbose)));
}

bool grew(const ReportSite& site) {
    return verdict_rank(site.verdict) > 0 || site.grown_bytes > 0;
}

/// To sort by: a NaN has no order.
double rate_of(const ReportSite& site) {
    return std::isfinite(site.growth_bytes_per_s) ? site.growth_bytes_per_s : 0;
}

} // namespace

Selection select_sites(const Report& report, std::size_t top) {
    Selection selection;
    std::vector<const ReportSite*> rest;
    for (const auto& site : report.sites) {
        (grew(site) ? selection.growing : rest).push_back(&site);
    }
    std::sort(selection.growing.begin(), selection.growing.end(), [](const ReportSite* a, const ReportSite* b) {
        return std::tuple(verdict_rank(a->verdict), a->grown_bytes, rate_of(*a), b) >
               std::tuple(verdict_rank(b->verdict), b->grown_bytes, rate_of(*b), a); // a tie: as they stand in the report
    });
    const auto leaks =
        static_cast<std::size_t>(std::count_if(selection.growing.begin(), selection.growing.end(),
                                               [](const ReportSite* site) { return verdict_rank(site->verdict) > 0; }));
    std::size_t shown = std::min(top, leaks);
    shown += std::min(selection.growing.size() - shown, (top - shown + 1) / 2);
    rest.insert(rest.end(), selection.growing.begin() + static_cast<std::ptrdiff_t>(shown), selection.growing.end());
    selection.growing.resize(shown);
    std::erase_if(rest, [](const ReportSite* site) { return site->live_bytes == 0 && site->live_objects == 0; });
    std::sort(rest.begin(), rest.end(), [](const ReportSite* a, const ReportSite* b) {
        return a->live_bytes != b->live_bytes ? a->live_bytes > b->live_bytes : a < b;
    });
    rest.resize(std::min(rest.size(), top - shown));
    selection.live = std::move(rest);
    return selection;
}

std::string describe_forecast(const ReportForecast& forecast) {
    std::string text = human_bytes(forecast.limit_bytes) + " of the " + printable(forecast.limit) + ", " +
                       human_bytes(forecast.used_bytes) + " used: reached in " + human_duration(forecast.seconds);
    if (std::isfinite(forecast.seconds_ci95[1])) {
        text += " (95 %: " + human_duration(forecast.seconds_ci95[0]) + " to " + human_duration(forecast.seconds_ci95[1]) + ")";
    } else {
        text += " (95 %: in " + human_duration(forecast.seconds_ci95[0]) + " or later)";
    }
    return text + ", if it goes on at " + human_rate(forecast.growth_bytes_per_s);
}

std::string Paint::operator()(Colour colour, const std::string& text) const {
    if (!on_) {
        return text;
    }
    static constexpr const char* kCodes[] = {"\x1b[1m", "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[2m"};
    return kCodes[static_cast<std::size_t>(colour)] + text + "\x1b[0m";
}

std::string wrapped(const std::string& text, std::size_t first_column, std::size_t indent, std::size_t width) {
    std::string result;
    std::size_t column = first_column;
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find(' ', start), text.size());
        const std::size_t length = end - start;
        if (start > 0 && column + 1 + length > width) {
            result += '\n' + std::string(indent, ' ');
            column = indent;
        } else if (start > 0) {
            result += ' ';
            ++column;
        }
        result.append(text, start, length);
        column += length;
        start = end + 1;
    }
    return result;
}

void write_stack(std::ostream& out, const std::vector<ReportFrame>& stack, bool truncated, const StackStyle& style,
                 const Paint& paint) {
    const std::string margin(style.indent, ' ');
    const std::size_t first = std::min(style.first, stack.size());
    const std::size_t shown = std::min(style.most, stack.size() - first) + first;
    for (std::size_t i = first; i < shown; ++i) {
        out << margin << '#' << i << ' ' << frame_text(stack[i], style.verbose, paint) << '\n';
    }
    if (shown < stack.size()) {
        const std::size_t more = stack.size() - shown;
        out << margin << "... " << more << (more == 1 ? " more frame\n" : " more frames\n");
    }
    if (stack.empty()) {
        out << margin << "(no stack)\n";
    } else if (truncated) {
        out << margin << "... (stack incomplete)\n";
    }
}

} // namespace memtrace
