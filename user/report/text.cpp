// The report for a terminal: head, verdict, coverage and cost, totals, then two groups of sites, none shown twice. What is a leak or
// grew comes first; the largest of the rest follow.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <ostream>
#include <vector>

#include "analyze/verdict.hpp"
#include "report/format.hpp"
#include "report/render.hpp"
#include "report/text_alerts.hpp"
#include "report/text_parts.hpp"
#include "report/text_told.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kWidth = 110; ///< where lists and lines out of the target are cut
constexpr std::size_t kIndent = 10; ///< of the head: where its values begin
constexpr std::int64_t kUnexplainedBytes = 1 << 20;
constexpr std::uint64_t kManyMappings = 10; ///< at one place
constexpr std::size_t kFramesShown = 24;    ///< of one stack, unless verbose

class TextWriter {
public:
    TextWriter(const Report& report, const TextOptions& options, std::ostream& out)
        : report_(report), options_(options), out_(out), paint_(options.colour) {}

    void write() {
        head();
        verdict();
        write_alert_rows(out_, report_.alerts, report_.time_unix_ns, kIndent, paint_);
        if (report_.forecast.growth_bytes_per_s > 0) {
            row("limit") << describe_forecast(report_.forecast) << '\n';
        }
        coverage();
        losses();
        cost();
        if (!only_pages()) {
            totals();
        }
        write_told_head(out_, report_, kIndent, paint_);
        write_pages();
        write_told_sections(out_, report_, options_, paint_);
        if (!only_pages()) {
            sites();
        }
        out_ << '\n';
    }

private:
    /// "label     text": every line of the head.
    std::ostream& row(const char* label) {
        std::string padded = label;
        padded.resize(kIndent, ' ');
        return out_ << padded;
    }

    void head() {
        const auto& process = report_.process;
        out_ << paint_(Colour::bold, "memtrace " + printable(report_.tool_version)) << "  " << printable(report_.time) << '\n';
        row("process") << paint_(Colour::bold, printable(process.comm)) << " (pid " << process.pid << ')';
        if (process.state != "running") {
            out_ << ", " << paint_(Colour::yellow, printable(process.state));
        }
        out_ << ", followed for " << human_duration(report_.duration_s);
        if (report_.coverage.from_start) {
            out_ << " since its first instruction";
        }
        if (process.rss_bytes > 0) {
            out_ << ", RSS " << human_bytes(process.rss_bytes);
        }
        out_ << '\n';
        std::string command;
        for (const auto& argument : process.cmdline) {
            command += (command.empty() ? "" : " ") + printable(argument);
        }
        if (command.empty()) {
            command = printable(process.exe);
        }
        if (!command.empty()) {
            row("") << cut(command) << '\n';
        }
    }

