// References of the report: the ledger's errors, the graph's cycles.
#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <tuple>

#include "analyze/estimate.hpp"
#include "analyze/reference_graph.hpp"
#include "analyze/verdict.hpp"
#include "report/build_parts.hpp"
#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxCycles = 20;       ///< listed
constexpr std::size_t kMaxErrors = 20;       ///< listed
constexpr std::size_t kMaxCycleObjects = 16; ///< of one cycle
constexpr std::size_t kMaxCycleHandles = 16; ///< likewise

ReportObject build_object(const ReferenceLedger& ledger, const TrackedObject& object) {
    return {address_id(object.address), ledger.type_name(object.type), object.bytes, object.strong_count(), object.weak_count()};
}

/// What cycles that are alike have in common: the types of their objects and where the references were taken.
std::string likeness(const ReferenceLedger& ledger, const LedgerGraph& built, const ReferenceCycle& cycle) {
    std::vector<std::uint32_t> types;
    for (const auto node : cycle.objects) {
        types.push_back(ledger.objects()[built.objects[node]].type);
    }
    std::vector<std::uint32_t> stacks;
    for (const auto& edge : cycle.path) {
        stacks.push_back(edge.handle == kNoIndex ? 0 : ledger.handles()[built.handles[edge.handle]].acquired.stack.value);
    }
    std::sort(types.begin(), types.end());
    std::sort(stacks.begin(), stacks.end());
    std::string key;
    for (const auto* values : {&types, &stacks}) {
        for (const auto value : *values) {
            key += std::to_string(value) + ' ';
        }
        key += ';';
    }
    return key;
}

ReportCycle build_cycle(const Model& model, const ReferenceLedger& ledger, const LedgerGraph& built,
                        const ReferenceCycle& cycle) {
    ReportCycle out;
    out.bytes = cycle.bytes;
    out.retained_objects = cycle.retained_objects;
    out.retained_bytes = cycle.retained_bytes;
    out.verdict = "definite";
    for (const auto node : cycle.objects) {
        const auto& object = ledger.objects()[built.objects[node]];
        if (!ledger.certain(object)) {
            out.verdict = "suspect";
        }
        if (out.objects.size() < kMaxCycleObjects) {
            out.objects.push_back(build_object(ledger, object));
        }
    }
    out.other_objects = cycle.objects.size() - out.objects.size();
    for (const auto& edge : cycle.path) {
        if (out.handles.size() == kMaxCycleHandles) {
            break;
        }
        auto& handle = out.handles.emplace_back();
        handle.from = address_id(built.graph.objects()[edge.from].address);
        handle.to = address_id(built.graph.objects()[edge.to].address);
        if (edge.handle != kNoIndex) {
            const auto& entry = ledger.handles()[built.handles[edge.handle]];
            handle.handle = address_id(entry.address);
            handle.acquired_at = build_stack(model, entry.acquired.stack);
        }
    }
    return out;
}

void build_cycles(const Model& model, const ReferenceLedger& ledger, ReportReferences& out) {
    const auto built = reference_graph(ledger);
    out.edges = built.graph.targets().size();
    struct Alike {
        const ReferenceCycle* first;
        std::uint64_t count = 0;
        std::uint64_t bytes = 0;
    };
    const auto cycles = find_cycles(built.graph);
    std::map<std::string, Alike> alike;
    for (const auto& cycle : cycles) {
        auto& group = alike.try_emplace(likeness(ledger, built, cycle), Alike{&cycle}).first->second;
        ++group.count;
        group.bytes += cycle.bytes + cycle.retained_bytes;
    }
    std::vector<Alike> groups;
    for (const auto& [key, group] : alike) {
        groups.push_back(group);
    }
    std::sort(groups.begin(), groups.end(), [](const Alike& a, const Alike& b) {
        return std::tuple(b.bytes, a.first->objects.front()) < std::tuple(a.bytes, b.first->objects.front());
    });
    for (const auto& group : groups) {
        if (out.cycles.size() == kMaxCycles) {
            out.other_cycles += group.count;
            continue;
        }
        out.cycles.push_back(build_cycle(model, ledger, built, *group.first));
        out.cycles.back().count = group.count;
        out.cycles.back().total_bytes = group.bytes;
    }
}

const char* verdict_of(const ReferenceError& error) {
    if (!error.certain || error.piles_up || error.kind == ReferenceErrorKind::count_drift) {
        return "suspect";
    }
    return error.kind == ReferenceErrorKind::never_destroyed ? "probable" : "definite";
}

