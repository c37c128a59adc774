// A history for people. Pure, but for the time zone, in which times are told.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <ostream>
#include <string_view>

#include "analyze/verdict.hpp"
#include "report/format.hpp"
#include "report/history_view.hpp"
#include "report/sparkline.hpp"
#include "report/text_parts.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kCurveWidth = 48;
constexpr std::size_t kSiteCurveWidth = 16;
constexpr std::size_t kMostPeriods = 12;
constexpr std::size_t kAlertsShown = 10;
constexpr std::size_t kVerdictsShown = 12;
constexpr std::size_t kNameWidth = 40;
constexpr std::int64_t kSecondMs = 1'000;
/// Reports that are so much further apart than usual have a gap between them.
constexpr std::int64_t kGapFactor = 4;
constexpr std::int64_t kLeastGapMs = 150 * kSecondMs;

std::tm local_fields(std::int64_t ms) {
    const auto seconds = static_cast<time_t>(ms / kSecondMs);
    std::tm fields{};
    localtime_r(&seconds, &fields);
    return fields;
}

std::string local_text(std::int64_t ms, const char* format = "%Y-%m-%d %H:%M:%S") {
    const auto fields = local_fields(ms);
    char text[64];
    return std::string(text, std::strftime(text, sizeof(text), format, &fields));
}

double seconds(std::int64_t ms) {
    return static_cast<double>(ms) / kSecondMs;
}

std::string padded(const std::string& text, std::size_t width, bool right = false) {
    const std::string blanks(width > text.size() ? width - text.size() : 0, ' ');
    return right ? blanks + text : text + blanks;
}

std::string number_right(const std::string& text) {
    return padded(text, 11, true);
}

/// Round lengths: those that people think in.
std::int64_t period_ms(std::int64_t span_ms) {
    constexpr std::int64_t kDay = 1'440;
    constexpr std::int64_t kMinutes[] = {1, 5, 10, 30, 60, 120, 180, 360, 720, kDay, 2 * kDay, 7 * kDay, 14 * kDay, 28 * kDay};
    for (const auto minutes : kMinutes) {
        if (span_ms / (minutes * 60 * kSecondMs) < static_cast<std::int64_t>(kMostPeriods)) {
            return minutes * 60 * kSecondMs;
        }
    }
    return span_ms / static_cast<std::int64_t>(kMostPeriods) + 1;
}

class HistoryText {
public:
    HistoryText(const HistoryView& view, const HistoryTextOptions& options, std::ostream& out)
        : view_(view), options_(options), out_(out), paint_(options.colour) {}

    void write() {
        head();
        if (!view_.samples.empty()) {
            curves();
        }
        const bool chosen = options_.sites || options_.alerts || options_.snapshots;
        if (!chosen) {
            periods();
            verdicts();
            kinds();
        }
        if (!chosen || options_.sites) {
            sites();
        }
        if (!chosen || options_.alerts) {
            alerts();
        }
        if (!chosen || options_.snapshots) {
            snapshots();
        }
    }

private:
    [[nodiscard]] std::int64_t first_ms() const { return view_.samples.front().at_ms; }
    [[nodiscard]] std::int64_t last_ms() const { return view_.samples.back().at_ms; }

    void head() {
        const auto& process = view_.process;
        out_ << paint_(Colour::bold, printable(process.comm)) << " (pid " << process.pid << "), started "
             << local_text(process.start_ms) << ", " << printable(process.state) << " when last seen "
             << local_text(process.last_ms) << '\n';
        const auto command = printable(process.cmdline.empty() ? process.exe : process.cmdline);
        out_ << "command   " << shorten(command, 110) << '\n';
        if (view_.samples.empty()) {
            out_ << "nothing was reported of it between " << local_text(view_.from_ms) << " and " << local_text(view_.to_ms)
                 << '\n';
            return;
        }
        out_ << "from      " << local_text(first_ms()) << " to " << local_text(last_ms(), "%Y-%m-%d %H:%M:%S %Z") << " ("
             << human_duration(seconds(last_ms() - first_ms())) << "), " << human_count(view_.samples.size())
             << (view_.samples.size() == 1 ? " report" : " reports") << gaps() << '\n';
    }

