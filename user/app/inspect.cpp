// memtrace probes and memtrace doctor: what would be attached, what the kernel offers.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>
#include <utility>

#include "app/call_rate.hpp"
#include "app/commands.hpp"
#include "app/mapped_match.hpp"
#include "app/message.hpp"
#include "app/privileges.hpp"
#include "app/resource_collector.hpp"
#include "app/told_heap.hpp"
#include "config/recipes.hpp"
#include "kernel/contract_tracer.hpp"
#include "kernel/features.hpp"
#include "kernel/heap_tracer.hpp"
#include "kernel/mapped_tracer.hpp"
#include "kernel/page_tracer.hpp"
#include "kernel/probe_plan.hpp"
#include "kernel/resource_tracer.hpp"
#include "kernel/told_heap_tracer.hpp"
#include "proc/allocators.hpp"
#include "proc/process.hpp"
#include "proc/usdt.hpp"

namespace memtrace {

namespace {

const char* hook_purpose(HookKind kind) {
    switch (kind) {
    case HookKind::library_changed:
        return "hears of libraries that come later";
    case HookKind::jump:
        return "knows of calls left by a jump";
    case HookKind::unwind:
        return "keeps exceptions safe while a call is probed";
    }
    return "";
}

/// "+3   je 0x98fb8   emulated, 660 ns: the first that is emulated"
std::string describe_place(const Placement& placement, const HitCosts& costs) {
    char text[160];
    std::snprintf(text, sizeof(text), "+%-3lu %-30s %s", static_cast<unsigned long>(placement.offset),
                  placement.instruction.c_str(), hit_cost_name(placement.cost));
    std::string out = text;
    const double each_ns = placement.cost == HitCost::emulated ? costs.emulated_ns : costs.stepped_ns;
    if (each_ns > 0) {
        std::snprintf(text, sizeof(text), ", %.0f ns", each_ns);
        out += text;
    }
    return out + ": " + placement.reason;
}

void print_object(const ProbeObject& object, ProbePlanner& planner, const HitCosts& costs) {
    std::printf("  %s\n    allocator: %s\n", object.path.c_str(), object.points.empty() ? "none" : object.allocator.c_str());
    const auto& plan = planner.plan(object);
    for (std::size_t i = 0; i < object.points.size(); ++i) {
        const auto& point = object.points[i];
        const bool free = function_table()[point.function].is_free();
        std::printf("    %-16s file offset 0x%-8lx %s\n", point.symbol.c_str(), static_cast<unsigned long>(point.file_offset),
                    free ? "entry" : "entry and return");
        std::printf("      %s\n", describe_place(plan.points[i], costs).c_str());
    }
    for (std::size_t i = 0; i < object.hooks.size(); ++i) {
        const auto& hook = object.hooks[i];
        std::printf("    %-16s file offset 0x%-8lx %s\n", hook.symbol.c_str(), static_cast<unsigned long>(hook.file_offset),
                    hook_purpose(hook.kind));
        std::printf("      %s\n", describe_place(plan.hooks[i], costs).c_str());
    }
}

/// True where the program tells of a sample of its heap.
bool print_told_heap(std::int32_t pid, const std::vector<Mapping>& mappings, const std::string& allocator) {
    std::set<FileIdentity> seen;
    const auto objects = find_usdt_objects(pid, mappings, kToldHeapProvider, seen);
    for (const auto& object : objects) {
        if (const auto missing = missing_told_probe(object); !missing.empty()) {
            std::printf("  %s\n", missing.c_str());
            continue;
        }
        std::printf("  %s: tells of a sample of its allocations, provider otel_memory: %s\n", object.path.c_str(),
                    allocator == kToldHeapProvider
                        ? "followed"
                        : "followed where probes on malloc fit no budget, or with --allocator otel_memory");
    }
    return std::any_of(objects.begin(), objects.end(), [](const auto& object) { return missing_told_probe(object).empty(); });
}

/// What the program would be heard by, where it was built with the contract's probes.
void print_contract(std::int32_t pid, const std::vector<Mapping>& mappings) {
    std::set<FileIdentity> seen;
    for (const auto& object : find_usdt_objects(pid, mappings, "memtrace", seen)) {
        std::map<std::string, std::size_t> places;
        for (const auto& probe : object.probes) {
            ++places[probe.name];
        }
        std::printf("  %s: probes of its own, provider memtrace\n", object.path.c_str());
        for (std::uint16_t kind = 1; contract_probe_name(kind) != nullptr; ++kind) {
            if (const auto found = places.find(contract_probe_name(kind)); found != places.end()) {
                std::printf("    %-16s %zu %s\n", found->first.c_str(), found->second, found->second == 1 ? "place" : "places");
            }
        }
    }
}

void print_recipes(std::int32_t pid, const std::vector<Mapping>& mappings, const std::vector<ResourceRecipe>& recipes) {
    std::set<FileIdentity> seen;
    const auto complain = [](const std::string& text) { std::printf("  %s\n", text.c_str()); };
    for (const auto& object : match_recipes(pid, mappings, recipes, seen, complain)) {
        std::printf("  %s: by recipes\n", object.path.c_str());
        for (const auto& source : object.sources) {
            std::printf("    %s\n", source.c_str());
        }
    }
}

int print_probes(std::int32_t pid, const std::string& allocator, const std::vector<ResourceRecipe>& recipes,
                 const HitCosts& costs) {
    const auto info = read_process_info(pid);
    if (!info) {
        return fail_with(info.error());
    }
    const auto mappings = read_maps(pid);
    if (!mappings) {
        return fail_with(mappings.error());
    }
    std::set<FileIdentity> seen;
    const auto objects = find_probe_objects(pid, *mappings, allocator, seen);
    if (!objects) {
        return fail_with(objects.error());
    }
    std::printf("process %d (%s) %s\n", pid, info->comm.c_str(), info->exe.c_str());
    std::size_t functions = 0;
    ProbePlanner planner(costs.long_nops);
    for (const auto& object : *objects) {
        print_object(object, planner, costs);
        functions += object.points.size();
    }
    const bool tells = print_told_heap(pid, *mappings, allocator);
    print_contract(pid, *mappings);
    print_recipes(pid, *mappings, recipes);
    if (functions == 0 && tells) {
        std::printf("  no function to probe: how often it allocates is the program's own to say\n");
        return kExitFine;
    }
    if (functions == 0) {
        return fail_with({"process " + std::to_string(pid) +
                              " has no allocation function that can be found: its program is static and "
                              "stripped, or --allocator names another one",
                          0});
    }
    std::printf("  %zu functions\n", functions);
    if (costs.return_ns > 0) {
        std::printf("  a return costs %.0f ns more; all measured now, in memtrace's own code, with programs that do nothing\n",
                    costs.return_ns);
    }
    return kExitFine;
}

int print_call_rate(std::int32_t pid, const Options& options, const KernelFeatures& features, const StopSignals& signals) {
    std::fflush(stdout); // what is known comes before the wait, and before an error
    const auto rate = measure_call_rate(pid, options.allocator, features, options.duration_ns, signals);
    if (!rate) {
        return fail_with(rate.error());
    }
    std::printf("%s  nothing is attached any more\n", describe_call_rate(*rate, options.max_overhead).c_str());
    return kExitFine;
}

void print_check(bool ok, const char* what, const std::string& note) {
    std::printf("%-8s %-22s %s\n", ok ? "yes" : "NO", what, note.c_str());
}

/// Which of them load here: each is tried.
void print_tiers(const KernelFeatures& features) {
    const auto pages = PageTracer::load({.max_processes = 1, .max_sites = 1, .max_stacks = 1}, std::nullopt);
    print_check(pages.has_value(), "pages tier",
                pages ? pages->source() : pages.error().message + ": growth that no malloc explains stays unexplained");
    const auto contract = ContractTracer::load({.max_processes = 1, .max_stacks = 1, .ring_bytes = 4096}, std::nullopt);
    print_check(contract.has_value(), "contract tier",
                contract ? "probes of programs, with semaphores (include/memtrace/probes.h)" : contract.error().message);
    if (contract) {
        const auto mapped =
            MappedTracer::load({features.best_method(), features.costs.long_nops, 1, 4096}, contract->maps(), std::nullopt);
        print_check(mapped.has_value(), "mapped tier",
                    mapped ? "functions and probes that programs have anyway, by recipes (--config)" : mapped.error().message);
    }
    const auto resources =
        ResourceTracer::load(kAllResourceFamilies, {.max_processes = 1, .max_stacks = 1, .ring_bytes = 4096}, std::nullopt);
    print_check(resources.has_value(), "resources tier",
                resources ? family_names(kAllResourceFamilies) : resources.error().message + ": leaked descriptors go unnoticed");
    const auto heap = HeapTracer::load({.max_live = 1, .max_sites = 1, .max_stacks = 1, .max_processes = 1, .max_frames = 1},
                                       features.best_method(), features);
    const auto told = heap ? ToldHeapTracer::load(heap->heap_maps(), 1) : Result<ToldHeapTracer>(tl::unexpected(heap.error()));
    print_check(told.has_value(), "heaps told of",
                told ? "programs that sample themselves: otel_memory:alloc, otel_memory:free" : told.error().message);
}

} // namespace

int run_probes(const Options& options) {
    auto pids = !options.comm.empty()     ? find_by_comm(options.comm)
                : !options.cgroup.empty() ? find_by_cgroup(options.cgroup)
                                          : Result<std::vector<std::int32_t>>(options.pids);
    if (!pids) {
        return fail_with(pids.error());
    }
    const auto recipes = read_recipes(options.configs);
    if (!recipes) {
        return fail_with(recipes.error());
    }
    // Costs and rates are for those who may attach; where probes go can be seen without.
    const bool privileged = missing_capabilities().empty();
    const auto features = privileged ? detect_features() : KernelFeatures{};
    std::optional<StopSignals> signals;
    if (privileged) {
        auto opened = StopSignals::open();
        if (!opened) {
            return fail_with(opened.error());
        }
        signals = std::move(*opened);
    }
    int status = kExitFine;
    for (const auto pid : *pids) {
        int one = print_probes(pid, options.allocator, *recipes, features.costs);
        if (one == kExitFine && options.allocator == kToldHeapProvider) {
            continue; // there are no calls to count
        }
        if (one == kExitFine && !privileged) {
            std::printf("  nothing has been attached: how often they are called takes root to count\n");
        } else if (one == kExitFine) {
            one = print_call_rate(pid, options, features, *signals);
        }
        status = one == kExitFine ? status : one;
        if (signals && signals->pending()) {
            break;
        }
    }
    return status;
}

int run_doctor() {
    const auto missing = missing_capabilities();
    if (!missing.empty()) {
        return fail_with(privileges_error(missing));
    }
    const auto features = detect_features();
    print_check(true, "privileges", "CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE");
    print_check(true, "  kept while tracing", kept_capabilities_text());
    print_check(features.btf, "kernel types (BTF)",
                features.btf ? "/sys/kernel/btf/vmlinux" : "needed: a kernel with CONFIG_DEBUG_INFO_BTF");
    print_check(features.ring_buffer, "ring buffer", features.ring_buffer ? "" : "needed: Linux 5.8 or newer");
    print_check(features.task_storage, "task storage", features.task_storage ? "" : "needed: Linux 5.11 or newer");
    print_check(features.attach_cookie, "uprobes with cookies",
                features.attach_cookie ? "" : "needed: Linux 5.15 or newer with CONFIG_UPROBE_EVENTS");
    print_check(features.uprobe_multi, "uprobe_multi links",
                features.uprobe_multi
                    ? "one call attaches all functions of a library"
                    : features.uprobe_multi_reason + ": falls back to one perf event for each function, slower to attach");
    print_check(features.uprobe_session, "uprobe session links",
                features.uprobe_session ? "nested and unsampled calls pay for no return probe"
                                        : "not offered (Linux 6.13 or newer): every allocation pays for its return probe");
    print_check(features.writes_user, "exceptions in place",
                features.writes_user
                    ? "nobody is stopped when an exception passes through a probed call"
                    : "this kernel is in lockdown: an exception that passes through a probed call stops the process "
                      "for a moment");
    print_tiers(features);
    if (features.costs.emulated_ns > 0) {
        std::printf(
            "%-8s %-22s %.0f ns on an instruction that the kernel emulates, %.0f ns on one that it single-steps; %.0f ns more "
            "for a return (measured now)\n",
            "", "cost of a hit", features.costs.emulated_ns, features.costs.stepped_ns, features.costs.return_ns);
    }
    const bool ready = features.btf && features.ring_buffer && features.task_storage && features.attach_cookie;
    std::printf("%s\n", ready ? "memtrace can trace here" : "memtrace cannot trace here");
    return ready ? kExitFine : kExitFailed;
}

} // namespace memtrace