    void verdict() {
        const auto& verdict = report_.verdict;
        std::string text = printable(verdict.class_name);
        std::transform(text.begin(), text.end(), text.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        const auto colour = verdict.class_name == "leak"      ? Colour::red
                            : verdict.class_name == "healthy" ? Colour::green
                                                              : Colour::yellow;
        row("verdict") << paint_(colour, text);
        if (!verdict.text.empty()) {
            out_ << ": " << wrapped(printable(verdict.text), kIndent + text.size() + 2, kIndent, kWidth);
        }
        out_ << '\n';
        if (options_.verbose) {
            for (const auto& [name, value] : verdict.evidence) {
                row("") << printable(name) << " = " << printable(value) << '\n';
            }
        }
    }

    void coverage() {
        const auto& coverage = report_.coverage;
        row("coverage") << printable(coverage.mode);
        if (coverage.sample_interval_bytes > 0) {
            out_ << ", one sample per " << human_bytes(coverage.sample_interval_bytes) << " on average";
        }
        if (coverage.mode == "windowed") {
            out_ << ", allocations watched for " << human_duration(coverage.window_s) << " in every "
                 << human_duration(coverage.period_s);
        } else if (coverage.mode == "pages") {
            out_ << ": allocations are not watched";
        }
        if (coverage.lost.empty()) {
            out_ << ", nothing lost";
        }
        if (options_.verbose && coverage.max_live > 0) {
            out_ << ", room for " << human_count(coverage.max_live) << " live blocks in " << human_bytes(coverage.kernel_bytes)
                 << " of kernel memory";
        }
        out_ << '\n';
        if (!coverage.mode_reason.empty()) {
            row("") << wrapped(printable(coverage.mode_reason), kIndent, kIndent, kWidth) << '\n';
        }
        for (const auto& source : coverage.sources) {
            row("") << cut(printable(source)) << '\n';
        }
        if (options_.verbose) {
            for (const auto& [name, value] : coverage.counters) {
                row("") << printable(name) << " = " << human_count(value) << '\n';
            }
        }
    }

    void losses() {
        const auto& coverage = report_.coverage;
        if (!coverage.lost.empty()) {
            std::string list;
            for (const auto& [name, value] : coverage.lost) {
                list += (list.empty() ? "" : ", ") + printable(name) + " " + human_count(value);
            }
            row("LOST") << paint_(Colour::red, list) << '\n';
            row("") << paint_(Colour::red, "the figures below are off by what was lost") << '\n';
        }
        if (coverage.unmatched_frees == 0) {
            return;
        }
        const std::string frees = human_count(coverage.unmatched_frees) + (coverage.unmatched_frees == 1 ? " free" : " frees");
        if (coverage.mode != "exact") {
            row("") << frees << " of blocks whose allocation was not watched\n";
            return;
        }
        if (coverage.from_start) {
            row("") << paint_(Colour::yellow,
                              frees + " of blocks whose allocation was not seen: some call to an allocator is not traced")
                    << '\n';
        } else {
            row("") << frees << " of blocks whose allocation was not seen: older than the tracing\n";
        }
    }

    void itself(const ReportCollector& own) {
        row("") << "memtrace itself: " << human_percent(own.cpu_ratio) << " of a core";
        if (own.cpu_budget > 0) {
            out_ << " (budget " << human_percent(own.cpu_budget) << ')';
        }
        out_ << ", " << human_bytes(own.rss_bytes);
        if (own.memory_budget > 0) {
            out_ << " (budget " << human_bytes(own.memory_budget) << ')';
        }
        out_ << '\n';
        if (!own.reason.empty()) {
            row("") << wrapped(printable(own.reason), kIndent, kIndent, kWidth) << '\n';
        }
        if (own.forgotten > 0) {
            row("") << human_count(own.forgotten) << " processes that ended are in no report any more\n";
        }
    }

    void cost() {
        const auto& cost = report_.coverage.overhead;
        row("cost") << human_count(rounded(cost.hits_per_s)) << " probe hits/s";
        if (cost.trap_ns > 0) {
            const std::string share = human_percent(cost.ratio);
            const bool over = cost.budget && cost.ratio > *cost.budget;
            out_ << " x " << human_count(rounded(cost.trap_ns)) << " ns: " << (over ? paint_(Colour::red, share) : share)
                 << " of the target's CPU time (estimate";
            if (cost.budget) {
                out_ << "; budget " << human_percent(*cost.budget);
            }
            out_ << ")\n";
        } else {
            out_ << ", cost of a hit not measured\n";
        }
        if (const auto& own = report_.coverage.collector) {
            itself(*own);
        }
    }

    [[nodiscard]] bool only_pages() const { return report_.coverage.mode == "pages" && report_.sites.empty(); }

    /// More and more is mapped at a place, and most of it kept. By no more than a few calls a program makes room once.
    [[nodiscard]] bool keeps_mapping(std::int64_t mapped) const {
        const auto& sites = report_.pages.sites;
        return mapped >= kUnexplainedBytes && static_cast<std::uint64_t>(mapped) / 2 > report_.totals.live_bytes &&
               std::any_of(sites.begin(), sites.end(), [](const ReportPageSite& site) {
                   return site.kind == "mmap" && site.events >= kManyMappings && site.bytes >= std::uint64_t{kUnexplainedBytes} &&
                          site.bytes > site.returned_bytes;
               });
    }

    /// Where they say what the heap does not: it is not watched, or the process grew, resident or in address space alone, and the heap does
    /// not account for it.
    void write_pages() {
        const auto& pages = report_.pages;
        const auto grown = difference(pages.faulted_bytes, pages.returned_bytes);
        const bool unexplained = grown >= kUnexplainedBytes && static_cast<std::uint64_t>(grown) / 2 > report_.totals.live_bytes;
        const bool maps = keeps_mapping(difference(pages.mapped_bytes, pages.unmapped_bytes));
        if (pages.sources.empty() || !(only_pages() || unexplained || maps)) {
            return;
        }
        row("pages") << paint_(Colour::bold, human_signed_bytes(grown)) << " resident: " << human_bytes(pages.faulted_bytes)
                     << " touched, " << human_bytes(pages.returned_bytes) << " given back\n";
        row("") << human_bytes(pages.mapped_bytes) << " mapped, " << human_bytes(pages.unmapped_bytes) << " of it unmapped\n";
        if (unexplained && !only_pages()) {
            row("") << paint_(Colour::yellow, "the heap above does not account for it") << '\n';
        } else if (maps && !only_pages()) {
            row("") << paint_(Colour::yellow, "it goes on mapping memory and keeps it, touched or not: see below") << '\n';
        }
        const std::size_t shown = std::min<std::size_t>(pages.sites.size(), only_pages() ? options_.top : (options_.top + 2) / 3);
        for (std::size_t i = 0; i < shown; ++i) {
            write_page_site(pages.sites[i]);
        }
        if (const auto left = pages.sites.size() - shown + pages.other_sites; left > 0) {
            out_ << "\n    " << human_count(left) << (left == 1 ? " more place" : " more places") << " in the code\n";
        }
    }

    void write_page_site(const ReportPageSite& site) {
        const char* what = site.kind == "fault" ? " touched" : site.kind == "brk" ? " by brk" : " mapped";
        out_ << "\n    " << paint_(Colour::bold, human_bytes(site.bytes)) << what;
        if (site.kind != "fault" && site.returned_bytes > 0) {
            out_ << " and kept (" << human_bytes(site.returned_bytes) << " unmapped)";
        }
        if (site.bytes_per_s != 0) {
            out_ << ", " << human_rate(site.bytes_per_s);
        }
        out_ << ", " << human_count(site.events) << (site.events == 1 ? " time" : " times") << ", site " << printable(site.id)
             << '\n';
        write_stack(out_, site.stack, site.stack_truncated,
                    {.most = options_.verbose ? SIZE_MAX : kFramesShown, .verbose = options_.verbose, .indent = 6}, paint_);
    }

    void totals() {
        const auto& totals = report_.totals;
        row("heap") << paint_(Colour::bold, human_bytes(totals.live_bytes)) << " live in " << human_count(totals.live_objects)
                    << ' ' << human_objects(totals.live_objects);
        if (report_.min_age_s > 0) {
            out_ << " at least " << human_duration(report_.min_age_s) << " old";
        }
        if (report_.interval_s > 0) {
            out_ << ", " << (totals.grown_bytes == 0 ? "unchanged" : human_signed_bytes(totals.grown_bytes)) << " in the last "
                 << human_duration(report_.interval_s);
        }
        out_ << '\n';
        const auto live = static_cast<double>(totals.live_bytes);
        if (totals.live_bytes_ci95[0] < live || totals.live_bytes_ci95[1] > live) {
            row("") << "95 % confidence: " << human_bytes(rounded(totals.live_bytes_ci95[0])) << " to "
                    << human_bytes(rounded(totals.live_bytes_ci95[1])) << " live\n";
        }
        if (totals.unverified_objects > 0) {
            row("") << paint_(Colour::yellow, human_bytes(totals.unverified_bytes) + " of it in " +
                                                  human_count(totals.unverified_objects) +
                                                  " objects is unverified: frees were not watched all the time")
                    << '\n';
        }
        row("") << human_count(totals.allocs) << " allocations (" << human_bytes(totals.allocated_bytes) << "), "
                << human_count(totals.frees) << " frees (" << human_bytes(totals.freed_bytes) << ")\n";
    }

    void sites() {
        if (report_.sites.empty()) {
            out_ << "\nNo call sites yet: no allocation that is still live has been seen.\n";
            return;
        }
        const Selection selection = select_sites(report_, options_.top);
        std::size_t rank = 0;
        if (!selection.growing.empty()) {
            out_ << '\n' << paint_(Colour::bold, "What grew") << '\n';
        }
        for (const auto* site : selection.growing) {
            write_site(++rank, *site);
        }
        if (!selection.live.empty()) {
            out_ << '\n' << paint_(Colour::bold, rank > 0 ? "Live, largest of the rest" : "Live, largest first") << '\n';
        }
        for (const auto* site : selection.live) {
            write_site(++rank, *site);
        }
        not_shown(selection);
    }

    void write_site(std::size_t rank, const ReportSite& site) {
        const std::string number = "#" + std::to_string(rank);
        out_ << '\n'
             << number << std::string(number.size() < 4 ? 4 - number.size() : 1, ' ')
             << paint_(Colour::bold, human_bytes(site.live_bytes)) << " live in " << human_count(site.live_objects) << ' '
             << human_objects(site.live_objects);
        if (report_.interval_s > 0 && site.grown_bytes != 0) {
            out_ << ", " << human_signed_bytes(site.grown_bytes) << " in the last " << human_duration(report_.interval_s);
        }
        if (site.growth_bytes_per_s != 0) {
            out_ << ", " << human_rate(site.growth_bytes_per_s);
        }
        if (site.oldest_age_s > 0) {
            out_ << ", oldest " << human_duration(site.oldest_age_s);
        }
        out_ << '\n';
        if (site.live_bytes_ci95[1] > site.live_bytes_ci95[0]) {
            out_ << "    an estimate: " << human_bytes(rounded(site.live_bytes_ci95[0])) << " to "
                 << human_bytes(rounded(site.live_bytes_ci95[1])) << " with 95 % confidence\n";
        }
        if (site.unverified_bytes > 0) {
            out_ << "    unverified: " << human_bytes(site.unverified_bytes)
                 << " may have been freed while frees were not watched\n";
        }
        write_judgement(site);
        out_ << "    " << printable(site.function.empty() ? "allocated" : site.function);
        if (!site.allocator.empty()) {
            out_ << " (" << printable(site.allocator) << ')';
        }
        out_ << ", " << human_count(site.allocs) << " allocations, " << human_count(site.frees) << " frees, site "
             << printable(site.id) << '\n';
        write_stack(out_, site.stack, site.stack_truncated,
                    {.most = options_.verbose ? SIZE_MAX : kFramesShown, .verbose = options_.verbose, .indent = 6}, paint_);
    }

    void write_judgement(const ReportSite& site) {
        std::string judgement = printable(site.verdict.empty() ? "unknown" : site.verdict);
        const int leak = verdict_rank(site.verdict);
        const auto colour = leak == 3 ? Colour::red : leak > 0 ? Colour::yellow : Colour::dim;
        if (leak > 0) {
            judgement += " leak, confidence " + human_percent(site.confidence);
        }
        out_ << "    " << paint_(colour, judgement);
        if (!site.evidence.empty()) {
            out_ << ": " << wrapped(printable(site.evidence), judgement.size() + 6, 4, kWidth);
        }
        out_ << '\n';
    }

    void not_shown(const Selection& selection) {
        std::vector<const ReportSite*> shown = selection.growing;
        shown.insert(shown.end(), selection.live.begin(), selection.live.end());
        std::sort(shown.begin(), shown.end());
        auto count = report_.totals.other_sites, bytes = report_.totals.other_live_bytes;
        auto objects = report_.totals.other_live_objects;
        for (const auto& site : report_.sites) {
            if (!std::binary_search(shown.begin(), shown.end(), &site)) {
                ++count;
                bytes = saturating_add(bytes, site.live_bytes);
                objects = saturating_add(objects, site.live_objects);
            }
        }
        if (count > 0) {
            out_ << '\n'
                 << human_count(count) << (count == 1 ? " site" : " sites") << " not shown: " << human_bytes(bytes) << " live in "
                 << human_count(objects) << ' ' << human_objects(objects) << '\n';
        }
    }

    [[nodiscard]] std::string cut(const std::string& text) const {
        return options_.verbose ? text : shorten(text, kWidth - kIndent);
    }

    static std::uint64_t rounded(double value) { return value > 0 ? static_cast<std::uint64_t>(std::min(value + 0.5, 1e18)) : 0; }

    const Report& report_;
    const TextOptions& options_;
    std::ostream& out_;
    Paint paint_;
};

} // namespace

void render_text(const Report& report, const TextOptions& options, std::ostream& out) {
    TextWriter(report, options, out).write();
}

} // namespace memtrace
