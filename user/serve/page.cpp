#include "serve/page.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ostream>

#include "analyze/verdict.hpp"
#include "base/clock.hpp"
#include "base/hex.hpp"
#include "report/format.hpp"
#include "report/top_sites.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kSitesShown = 15;
constexpr std::size_t kSitesOpen = 3; ///< of the leaks: with their stacks
constexpr std::size_t kFramesShown = 24;
constexpr std::size_t kProcessesShown = 200;
constexpr std::size_t kFindingsShown = 20;
constexpr double kCurveWidth = 640;
constexpr double kCurveHeight = 120;

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1d20;--dim:#63686f;--paper:#fbfbfa;--line:#d9dbdd;--bad:#b3261e;--warn:#8a5a00;--good:#1f6f3f}
@media(prefers-color-scheme:dark){:root{--ink:#e4e5e7;--dim:#9aa0a8;--paper:#17191c;--line:#34383d;--bad:#ff8a80;--warn:#f0b860;--good:#7fd19b}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:0 auto;padding:1rem 1.25rem 3rem}
h1{font-size:1.15rem;margin:0}h2{font-size:1.05rem;margin:1.75rem 0 .5rem}p{margin:.3rem 0}a{color:inherit}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem 1.5rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--dim);font-size:.85rem}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code,pre{font:13px/1.4 ui-monospace,monospace;unicode-bidi:isolate;overflow-wrap:anywhere}pre{margin:.4rem 0;white-space:pre-wrap}
.dim{color:var(--dim)}.leak,.definite,.probable{color:var(--bad)}.unknown,.suspect{color:var(--warn)}.healthy,.stable{color:var(--good)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem;margin:.5rem 0}dt{color:var(--dim)}dd{margin:0}
td:nth-child(2){white-space:nowrap}meter{width:9rem}meter::-webkit-meter-optimum-value{background:var(--dim)}meter::-moz-meter-bar{background:var(--dim)}
figure{margin:1rem 0}svg{width:100%;max-width:48rem;height:auto;border-bottom:1px solid var(--line)}polyline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.live{stroke:var(--bad);color:var(--bad)}.rss{stroke:var(--dim);color:var(--dim)}figcaption{font-size:.85rem;color:var(--dim)}
.emergency,.critical{color:var(--bad)}.warning{color:var(--warn)}
summary{cursor:pointer}header{display:flex;justify-content:space-between;flex-wrap:wrap;gap:.25rem 1rem;border-bottom:1px solid var(--line);padding-bottom:.5rem}
)";

/// A word of ours as a class of the style; one that is not there has none.
std::string class_of(const std::string& word) {
    return " class=\"" + html_text(word) + '"';
}

std::string shown(std::string_view text, std::size_t width = 240) {
    return html_text(shorten(text, width));
}

class PageWriter {
public:
    PageWriter(const Publication& publication, const PageOptions& options, std::ostream& out)
        : publication_(publication), options_(options), out_(out) {}

    void write(const Report* only) {
        head(only);
        const auto& reports = publication_.reports;
        if (reports.empty()) {
            out_ << "<p>Nothing has been reported yet.</p>\n";
        }
        if (reports.size() > 1) {
            overview();
        }
        if (only == nullptr && reports.size() == 1) {
            only = &reports.front();
        }
        if (only != nullptr) {
            process(*only);
        }
        cost();
        out_ << "</body></html>\n";
    }

private:
    void head(const Report* only) {
        out_ << "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>memtrace</title>"
                "<meta name=\"viewport\" content=\"width=device-width\">";
        if (options_.refresh_s > 0) {
            out_ << "<meta http-equiv=\"refresh\" content=\"" << refresh() << "\">";
        }
        out_ << "<style nonce=\"" << options_.nonce << "\">" << kStyle << "</style></head><body>\n<header><h1>memtrace "
             << html_text(MEMTRACE_VERSION) << "</h1><span class=\"dim\">";
        const std::string pid = only != nullptr ? "pid=" + std::to_string(only->process.pid) : "";
        if (options_.refresh_s > 0) {
            out_ << "every " << refresh() << " s, <a href=\"/?" << pid << (pid.empty() ? "" : "&amp;") << "hold\">hold</a>";
        } else {
            out_ << "held, <a href=\"/" << (pid.empty() ? "" : "?") << pid << "\">go on</a>";
        }
        out_ << "</span></header>\n";
    }

    [[nodiscard]] int refresh() const { return static_cast<int>(std::clamp(options_.refresh_s, 2.0, 3600.0)); }