std::string evidence_of(const ReferenceError& error, std::uint64_t now_ns) {
    constexpr std::array kWords{"a handle gave back twice what it held once",
                                "a handle gave back a reference that it never held",
                                "the program's own count fell below zero",
                                "a reference to it was given back after it had been destroyed",
                                "a reference to it was taken after it had been destroyed",
                                "it was destroyed while a strong handle referred to it",
                                "a handle was overwritten or ceased to be, and did not give back what it held",
                                "nobody refers to it any more, and it was not destroyed",
                                "the program's count differs from what it tells",
                                "a weak handle was overwritten or ceased to be, and did not give back what it held"};
    std::string text =
        error.piles_up ? "weak handles taken there pile up and are not given back" : kWords[static_cast<std::size_t>(error.kind)];
    if (error.kind == ReferenceErrorKind::count_drift) {
        text += ": " + std::to_string(error.told) + " strong references, " + std::to_string(error.known) + " told of";
    } else if (error.kind == ReferenceErrorKind::block_kept) { // with its object's memory, where make_tracked made both as one
        text += ": the control block is kept, the object was destroyed " +
                human_duration(static_cast<double>(now_ns - std::min(now_ns, error.before.mono_ns)) / 1e9) + " ago";
    }
    return error.certain ? text : text + "; events were lost, which may explain it";
}

void build_errors(const Model& model, const ReferenceLedger& ledger, ReportReferences& out) {
    auto errors = ledger.errors();
    std::stable_sort(errors.begin(), errors.end(), [](const ReferenceError& a, const ReferenceError& b) {
        return std::tuple(verdict_rank(verdict_of(b)), b.count) < std::tuple(verdict_rank(verdict_of(a)), a.count);
    });
    out.other_errors = ledger.counters().errors_refused;
    for (const auto& error : errors) {
        if (out.errors.size() == kMaxErrors) {
            out.other_errors += error.count;
            continue;
        }
        auto& listed = out.errors.emplace_back();
        listed.kind = reference_error_name(error.kind);
        listed.object = address_id(error.object);
        listed.acquired_at = build_stack(model, error.acquired.stack);
        listed.released_at = build_stack(model, error.released.stack);
        listed.before_at = build_stack(model, error.before.stack);
        listed.type = ledger.type_name(error.type);
        listed.bytes = error.bytes;
        listed.handle = error.handle == 0 ? "" : address_id(error.handle);
        listed.count = error.count;
        listed.verdict = verdict_of(error);
        listed.evidence = evidence_of(error, ledger.now_ns());
    }
}

/// Of one object in k is heard, by its address: each stands for k. Its references come with it, so they are as sure as objects are.
void count_references(const ReferenceLedger& ledger, ReportReferences& out) {
    double references = 0;
    double squares = 0;
    for (const auto& object : ledger.objects()) {
        if (object.state == TrackedObject::State::live) {
            const auto held = static_cast<double>(object.strong_count() + object.weak_count());
            references += held;
            squares += held * held;
        }
    }
    const auto k = static_cast<double>(out.sampled_one_in);
    const auto objects = static_cast<double>(ledger.live_objects());
    out.objects = ledger.live_objects() * out.sampled_one_in;
    out.references = static_cast<std::uint64_t>(references * k);
    const auto of_objects = interval95(k * objects, k * (k - 1) * objects, k);
    const double one = references > 0 ? k * squares / references : k;
    const auto of_references = interval95(k * references, k * (k - 1) * squares, one);
    out.objects_ci95[0] = k > 1 ? of_objects.low : objects;
    out.objects_ci95[1] = k > 1 ? of_objects.high : objects;
    out.references_ci95[0] = k > 1 ? of_references.low : references;
    out.references_ci95[1] = k > 1 ? of_references.high : references;
}

} // namespace

std::string address_id(std::uint64_t address) {
    char text[19];
    std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(address));
    return text;
}

void build_references(const Model& model, const Process& process, Report& report) {
    if (!process.contract) {
        return;
    }
    const auto& ledger = process.references;
    auto& out = report.references;
    out.followed = true;
    out.sources = process.contract->sources;
    out.sampled_one_in = process.contract->sampled_one_in;
    count_references(ledger, out);
    build_cycles(model, ledger, out);
    build_errors(model, ledger, out);
    const auto& counters = ledger.counters();
    for (const auto& [name, value] :
         std::initializer_list<std::pair<const char*, std::uint64_t>>{{"unknown_objects", counters.unknown_objects},
                                                                      {"objects_refused", counters.objects_refused},
                                                                      {"handles_refused", counters.handles_refused},
                                                                      {"errors_refused", counters.errors_refused},
                                                                      {"missed_destroys", counters.missed_destroys},
                                                                      {"unmatched_weak", counters.unmatched_weak},
                                                                      {"unmatched_moves", counters.unmatched_moves},
                                                                      {"lost_weak", counters.lost_weak},
                                                                      {"pending_refused", counters.pending_refused},
                                                                      {"storages_refused", ledger.storages().refused()}}) {
        if (value != 0) {
            out.counters[name] = value;
        }
    }
}

} // namespace memtrace