    /// When nobody looked. Older reports are thinned, so that a gap is one beside its neighbours.
    [[nodiscard]] std::string gaps() const {
        std::int64_t total = 0;
        std::size_t count = 0;
        for (std::size_t i = 1; i < view_.samples.size(); ++i) {
            const auto step = view_.samples[i].at_ms - view_.samples[i - 1].at_ms;
            const auto usual = i > 1 ? view_.samples[i - 1].at_ms - view_.samples[i - 2].at_ms : step;
            if (step > kLeastGapMs && step > kGapFactor * usual) {
                total += step;
                ++count;
            }
        }
        return count == 0
                   ? ""
                   : "; " + std::to_string(count) + (count == 1 ? " gap of " : " gaps of ") + human_duration(seconds(total));
    }

    /// The highest value in each part of the span; nothing where there is none. `holds_ms`: a sample holds until the next one, if that is
    /// no later.
    template <typename Samples, typename Value>
    [[nodiscard]] std::string curve(const Samples& samples, std::size_t width, const Value& value,
                                    std::int64_t holds_ms = 0) const {
        const auto span = std::max<std::int64_t>(last_ms() - first_ms(), 1);
        // Each sample has a place of its own where there are few.
        width = std::min(width, std::max<std::size_t>(view_.samples.size(), 1));
        std::vector<std::optional<double>> parts(width);
        const auto part_of = [&](std::int64_t at_ms) {
            const auto share = static_cast<double>(at_ms - first_ms()) / static_cast<double>(span);
            return std::min(static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)), width - 1);
        };
        for (std::size_t i = 0; i < samples.size(); ++i) {
            const auto at_ms = samples[i].at_ms;
            const bool last = i + 1 == samples.size();
            const auto next_ms = last ? last_ms() : samples[i + 1].at_ms;
            const auto begin = part_of(at_ms);
            const auto end = next_ms - at_ms <= holds_ms ? std::max(begin + 1, part_of(next_ms) + (last ? 1 : 0)) : begin + 1;
            const auto here = static_cast<double>(value(samples[i]));
            for (auto at = begin; at < end; ++at) {
                parts[at] = parts[at] ? std::max(*parts[at], here) : here;
            }
        }
        return sparkline(parts, options_.unicode);
    }

    void curves() {
        line("live", &HistorySample::live_bytes);
        line("rss", &HistorySample::rss_bytes);
        const auto& last = view_.samples.back();
        const auto dearest = std::ranges::max_element(view_.samples, {}, &HistorySample::overhead)->overhead;
        out_ << "tracing   " << printable(last.mode) << ", " << human_percent(dearest) << " of its CPU time at most, "
             << (last.lost == 0 ? "nothing lost" : human_count(last.lost) + " events lost") << '\n';
    }

    void line(const char* name, std::uint64_t HistorySample::* field) {
        const auto [low, high] = std::ranges::minmax_element(view_.samples, {}, field);
        const auto first = view_.samples.front().*field;
        const auto last = view_.samples.back().*field;
        const auto grown = difference(last, first);
        const auto span_s = seconds(last_ms() - first_ms());
        out_ << padded(name, 10)
             << curve(view_.samples, kCurveWidth, [field](const HistorySample& sample) { return sample.*field; }) << "  "
             << human_bytes(first) << " -> " << human_bytes(last) << " (" << human_signed_bytes(grown);
        if (span_s >= 60) {
            constexpr double kHour = 3'600;
            const auto hourly = static_cast<double>(grown) / span_s * kHour;
            out_ << ", " << human_signed_bytes(static_cast<std::int64_t>(std::clamp(hourly, -9e18, 9e18))) << " an hour";
        }
        out_ << "), " << human_bytes((*low).*field) << " to " << human_bytes((*high).*field) << '\n';
    }

    void title(const std::string& text) { out_ << '\n' << paint_(Colour::bold, text) << '\n'; }

    void periods() {
        if (view_.samples.size() < 2) {
            return;
        }
        const auto length = period_ms(last_ms() - first_ms());
        const auto offset = local_fields(first_ms()).tm_gmtoff * kSecondMs; // so that days begin at local midnight
        const auto period_of = [&](const HistorySample& sample) { return (sample.at_ms + offset) / length; };
        title("period of " + human_duration(seconds(length)) +
              "           live: least        most    RSS: most   leaks: most  verdict");
        for (auto begin = view_.samples.begin(); begin != view_.samples.end();) {
            const auto period = period_of(*begin);
            const auto end =
                std::find_if(begin, view_.samples.end(), [&](const auto& sample) { return period_of(sample) != period; });
            const auto [low, high] = std::ranges::minmax_element(begin, end, {}, &HistorySample::live_bytes);
            const auto rss = std::ranges::max_element(begin, end, {}, &HistorySample::rss_bytes)->rss_bytes;
            const auto rate = std::ranges::max_element(begin, end, {}, &HistorySample::leak_bytes_per_s)->leak_bytes_per_s;
            out_ << "  " << local_text(period * length - offset) << "    " << number_right(human_bytes(low->live_bytes)) << ' '
                 << number_right(human_bytes(high->live_bytes)) << "  " << number_right(human_bytes(rss)) << "  "
                 << padded(rate > 0 ? human_rate(rate) : "-", 12, true) << "  " << verdict((end - 1)->verdict) << '\n';
            begin = end;
        }
    }

    [[nodiscard]] std::string verdict(const std::string& text) const {
        const bool bad = text == "leak" || verdict_rank(text) >= verdict_rank("probable");
        return bad ? paint_(Colour::red, printable(text)) : printable(text);
    }

    void verdicts() {
        if (view_.verdicts.empty()) {
            return;
        }
        title("verdicts");
        const auto hidden = view_.verdicts.size() - std::min(view_.verdicts.size(), kVerdictsShown);
        if (hidden > 0) {
            out_ << "  " << hidden << " earlier ones\n";
        }
        for (auto i = hidden; i < view_.verdicts.size(); ++i) {
            const auto& change = view_.verdicts[i];
            out_ << "  " << local_text(change.at_ms) << "  " << verdict(change.verdict);
            out_ << (change.text.empty() ? "" : ": " + printable(change.text)) << '\n';
        }
    }

    void kinds() {
        bool titled = false;
        for (const auto& kind : view_.kinds) {
            const auto& first = kind.samples.front();
            const auto& last = kind.samples.back();
            if (first.live == last.live && last.leaked == 0 && verdict_rank(last.verdict) == 0) {
                continue;
            }
            if (!titled) {
                title("resources");
                titled = true;
            }
            out_ << "  " << padded(printable(kind.kind), 20) << ' '
                 << curve(
                        kind.samples, kSiteCurveWidth, [](const HistoryKindSample& sample) { return sample.live; }, kLeastGapMs)
                 << "  " << human_count(first.live) << " -> " << human_count(last.live) << " ("
                 << human_signed_count(difference(last.live, first.live)) << ')';
            out_ << (last.leaked > 0 ? ", " + human_count(last.leaked) + " leaked" : "");
            out_ << (last.verdict.empty() ? "" : ", " + verdict(last.verdict)) << '\n';
        }
    }

    void sites() {
        if (view_.sites.empty()) {
            return;
        }
        title("call sites that grew most");
        const auto shown = std::min<std::size_t>(view_.sites.size(), options_.top);
        for (std::size_t i = 0; i < shown; ++i) {
            const auto& site = view_.sites[i];
            const auto& last = site.samples.back();
            const auto named = site.stack.empty() ? site.function : innermost_name(site.stack);
            out_ << "  " << number_right(human_signed_bytes(history_growth(site))) << "  "
                 << curve(
                        site.samples, kSiteCurveWidth, [](const HistorySiteSample& sample) { return sample.live_bytes; },
                        kLeastGapMs)
                 << "  " << human_bytes(site.samples.front().live_bytes) << " -> " << human_bytes(last.live_bytes) << "  "
                 << verdict(last.verdict) << "  " << shorten(printable(named), kNameWidth) << '\n';
            if (options_.sites) {
                out_ << "    " << printable(site.function) << " (" << printable(site.allocator) << "), site "
                     << printable(site.id) << ", seen " << local_text(site.samples.front().at_ms) << " to "
                     << local_text(last.at_ms) << '\n';
                write_stack(out_, site.stack, site.stack_truncated, {.indent = 6}, paint_);
            }
        }
        if (shown < view_.sites.size()) {
            out_ << "  " << view_.sites.size() - shown << " more (--top, --sites)\n";
        }
    }

    void alerts() {
        if (view_.alerts.empty()) {
            return;
        }
        title("alerts");
        const auto most = options_.alerts ? view_.alerts.size() : kAlertsShown;
        const auto hidden = view_.alerts.size() - std::min(view_.alerts.size(), most);
        if (hidden > 0) {
            out_ << "  " << hidden << " earlier ones (--alerts)\n";
        }
        for (auto i = hidden; i < view_.alerts.size(); ++i) {
            const auto& alert = view_.alerts[i];
            const auto state = padded(alert.state == "firing" ? "fires" : printable(alert.state), 8);
            out_ << "  " << local_text(alert.at_ms) << "  " << (alert.state == "firing" ? paint_(Colour::red, state) : state)
                 << "  " << padded(printable(alert.severity), 9) << ' ' << printable(alert.name) << ": " << printable(alert.text)
                 << '\n';
        }
    }

    void snapshots() {
        if (view_.snapshots.empty()) {
            return;
        }
        const auto gone = std::ranges::count_if(view_.snapshots, &HistorySnapshot::gone);
        title("snapshots");
        if (!options_.snapshots) {
            out_ << "  " << view_.snapshots.size() << ", " << gone << " of them gone (--snapshots)\n";
            return;
        }
        for (const auto& snapshot : view_.snapshots) {
            out_ << "  " << local_text(snapshot.at_ms) << "  " << padded(printable(snapshot.format), 6) << "  "
                 << printable(snapshot.path) << (snapshot.gone ? "  (gone)" : "") << '\n';
        }
    }

    const HistoryView& view_;
    const HistoryTextOptions& options_;
    std::ostream& out_;
    Paint paint_;
};

} // namespace

void render_history_list(const std::vector<HistoryProcess>& processes, const std::vector<HistorySample>& newest,
                         const HistoryTextOptions& options, std::ostream& out) {
    const Paint paint(options.colour);
    out << paint(Colour::bold,
                 "      pid  program          state     first seen        last seen                live         RSS  verdict")
        << '\n';
    for (std::size_t i = 0; i < processes.size(); ++i) {
        const auto& process = processes[i];
        const auto& sample = newest[i];
        out << padded(std::to_string(process.pid), 9, true) << "  " << padded(shorten(printable(process.comm), 16), 16) << ' '
            << padded(printable(process.state), 9) << ' ' << local_text(process.first_ms, "%Y-%m-%d %H:%M") << "  "
            << local_text(process.last_ms, "%Y-%m-%d %H:%M") << ' ' << number_right(human_bytes(sample.live_bytes)) << ' '
            << number_right(human_bytes(sample.rss_bytes)) << "  " << printable(sample.verdict) << '\n';
    }
}

void render_history_text(const HistoryView& view, const HistoryTextOptions& options, std::ostream& out) {
    HistoryText(view, options, out).write();
}

} // namespace memtrace