    void overview() {
        std::vector<const Report*> reports;
        for (const auto& report : publication_.reports) {
            reports.push_back(&report);
        }
        std::stable_sort(reports.begin(), reports.end(), [](const Report* a, const Report* b) {
            const auto key = [](const Report* report) { return std::pair(leak_rate(*report), report->totals.live_bytes); };
            return key(a) > key(b);
        });
        out_ << "<h2>" << reports.size()
             << " processes</h2><table><tr><th>process</th><th>verdict</th><th class=\"n\">leak</th>"
                "<th class=\"n\">live</th><th class=\"n\">resident</th><th>coverage</th><th class=\"n\">cost</th></tr>\n";
        for (std::size_t i = 0; i < std::min(reports.size(), kProcessesShown); ++i) {
            const auto& report = *reports[i];
            out_ << "<tr><td><a href=\"/?pid=" << report.process.pid << "\"><code>" << shown(report.process.comm) << "</code> "
                 << report.process.pid << "</a></td><td" << class_of(report.verdict.class_name) << '>'
                 << html_text(report.verdict.class_name) << "</td><td class=\"n\">" << human_rate(leak_rate(report))
                 << "</td><td class=\"n\">" << human_bytes(report.totals.live_bytes) << "</td><td class=\"n\">"
                 << human_bytes(report.process.rss_bytes) << "</td><td>" << html_text(report.coverage.mode)
                 << "</td><td class=\"n\">" << human_percent(report.coverage.overhead.ratio) << "</td></tr>\n";
        }
        out_ << "</table>\n";
        if (reports.size() > kProcessesShown) {
            out_ << "<p class=\"dim\">and " << reports.size() - kProcessesShown << " more</p>\n";
        }
    }

    void process(const Report& report) {
        const auto& process = report.process;
        out_ << "<h2><code>" << shown(process.comm) << "</code> " << process.pid << "</h2>\n<p"
             << class_of(report.verdict.class_name) << "><strong>" << html_text(report.verdict.class_name)
             << "</strong>: " << shown(report.verdict.text, 600) << "</p>\n<dl>";
        row("program", "<code>" + shown(process.exe) + "</code>, " + html_text(process.state) + ", followed for " +
                           human_duration(report.duration_s) + ", as of " + html_text(report.time));
        row("heap", human_bytes(report.totals.live_bytes) + " live in " + human_count(report.totals.live_objects) + " blocks; " +
                        human_count(report.totals.allocs) + " allocations, " + human_count(report.totals.frees) + " frees");
        row("growth", human_rate(leak_rate(report)) + " in sites that leak");
        alerts(report);
        row("resident", human_bytes(process.rss_bytes));
        coverage(report.coverage);
        out_ << "</dl>\n";
        curve(report.history);
        out_ << "<p class=\"dim\"><a href=\"/api/report?pid=" << process.pid << "\">all of it as JSON</a></p>\n";
        sites(report);
        told(report);
    }

    void row(const char* name, const std::string& html) { out_ << "<dt>" << name << "</dt><dd>" << html << "</dd>"; }

    void alerts(const Report& report) {
        std::vector<const Alert*> firing;
        for (const auto& alert : report.alerts) {
            if (alert.state == AlertState::firing) {
                firing.push_back(&alert);
            }
        }
        std::stable_sort(firing.begin(), firing.end(), [](const Alert* a, const Alert* b) { return a->severity > b->severity; });
        for (std::size_t i = 0; i < std::min(firing.size(), kFindingsShown); ++i) {
            const auto& alert = *firing[i];
            const std::string severity = alert_severity_name(alert.severity);
            row("alert", "<span" + class_of(severity) + ">" + severity + ": " + shown(alert.name) + "</span> for " +
                             human_duration(seconds_between(alert.since_unix_ns, report.time_unix_ns)) + ": " +
                             shown(alert.text, 400));
        }
        if (firing.size() > kFindingsShown) {
            row("", "and " + human_count(firing.size() - kFindingsShown) + " more alerts");
        }
    }

