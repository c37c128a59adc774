#include "report/text_told.hpp"

#include <algorithm>
#include <ostream>

#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kWidth = 110;
constexpr std::size_t kFrames = 12;      ///< of one stack, unless verbose: an entry has up to three
constexpr std::size_t kObjectsShown = 6; ///< of one cycle, unless verbose
constexpr std::size_t kTypeWidth = 60;

std::string plural(std::uint64_t count, const char* one, const char* many) {
    return human_count(count) + ' ' + (count == 1 ? one : many);
}

std::string type_text(const std::string& type) {
    return type.empty() ? "object" : shorten(printable(type), kTypeWidth);
}

/// Of our headers (include/memtrace), or of a container of theirs: above it stands who used them.
bool is_of_sdk(const ReportFrame& frame) {
    const auto scope = frame.function.find("memtrace::");
    return frame.function.starts_with("memtrace_") || (scope != std::string::npos && scope < frame.function.find('('));
}

/// Where the program's own frames begin; 0 where there are none.
std::size_t first_own_frame(const std::vector<ReportFrame>& frames) {
    const auto own = std::find_if_not(frames.begin(), frames.end(), is_of_sdk);
    return own == frames.end() ? 0 : static_cast<std::size_t>(own - frames.begin());
}

class ToldWriter {
public:
    ToldWriter(std::ostream& out, const Report& report, const TextOptions& options, const Paint& paint)
        : out_(out), report_(report), options_(options), paint_(paint) {}

    void write() {
        cycles();
        reference_errors();
        resource_sites();
        resources();
        resource_errors();
        pools();
        cleanups();
    }

private:
    void title(const std::string& text) {
        out_ << '\n' << paint_(Colour::bold, text) << '\n';
        rank_ = 0;
    }

    void number() {
        const std::string text = "#" + std::to_string(++rank_);
        out_ << '\n' << text << std::string(text.size() < 4 ? 4 - text.size() : 1, ' ');
    }

    void verdict(const std::string& verdict, const std::string& evidence) {
        const auto colour = verdict == "definite" ? Colour::red : verdict == "stable" ? Colour::dim : Colour::yellow;
        out_ << "    " << paint_(colour, printable(verdict));
        if (!evidence.empty()) {
            out_ << ": " << wrapped(printable(evidence), verdict.size() + 6, 4, kWidth);
        }
        out_ << '\n';
    }

    void stack(const char* what, const std::vector<ReportFrame>& frames) {
        if (frames.empty()) {
            return;
        }
        out_ << "    " << what << '\n';
        write_stack(out_, frames, false,
                    {.most = options_.verbose ? SIZE_MAX : kFrames,
                     .verbose = options_.verbose,
                     .indent = 6,
                     .first = options_.verbose ? 0 : first_own_frame(frames)},
                    paint_);
    }

    void more(std::uint64_t count, const char* one, const char* many) {
        if (count != 0) {
            out_ << "\n    " << human_count(count) << " more " << (count == 1 ? one : many) << '\n';
        }
    }

    void cycles() {
        const auto& references = report_.references;
        if (references.cycles.empty()) {
            return;
        }
        title("Reference cycles: objects that keep but each other alive");
        const auto shown = std::min<std::size_t>(options_.top, references.cycles.size());
        std::uint64_t left = references.other_cycles;
        for (std::size_t i = 0; i < references.cycles.size(); ++i) {
            if (i < shown) {
                write_cycle(references.cycles[i]);
            } else {
                left = saturating_add(left, references.cycles[i].count);
            }
        }
        more(left, "cycle", "cycles");
    }

    void write_cycle(const ReportCycle& cycle) {
        const auto objects = saturating_add(cycle.objects.size(), cycle.other_objects);
        number();
        if (cycle.count > 1) {
            out_ << paint_(Colour::bold, human_count(cycle.count) + " cycles") << " keep " << human_bytes(cycle.total_bytes)
                 << "; one of them: ";
        }
        out_ << paint_(Colour::bold, human_bytes(cycle.bytes)) << " in a cycle of " << plural(objects, "object", "objects");
        if (cycle.retained_objects > 0) {
            out_ << ", and " << human_bytes(cycle.retained_bytes) << " in " << human_count(cycle.retained_objects)
                 << " that hang on it";
        }
        out_ << '\n';
        verdict(cycle.verdict, "no strong reference from outside leads there");
        const auto shown = options_.verbose ? cycle.objects.size() : std::min(cycle.objects.size(), kObjectsShown);
        for (std::size_t i = 0; i < shown; ++i) {
            const auto& object = cycle.objects[i];
            out_ << "    " << type_text(object.type) << ' ' << printable(object.id) << ", " << human_bytes(object.bytes) << ", "
                 << human_count(object.strong) << " strong, " << human_count(object.weak) << " weak\n";
        }
        if (objects > shown) {
            out_ << "    ... " << plural(objects - shown, "more object", "more objects") << '\n';
        }
        for (std::size_t i = 0; i < std::min(cycle.handles.size(), options_.verbose ? SIZE_MAX : kObjectsShown); ++i) {
            write_handle(cycle, cycle.handles[i]);
        }
    }

