// What changed between two reports. Sites are matched by id, which is stable between runs of the same binaries.
#include <algorithm>
#include <map>
#include <ostream>
#include <string_view>
#include <vector>

#include "report/diff_told.hpp"
#include "report/format.hpp"
#include "report/render.hpp"
#include "report/text_parts.hpp"

namespace memtrace {

namespace {

/// A site on both sides; what one side lacks is zero there.
struct SiteChange {
    const ReportSite* site = nullptr; ///< names it: the later of the two
    std::uint64_t bytes_before = 0, bytes_after = 0;
    std::uint64_t objects_before = 0, objects_after = 0;

    [[nodiscard]] std::int64_t bytes() const { return difference(bytes_after, bytes_before); }
    [[nodiscard]] std::int64_t objects() const { return difference(objects_after, objects_before); }
    [[nodiscard]] bool was_live() const { return bytes_before > 0 || objects_before > 0; }
    [[nodiscard]] bool is_live() const { return bytes_after > 0 || objects_after > 0; }
    /// Bytes say more than blocks: 100 small blocks that became one large one have grown.
    [[nodiscard]] bool grew() const { return bytes() > 0 || (bytes() == 0 && objects() > 0); }
    [[nodiscard]] bool changed() const { return bytes() != 0 || objects() != 0; }
};

struct Changes {
    std::vector<SiteChange> grew, fresh, gone, shrank;
    std::uint64_t unchanged = 0;
};

std::uint64_t size_of(const SiteChange& change) {
    const std::int64_t bytes = change.bytes();
    return bytes < 0 ? 0 - static_cast<std::uint64_t>(bytes) : static_cast<std::uint64_t>(bytes);
}

Changes compare(const Report& before, const Report& after) {
    std::map<std::string_view, SiteChange> by_id;
    for (const auto& site : before.sites) {
        auto& change = by_id[site.id];
        change.site = &site;
        change.bytes_before = saturating_add(change.bytes_before, site.live_bytes);
        change.objects_before = saturating_add(change.objects_before, site.live_objects);
    }
    for (const auto& site : after.sites) {
        auto& change = by_id[site.id];
        change.site = &site;
        change.bytes_after = saturating_add(change.bytes_after, site.live_bytes);
        change.objects_after = saturating_add(change.objects_after, site.live_objects);
    }
    Changes changes;
    for (const auto& [id, change] : by_id) {
        if (!change.was_live() && !change.is_live()) {
            continue;
        }
        if (!change.was_live()) {
            changes.fresh.push_back(change);
        } else if (!change.is_live()) {
            changes.gone.push_back(change);
        } else if (change.changed()) {
            (change.grew() ? changes.grew : changes.shrank).push_back(change);
        } else {
            ++changes.unchanged;
        }
    }
    for (auto* section : {&changes.grew, &changes.fresh, &changes.gone, &changes.shrank}) {
        std::sort(section->begin(), section->end(), [](const SiteChange& a, const SiteChange& b) {
            return size_of(a) != size_of(b) ? size_of(a) > size_of(b) : a.site->id < b.site->id;
        });
    }
    return changes;
}

class DiffWriter {
public:
    DiffWriter(const Report& before, const Report& after, const TextOptions& options, std::ostream& out)
        : before_(before), after_(after), options_(options), out_(out), paint_(options.colour) {}

    void write() {
        const Changes changes = compare(before_, after_);
        head();
        warnings();
        totals();
        const bool told = write_told_diff(out_, before_, after_, options_, paint_);
        if (!told && changes.grew.empty() && changes.fresh.empty() && changes.gone.empty() && changes.shrank.empty()) {
            out_ << "\nnothing changed: " << human_count(changes.unchanged)
                 << (changes.unchanged == 1 ? " site holds" : " sites hold") << " what they held before\n";
            return;
        }
        section("grew", Colour::red, changes.grew);
        section("new", Colour::red, changes.fresh);
        section("gone", Colour::green, changes.gone);
        section("shrank", Colour::green, changes.shrank);
        if (changes.unchanged > 0) {
            out_ << '\n' << human_count(changes.unchanged) << (changes.unchanged == 1 ? " site" : " sites") << " unchanged\n";
        }
    }

private:
    void head() {
        out_ << paint_(Colour::bold, "memtrace diff") << "  " << printable(before_.time) << " -> " << printable(after_.time);
        if (before_.time_unix_ns > 0 && after_.time_unix_ns > before_.time_unix_ns) {
            out_ << " (" << human_duration(static_cast<double>(after_.time_unix_ns - before_.time_unix_ns) / 1e9) << " later)";
        }
        out_ << '\n' << label(before_);
        if (label(before_) != label(after_)) {
            out_ << " -> " << label(after_);
        }
        out_ << '\n';
    }