    /// Both on one scale that begins at zero: what the heap does not explain of the process is seen.
    void curve(const ReportHistory& history) {
        if (history.seconds.size() < 2) {
            return;
        }
        const double begin = history.seconds.front();
        const double span = std::max(history.seconds.back() - begin, 1e-9);
        double top = 1;
        for (const auto* values : {&history.live_bytes, &history.rss_bytes}) {
            top = std::max(top, *std::max_element(values->begin(), values->end()));
        }
        out_ << "<figure><svg viewBox=\"0 0 " << kCurveWidth << ' ' << kCurveHeight
             << "\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"live and resident memory over time\">";
        const auto line = [&](const char* name, const std::vector<double>& values) {
            out_ << "<polyline class=\"" << name << "\" points=\"";
            for (std::size_t i = 0; i < values.size(); ++i) {
                char point[64];
                std::snprintf(point, sizeof(point), "%.1f,%.1f ", (history.seconds[i] - begin) / span * kCurveWidth,
                              kCurveHeight - values[i] / top * (kCurveHeight - 2));
                out_ << point;
            }
            out_ << "\"/>";
        };
        line("rss", history.rss_bytes);
        line("live", history.live_bytes);
        out_ << "</svg><figcaption><span class=\"live\">live</span> and <span class=\"rss\">resident</span> memory over the last "
             << human_duration(span) << ", 0 to " << human_bytes(static_cast<std::uint64_t>(top)) << "</figcaption></figure>\n";
    }

    void coverage(const ReportCoverage& coverage) {
        std::string text = html_text(coverage.mode);
        if (coverage.sample_interval_bytes != 0) {
            text += ", one sample in " + human_bytes(coverage.sample_interval_bytes);
        }
        if (coverage.mode == "windowed") {
            text += ", " + human_duration(coverage.window_s) + " in every " + human_duration(coverage.period_s);
        }
        text += coverage.lost.empty() ? ", nothing lost" : "";
        if (!coverage.mode_reason.empty()) {
            text += "<br><span class=\"dim\">" + shown(coverage.mode_reason, 400) + "</span>";
        }
        for (const auto& source : coverage.sources) {
            text += "<br><code class=\"dim\">" + shown(source) + "</code>";
        }
        row("coverage", text);
        std::string lost;
        for (const auto& [name, value] : coverage.lost) {
            lost += (lost.empty() ? "" : ", ") + html_text(name) + ' ' + human_count(value);
        }
        if (!lost.empty()) {
            row("lost", "<span class=\"leak\">" + lost + "</span>: figures are off by that");
        }
        const auto& cost = coverage.overhead;
        row("cost", human_percent(cost.ratio) + " of its CPU time" +
                        (cost.budget ? " of the " + human_percent(*cost.budget) + " allowed" : "") + ", " +
                        human_count(static_cast<std::uint64_t>(std::max(cost.hits_per_s, 0.0))) + " probe hits/s of " +
                        human_count(static_cast<std::uint64_t>(std::max(cost.trap_ns, 0.0))) + " ns (estimate)");
    }

    void sites(const Report& report) {
        const auto chosen = top_sites(report, kSitesShown);
        if (chosen.empty()) {
            return;
        }
        const auto total = std::max<std::uint64_t>(report.totals.live_bytes, 1);
        out_ << "<h2>Call sites</h2><table><tr><th>site</th><th>verdict</th><th class=\"n\">growth</th><th class=\"n\">live</th>"
                "<th>share</th></tr>\n";
        std::size_t opened = 0;
        for (const auto* site : chosen) {
            const bool open = is_leak(*site) && ++opened <= kSitesOpen;
            const auto& name = site->stack.empty() ? site->id : frame_name(site->stack.front());
            out_ << "<tr><td><details" << (open ? " open" : "") << "><summary><code>" << shown(name) << "</code></summary><p>"
                 << shown(site->evidence, 600) << "</p><p class=\"dim\">" << html_text(site->function) << " ("
                 << html_text(site->allocator) << "), " << human_count(site->allocs) << " allocations, "
                 << human_count(site->frees) << " frees, site " << html_text(site->id) << "</p>";
            out_ << stack_html(site->stack) << "</details></td><td" << class_of(site->verdict) << '>' << html_text(site->verdict)
                 << (site->confidence > 0 ? ' ' + human_percent(site->confidence) : "") << "</td><td class=\"n\">"
                 << human_rate(site->growth_bytes_per_s) << "</td><td class=\"n\">" << human_bytes(site->live_bytes)
                 << "<br><span class=\"dim\">" << human_count(site->live_objects) << "</span></td><td><meter min=\"0\" max=\""
                 << total << "\" value=\"" << std::min(site->live_bytes, total) << "\"></meter></td></tr>\n";
        }
        out_ << "</table>\n<p class=\"dim\">" << chosen.size() << " of " << report.sites.size() + report.totals.other_sites
             << " sites</p>\n";
    }