    void write_handle(const ReportCycle& cycle, const ReportCycleHandle& handle) {
        const auto name = [&](const std::string& id) {
            for (const auto& object : cycle.objects) {
                if (object.id == id) {
                    return type_text(object.type) + ' ' + printable(id);
                }
            }
            return printable(id);
        };
        if (handle.handle.empty()) {
            out_ << "    " << name(handle.from) << " contains " << name(handle.to) << '\n';
            return;
        }
        stack((name(handle.from) + " holds " + name(handle.to) + " by the handle at " + printable(handle.handle) + ", taken at")
                  .c_str(),
              handle.acquired_at);
    }

    void reference_errors() {
        const auto& references = report_.references;
        if (references.errors.empty()) {
            return;
        }
        title("Reference errors");
        const auto shown = std::min<std::size_t>(options_.top, references.errors.size());
        std::uint64_t left = references.other_errors;
        for (std::size_t i = 0; i < references.errors.size(); ++i) {
            if (i < shown) {
                write_error(references.errors[i]);
            } else {
                left = saturating_add(left, references.errors[i].count);
            }
        }
        more(left, "error", "errors");
    }

    void write_error(const ReportReferenceError& error) {
        number();
        out_ << paint_(Colour::bold, printable(error.kind)) << (error.count > 1 ? " x " + human_count(error.count) : "") << " of "
             << type_text(error.type) << ' ' << printable(error.object) << ", " << human_bytes(error.bytes);
        if (!error.handle.empty()) {
            out_ << ", handle at " << printable(error.handle);
        }
        out_ << '\n';
        verdict(error.verdict, error.evidence);
        const bool again = error.kind == "use_after_destroy";
        const bool of_object = error.kind == "never_destroyed" || error.kind == "count_drift" || error.kind == "below_zero" ||
                               error.kind == "release_without_acquire" || error.kind == "release_after_destroy";
        stack(again ? "taken again at" : of_object ? "created at" : "taken at", error.acquired_at);
        const bool after_end = error.kind == "release_after_destroy" || error.kind == "block_kept";
        stack(after_end ? "destroyed at" : "given back first at", error.before_at);
        stack(released_words(error.kind), error.released_at);
    }

    static const char* released_words(const std::string& kind) {
        return kind == "use_after_destroy" || kind == "destroyed_while_held" ? "destroyed at"
               : kind == "lost_release" || kind == "block_kept"              ? "lost at"
               : kind == "double_release"                                    ? "given back again at"
                                                                             : "given back at";
    }

    /// Places that acquire more and more.
    void resource_sites() {
        std::vector<const ReportResourceSite*> growing;
        for (const auto& site : report_.resources.sites) {
            if (options_.verbose || (site.verdict != "stable" && site.verdict != "unknown")) {
                growing.push_back(&site);
            }
        }
        if (growing.empty()) {
            return;
        }
        title(options_.verbose ? "Where resources are acquired" : "Resources that become more and more");
        const auto shown = std::min<std::size_t>(options_.top, growing.size());
        for (std::size_t i = 0; i < shown; ++i) {
            write_resource_site(*growing[i]);
        }
        more(growing.size() - shown, "place", "places");
    }

    void write_resource_site(const ReportResourceSite& site) {
        number();
        out_ << paint_(Colour::bold, human_count(site.held) + ' ' + printable(site.kind)) << " held, "
             << human_count(site.acquired) << " acquired, " << human_count(site.released) << " released";
        for (std::size_t i = 0; i < site.names.size(); ++i) {
            out_ << (i == 0 ? ": \"" : ", \"") << shorten(printable(site.names[i]), kTypeWidth) << '"';
        }
        out_ << '\n';
        verdict(site.verdict, site.evidence);
        stack("acquired at", site.acquired_at);
    }

    /// Only those that something is wrong with: a busy server holds thousands.
    void resources() {
        std::vector<const ReportResource*> wrong;
        for (const auto& resource : report_.resources.listed) {
            if (resource.verdict != "stable" || options_.verbose) {
                wrong.push_back(&resource);
            }
        }
        if (wrong.empty()) {
            return;
        }
        title(options_.verbose ? "Resources" : "Resources that nobody gives back");
        const auto shown = std::min<std::size_t>(options_.top, wrong.size());
        for (std::size_t i = 0; i < shown; ++i) {
            write_resource(*wrong[i]);
        }
        more(wrong.size() - shown, "resource", "resources");
    }

    void write_resource(const ReportResource& resource) {
        number();
        out_ << paint_(Colour::bold, printable(resource.kind) + ' ' + printable(resource.id));
        if (!resource.name.empty()) {
            out_ << " \"" << shorten(printable(resource.name), kTypeWidth) << '"';
        }
        out_ << ", held for " << human_duration(resource.age_s) << ", unused for " << human_duration(resource.idle_s);
        if (resource.bytes > 0) {
            out_ << ", " << human_bytes(resource.bytes);
        }
        if (!resource.parent.empty()) {
            out_ << ", of " << printable(resource.parent);
        }
        out_ << '\n';
        verdict(resource.verdict, resource.evidence);
        stack("acquired at", resource.acquired_at);
    }