    /// What makes the comparison weaker than it looks, a line each.
    void warnings() {
        const auto& a = before_.process;
        const auto& b = after_.process;
        if (a.exe != b.exe) {
            warn("different programs: " + printable(a.exe) + " and " + printable(b.exe));
        } else if (a.pid != b.pid || a.start_time != b.start_time) {
            warn("two processes of the same program");
        } else if (before_.time_unix_ns > after_.time_unix_ns) {
            warn("the first report is the later one: are they the wrong way round?");
        }
        if (before_.coverage.mode != after_.coverage.mode || before_.min_age_s != after_.min_age_s) {
            warn("not measured in the same way: " + manner(before_) + " and " + manner(after_));
        }
        if (!before_.coverage.lost.empty() || !after_.coverage.lost.empty()) {
            warn("events were lost: the figures are off by what was");
        }
    }

    void warn(const std::string& text) { out_ << paint_(Colour::yellow, "note: " + text) << '\n'; }

    void totals() {
        const auto& a = before_.totals;
        const auto& b = after_.totals;
        out_ << "live      ";
        figures(a.live_bytes, b.live_bytes, a.live_objects, b.live_objects);
        out_ << '\n';
        if (before_.coverage.mode == "pages" || after_.coverage.mode == "pages") { // all that is known of one of them
            pages();
        }
    }

    void pages() {
        const auto line = [this](const char* title, std::uint64_t before, std::uint64_t after) {
            out_ << title << human_bytes(before) << " -> " << human_bytes(after) << " ("
                 << human_signed_bytes(difference(after, before)) << ")\n";
        };
        const auto kept = [](std::uint64_t bytes, std::uint64_t gone) { return bytes > gone ? bytes - gone : 0; };
        const auto& a = before_.pages;
        const auto& b = after_.pages;
        line("touched   ", kept(a.faulted_bytes, a.returned_bytes), kept(b.faulted_bytes, b.returned_bytes));
        line("mapped    ", kept(a.mapped_bytes, a.unmapped_bytes), kept(b.mapped_bytes, b.unmapped_bytes));
    }

    /// "1.0 KiB -> 2.0 KiB (+1.0 KiB), 1 -> 2 blocks (+1)".
    void figures(std::uint64_t bytes_before, std::uint64_t bytes_after, std::uint64_t objects_before,
                 std::uint64_t objects_after) {
        out_ << human_bytes(bytes_before) << " -> " << human_bytes(bytes_after) << " ("
             << human_signed_bytes(difference(bytes_after, bytes_before)) << "), " << human_count(objects_before) << " -> "
             << human_count(objects_after) << ' ' << human_objects(objects_after) << " ("
             << human_signed_count(difference(objects_after, objects_before)) << ')';
    }

    void section(const char* title, Colour colour, const std::vector<SiteChange>& changes) {
        if (changes.empty()) {
            return;
        }
        out_ << '\n'
             << paint_(Colour::bold, title) << ": " << human_count(changes.size())
             << (changes.size() == 1 ? " site, " : " sites, ") << human_signed_bytes(sum(changes, 0)) << '\n';
        const std::size_t shown = std::min<std::size_t>(options_.top, changes.size());
        for (std::size_t i = 0; i < shown; ++i) {
            const auto& change = changes[i];
            out_ << "  " << paint_(colour, human_signed_bytes(change.bytes())) << "  ";
            figures(change.bytes_before, change.bytes_after, change.objects_before, change.objects_after);
            out_ << "\n    " << printable(change.site->function.empty() ? "allocated" : change.site->function) << ", site "
                 << printable(change.site->id) << '\n';
            write_stack(out_, change.site->stack, change.site->stack_truncated, diff_stack_style(options_), paint_);
        }
        if (shown < changes.size()) {
            const std::size_t more = changes.size() - shown;
            out_ << "  " << human_count(more) << (more == 1 ? " more site, " : " more sites, ")
                 << human_signed_bytes(sum(changes, shown)) << '\n';
        }
    }

    static std::int64_t sum(const std::vector<SiteChange>& changes, std::size_t from) {
        std::uint64_t before = 0, after = 0;
        for (std::size_t i = from; i < changes.size(); ++i) {
            before = saturating_add(before, changes[i].bytes_before);
            after = saturating_add(after, changes[i].bytes_after);
        }
        return difference(after, before);
    }

    static std::string label(const Report& report) {
        return printable(report.process.comm) + " (pid " + std::to_string(report.process.pid) + ")";
    }

    static std::string manner(const Report& report) {
        return printable(report.coverage.mode) +
               (report.min_age_s > 0 ? " counting blocks from " + human_duration(report.min_age_s) + " of age on" : "");
    }

    const Report& before_;
    const Report& after_;
    const TextOptions& options_;
    std::ostream& out_;
    Paint paint_;
};

} // namespace

void render_diff(const Report& before, const Report& after, const TextOptions& options, std::ostream& out) {
    DiffWriter(before, after, options, out).write();
}

} // namespace memtrace
