// What the verdict says of what a program tells of itself.
#include <algorithm>

#include "report/build_parts.hpp"
#include "report/format.hpp"

namespace memtrace {

namespace {

/// Findings of one sort: those that are sure enough to be called one, and the rest.
struct Findings {
    std::uint64_t sure = 0;
    std::uint64_t suspect = 0;
    std::uint64_t bytes = 0; ///< of the sure ones
    std::string what;        ///< of the first of the sure ones
};

void count(Findings& findings, const std::string& verdict, std::uint64_t count, std::uint64_t bytes, const std::string& what) {
    if (verdict == "suspect") {
        findings.suspect += count;
    } else if (verdict == "definite" || verdict == "probable") {
        findings.what = findings.sure == 0 ? what : findings.what;
        findings.sure += count;
        findings.bytes += bytes;
    }
}

/// The innermost function outside the library that made the system call; empty where it has no name.
std::string first_caller(const std::vector<ReportFrame>& stack) {
    const auto caller =
        std::find_if(stack.begin(), stack.end(), [&](const ReportFrame& frame) { return frame.module != stack.front().module; });
    return stack.empty() ? "" : caller == stack.end() ? stack.front().function : caller->function;
}

void add(std::string& list, const std::string& item) {
    list += (list.empty() ? "" : "; ") + item;
}

std::string plural(std::uint64_t count, const char* one, const char* many) {
    return human_count(count) + ' ' + (count == 1 ? one : many);
}

} // namespace

void add_told_to_verdict(Report& report) {
    auto& verdict = report.verdict;
    Findings cycles;
    Findings errors;
    for (const auto& cycle : report.references.cycles) {
        count(cycles, cycle.verdict, cycle.count, cycle.total_bytes, cycle.objects.front().type);
    }
    for (const auto& error : report.references.errors) {
        count(errors, error.verdict, error.count, 0, error.kind);
    }
    Findings leaked;
    Findings overdue;
    Findings growing;
    Findings resource_errors;
    Findings pools;
    for (const auto& resource : report.resources.listed) {
        count(resource.state == "overdue" ? overdue : leaked, resource.verdict, 1, resource.bytes, resource.kind);
    }
    for (const auto& site : report.resources.sites) {
        const auto function = first_caller(site.acquired_at);
        count(growing, site.verdict, 1, 0, site.kind + (function.empty() ? "" : " by " + function));
    }
    for (const auto& error : report.resources.errors) {
        count(resource_errors, error.verdict, error.count, 0, error.error + " of " + error.kind);
    }
    for (const auto& pool : report.resources.pools) {
        if (pool.verdict == "definite") { // a busy pool is no suspicion
            count(pools, pool.verdict, 1, 0, pool.name.empty() ? pool.id : pool.name);
        }
    }
    std::string sure;
    if (cycles.sure != 0) {
        add(sure, plural(cycles.sure, "reference cycle keeps", "reference cycles keep") + " " + human_bytes(cycles.bytes) +
                      " alive that nothing else refers to");
        verdict.evidence["reference_cycles"] = std::to_string(cycles.sure);
    }
    if (errors.sure != 0) {
        add(sure,
            plural(errors.sure, "reference error", "reference errors") + " (" + errors.what + (errors.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["reference_errors"] = std::to_string(errors.sure);
    }
    if (leaked.sure != 0) { // of those listed: the worst come first
        add(sure, plural(leaked.sure, "resource is leaked", "resources are leaked") + " (" + leaked.what +
                      (leaked.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["leaked_resources"] = std::to_string(leaked.sure);
    }
    if (overdue.sure != 0) {
        add(sure, plural(overdue.sure, "resource is held beyond its limit", "resources are held beyond their limits") + " (" +
                      overdue.what + (overdue.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["overdue_resources"] = std::to_string(overdue.sure);
    }
    if (growing.sure != 0) {
        add(sure, plural(growing.sure, "place acquires", "places acquire") + " more and more resources (" + growing.what +
                      (growing.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["growing_resources"] = std::to_string(growing.sure);
    }
    if (resource_errors.sure != 0) {
        add(sure, plural(resource_errors.sure, "resource error", "resource errors") + " (" + resource_errors.what +
                      (resource_errors.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["resource_errors"] = std::to_string(resource_errors.sure);
    }
    if (pools.sure != 0) {
        add(sure, plural(pools.sure, "pool is exhausted", "pools are exhausted") + " (" + pools.what +
                      (pools.sure > 1 ? ", ...)" : ")"));
        verdict.evidence["exhausted_pools"] = std::to_string(pools.sure);
    }
    const auto suspects =
        cycles.suspect + errors.suspect + leaked.suspect + overdue.suspect + growing.suspect + resource_errors.suspect;
    if (!sure.empty()) {
        verdict.text = verdict.class_name == "leak" ? verdict.text + "; " + sure : sure;
        verdict.class_name = "leak";
    } else if (suspects != 0 && verdict.class_name != "leak") { // neither a leak nor a clean bill
        verdict.class_name = "unknown";
        add(verdict.text, plural(suspects, "suspicion", "suspicions") + " about its references and resources");
    }
}

} // namespace memtrace
