#include "report/diff_told.hpp"

#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "report/format.hpp"

namespace memtrace {

namespace {

/// Something that is wrong, on both sides; zero where there is none of it.
struct Fault {
    std::string what;
    const std::vector<ReportFrame>* stack = nullptr; ///< where it was taken, of the later side that has it
    std::uint64_t before = 0;
    std::uint64_t after = 0;
};

/// By what makes two of them the same.
using Faults = std::map<std::string, Fault>;

/// A stack, the same in two runs of the same binaries.
std::string place(const std::vector<ReportFrame>& stack) {
    std::string key;
    for (const auto& frame : stack) {
        const std::string module(base_name(frame.module));
        key += frame.function.empty() ? module + '+' + std::to_string(frame.offset) : frame.function;
        key += frame.inlined ? '~' : ';';
    }
    return key;
}

std::string cycle_name(const ReportCycle& cycle) {
    const auto objects = saturating_add(cycle.objects.size(), cycle.other_objects);
    std::string name = "cycle of " + human_count(objects) + (objects == 1 ? " object:" : " objects:");
    for (const auto& object : cycle.objects) {
        name += ' ' + (object.type.empty() ? "object" : object.type);
    }
    return name;
}

void add(Faults& faults, const std::string& key, const std::string& what, const std::vector<ReportFrame>* stack,
         std::uint64_t count, bool later) {
    auto& fault = faults[key];
    fault.what = what;
    fault.stack = stack;
    auto& side = later ? fault.after : fault.before;
    side = saturating_add(side, count);
}

void add_cycles(Faults& faults, const Report& report, bool later) {
    for (const auto& cycle : report.references.cycles) {
        std::vector<std::string> parts;
        for (const auto& object : cycle.objects) {
            parts.push_back(object.type);
        }
        for (const auto& handle : cycle.handles) { // the way round may begin anywhere
            parts.push_back(place(handle.acquired_at));
        }
        std::sort(parts.begin(), parts.end());
        std::string key;
        for (const auto& part : parts) {
            key += part + '\n';
        }
        const auto taken = std::find_if(cycle.handles.begin(), cycle.handles.end(),
                                        [](const auto& handle) { return !handle.acquired_at.empty(); });
        add(faults, key, cycle_name(cycle), taken == cycle.handles.end() ? nullptr : &taken->acquired_at, cycle.count, later);
    }
}

void add_errors(Faults& faults, const Report& report, bool later) {
    for (const auto& error : report.references.errors) {
        add(faults, error.kind + '\n' + error.type + '\n' + place(error.acquired_at) + '\n' + place(error.released_at),
            error.kind + (error.type.empty() ? "" : " of " + error.type), &error.acquired_at, error.count, later);
    }
}

void add_leaks(Faults& faults, const Report& report, bool later) {
    for (const auto& resource : report.resources.listed) {
        if (resource.state != "live") {
            add(faults, resource.kind + '\n' + resource.state + '\n' + place(resource.acquired_at),
                resource.kind + ", " + resource.state, &resource.acquired_at, 1, later);
        }
    }
}

struct KindChange {
    ReportResourceKind before;
    ReportResourceKind after;
};

std::vector<KindChange> grown_kinds(const Report& before, const Report& after) {
    std::map<std::string, KindChange> by_name;
    for (const auto& kind : before.resources.kinds) {
        by_name[kind.kind].before = kind;
    }
    for (const auto& kind : after.resources.kinds) {
        by_name[kind.kind].after = kind;
    }
    std::vector<KindChange> grown;
    for (const auto& [name, change] : by_name) {
        if (change.after.live > change.before.live || change.after.leaked > change.before.leaked) {
            grown.push_back(change);
        }
    }
    std::stable_sort(grown.begin(), grown.end(), [](const KindChange& a, const KindChange& b) {
        return difference(a.after.live, a.before.live) > difference(b.after.live, b.before.live);
    });
    return grown;
}

class ToldDiffWriter {
public:
    ToldDiffWriter(const TextOptions& options, const Paint& paint, std::ostream& out)
        : options_(options), paint_(paint), out_(out) {}

    void faults(const char* title, const Faults& found) {
        std::vector<const Fault*> more;
        for (const auto& [key, fault] : found) {
            if (fault.after > fault.before) {
                more.push_back(&fault);
            }
        }
        if (more.empty()) {
            return;
        }
        std::stable_sort(more.begin(), more.end(),
                         [](const Fault* a, const Fault* b) { return a->after - a->before > b->after - b->before; });
        head(title, more.size());
        for (std::size_t i = 0; i < std::min<std::size_t>(options_.top, more.size()); ++i) {
            const auto& fault = *more[i];
            out_ << "  " << paint_(Colour::red, human_signed_count(difference(fault.after, fault.before))) << "  "
                 << human_count(fault.before) << " -> " << human_count(fault.after) << "  " << printable(fault.what) << '\n';
            if (fault.stack != nullptr && !fault.stack->empty()) {
                write_stack(out_, *fault.stack, false, diff_stack_style(options_), paint_);
            }
        }
        rest(more.size());
    }

    void kinds(const std::vector<KindChange>& grown) {
        if (grown.empty()) {
            return;
        }
        head("kinds of resources that grew", grown.size());
        for (std::size_t i = 0; i < std::min<std::size_t>(options_.top, grown.size()); ++i) {
            const auto& [before, after] = grown[i];
            out_ << "  " << paint_(Colour::red, human_signed_count(difference(after.live, before.live))) << "  "
                 << human_count(before.live) << " -> " << human_count(after.live) << "  "
                 << printable(after.kind.empty() ? "of unknown kind" : after.kind);
            if (after.leaked != 0 || before.leaked != 0) {
                out_ << ", leaked " << human_count(before.leaked) << " -> " << human_count(after.leaked);
            }
            out_ << '\n';
        }
        rest(grown.size());
    }

    [[nodiscard]] bool wrote() const { return wrote_; }

private:
    void head(const char* title, std::size_t count) {
        out_ << '\n' << paint_(Colour::bold, title) << ": " << human_count(count) << '\n';
        wrote_ = true;
    }
    void rest(std::size_t count) {
        if (count > options_.top) {
            out_ << "  " << human_count(count - options_.top) << " more\n";
        }
    }

    const TextOptions& options_;
    const Paint& paint_;
    std::ostream& out_;
    bool wrote_ = false;
};

} // namespace

bool write_told_diff(std::ostream& out, const Report& before, const Report& after, const TextOptions& options,
                     const Paint& paint) {
    ToldDiffWriter writer(options, paint, out);
    const auto both = [&](auto collect) {
        Faults found;
        collect(found, before, false);
        collect(found, after, true);
        return found;
    };
    writer.faults("new cycles of references", both(add_cycles));
    writer.faults("new reference errors", both(add_errors));
    writer.faults("newly leaked resources", both(add_leaks));
    writer.kinds(grown_kinds(before, after));
    return writer.wrote();
}

} // namespace memtrace