    static std::string stack_html(const std::vector<ReportFrame>& frames) {
        std::string out = "<pre>";
        for (std::size_t i = 0; i < std::min(frames.size(), kFramesShown); ++i) {
            const auto& frame = frames[i];
            out += shown(frame_name(frame));
            if (!frame.file.empty()) {
                out += " (" + shown(base_name(frame.file)) + ':' + std::to_string(frame.line) + ')';
            }
            out += frame.inlined ? " inlined\n" : "\n";
        }
        return out + (frames.size() > kFramesShown ? "...</pre>" : "</pre>");
    }

    void told(const Report& report) {
        const auto& resources = report.resources;
        if (!report.references.followed && resources.kinds.empty()) {
            return;
        }
        out_ << "<h2>Objects and resources</h2><dl>";
        if (report.references.followed) {
            row("objects", human_count(report.references.objects) + " alive, " + human_count(report.references.references) +
                               " references to them");
        }
        for (std::size_t i = 0; i < std::min(report.references.cycles.size(), kFindingsShown); ++i) {
            const auto& cycle = report.references.cycles[i];
            row("cycles", human_count(cycle.count) + " of " + human_count(cycle.objects.size() + cycle.other_objects) +
                              " <code>" + (cycle.objects.empty() ? "" : shown(cycle.objects.front().type)) + "</code>, " +
                              human_bytes(cycle.total_bytes) + verdict(cycle.verdict));
        }
        for (std::size_t i = 0; i < std::min(report.references.errors.size(), kFindingsShown); ++i) {
            const auto& error = report.references.errors[i];
            row("error", html_text(error.kind) + ", " + human_count(error.count) + " times, <code>" + shown(error.type) +
                             "</code>" + verdict(error.verdict));
        }
        for (std::size_t i = 0; i < std::min(resources.kinds.size(), kFindingsShown); ++i) {
            const auto& kind = resources.kinds[i];
            row("resource",
                "<code>" + shown(kind.kind) + "</code>: " + human_count(kind.live) + " held" +
                    (kind.leaked != 0 ? ", <span class=\"leak\">" + human_count(kind.leaked) + " leaked</span>" : "") +
                    (grows(kind) ? ", +" + human_number_rate(kind.growth_per_s) : ""));
        }
        for (std::size_t i = 0; i < std::min(resources.sites.size(), kFindingsShown); ++i) {
            const auto& site = resources.sites[i];
            if (verdict_rank(site.verdict) != 0) {
                row("acquired", "<details><summary><code>" + shown(innermost_name(site.acquired_at)) +
                                    "</code>: " + human_count(site.held) + " <code>" + shown(site.kind) + "</code> held" +
                                    verdict(site.verdict) + "</summary><p>" + shown(site.evidence, 600) + "</p>" +
                                    stack_html(site.acquired_at) + "</details>");
            }
        }
        for (std::size_t i = 0; i < std::min(resources.pools.size(), kFindingsShown); ++i) {
            const auto& pool = resources.pools[i];
            row("pool", "<code>" + shown(pool.name) + "</code>: " + human_count(pool.in_use) +
                            (pool.limit != 0 ? " of " + human_count(pool.limit) : "") + " in use, " + human_count(pool.waits) +
                            " waits" + verdict(pool.verdict));
        }
        out_ << "</dl>\n";
    }

    static std::string verdict(const std::string& name) { return ", <span" + class_of(name) + '>' + html_text(name) + "</span>"; }

    void cost() {
        const auto& cost = publication_.cost;
        out_ << "<h2>memtrace itself</h2><dl>";
        row("CPU time", human_duration(cost.cpu_s));
        row("memory", human_bytes(cost.rss_bytes) + ", and " + human_bytes(cost.kernel_bytes) + " in the kernel");
        out_ << "</dl>\n";
    }

    const Publication& publication_;
    const PageOptions& options_;
    std::ostream& out_;
};

} // namespace

std::string page_nonce() {
    std::array<char, 16> bytes{};
    // Never fails for so few bytes once the machine has booted (getrandom(2)).
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        std::abort();
    }
    return to_hex({bytes.data(), bytes.size()});
}

std::string html_text(std::string_view text) {
    std::string out;
    for (const char c : printable(text)) {
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\'':
            out += "&#39;";
            break;
        default:
            out += c;
        }
    }
    return out;
}

void render_page(const Publication& publication, const Report* only, const PageOptions& options, std::ostream& out) {
    PageWriter(publication, options, out).write(only);
}

} // namespace memtrace