    void resource_errors() {
        const auto& errors = report_.resources.errors;
        if (errors.empty()) {
            return;
        }
        title("Resource errors");
        const auto shown = std::min<std::size_t>(options_.top, errors.size());
        std::uint64_t left = report_.resources.other_errors;
        for (std::size_t i = 0; i < errors.size(); ++i) {
            if (i >= shown) {
                left = saturating_add(left, errors[i].count);
                continue;
            }
            const auto& error = errors[i];
            number();
            out_ << paint_(Colour::bold, printable(error.error)) << (error.count > 1 ? " x " + human_count(error.count) : "")
                 << " of " << printable(error.kind) << ' ' << printable(error.id) << '\n';
            verdict(error.verdict, "");
            stack("acquired at", error.acquired_at);
            stack("released at", error.released_at);
            stack(error.error == "double_release" ? "released again at" : "used at", error.used_at);
        }
        more(left, "error", "errors");
    }

    void pools() {
        bool first = true;
        for (const auto& pool : report_.resources.pools) {
            if (pool.verdict == "stable" && !options_.verbose) {
                continue;
            }
            if (first) {
                title("Pools");
                first = false;
            }
            number();
            out_ << paint_(Colour::bold, printable(pool.name.empty() ? pool.id : pool.name)) << ", " << human_count(pool.in_use)
                 << " in use";
            if (pool.limit > 0) {
                out_ << " of " << human_count(pool.limit);
            }
            out_ << ", at most " << human_count(pool.peak) << " so far, " << plural(pool.waits, "wait", "waits") << '\n';
            verdict(pool.verdict, pool.evidence);
            stack("waited at", pool.waited_at);
        }
    }

    void cleanups() {
        const auto& cleanups = report_.resources.cleanups;
        if (cleanups.empty()) {
            return;
        }
        title("Emergency cleanups");
        for (const auto& cleanup : cleanups) {
            out_ << "    " << human_duration(cleanup.age_s) << " ago, " << printable(cleanup.level) << ": "
                 << human_bytes(cleanup.wanted_bytes) << " asked for, ";
            if (cleanup.ended) {
                out_ << human_bytes(cleanup.freed_bytes) << " freed in " << plural(cleanup.released, "resource", "resources")
                     << " within " << human_duration(cleanup.duration_s) << '\n';
            } else {
                out_ << paint_(Colour::yellow, "not ended yet") << '\n';
            }
        }
    }

    std::ostream& out_;
    const Report& report_;
    const TextOptions& options_;
    const Paint& paint_;
    std::size_t rank_ = 0;
};

} // namespace

void write_told_head(std::ostream& out, const Report& report, std::size_t indent, const Paint& paint) {
    const auto row = [&](std::string label) -> std::ostream& {
        label.resize(indent, ' ');
        return out << label;
    };
    const auto& references = report.references;
    if (references.objects > 0 || references.references > 0) {
        row("objects") << human_count(references.objects) << " told of, "
                       << plural(references.references, "reference", "references");
        if (references.sampled_one_in > 1) {
            out << ", estimated from one object in " << human_count(references.sampled_one_in) << ": "
                << human_count(static_cast<std::uint64_t>(references.objects_ci95[0])) << " to "
                << human_count(static_cast<std::uint64_t>(references.objects_ci95[1])) << " with 95 % confidence";
        }
        out << '\n';
    }
    std::string kinds;
    for (const auto& kind : report.resources.kinds) {
        kinds += (kinds.empty() ? "" : ", ") + human_count(kind.live) + ' ' +
                 printable(kind.kind.empty() ? "of unknown kind" : kind.kind) +
                 (grows(kind) ? " (+" + human_number_rate(kind.growth_per_s) + ')' : "");
    }
    if (!kinds.empty()) {
        const auto& resources = report.resources;
        kinds += " held";
        if (resources.descriptor_limit > 0) {
            kinds +=
                "; " + human_count(resources.descriptors) + " of " + human_count(resources.descriptor_limit) + " descriptors";
        }
        row("resources") << wrapped(kinds, indent, indent, kWidth) << '\n';
    }
    std::string list;
    for (const auto* counters : {&references.counters, &report.resources.counters}) {
        for (const auto& [name, value] : *counters) {
            if (name.ends_with("_refused")) {
                list += (list.empty() ? "" : ", ") + printable(name) + " " + human_count(value);
            }
        }
    }
    if (!list.empty()) {
        row("") << paint(Colour::yellow, "no room for all that was told: " + list) << '\n';
    }
}

void write_told_sections(std::ostream& out, const Report& report, const TextOptions& options, const Paint& paint) {
    ToldWriter(out, report, options, paint).write();
}

} // namespace memtrace
