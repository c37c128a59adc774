// What the verdict says of what a program tells of itself.
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
    const auto suspects = cycles.suspect + errors.suspect;
    if (!sure.empty()) {
        verdict.text = verdict.class_name == "leak" ? verdict.text + "; " + sure : sure;
        verdict.class_name = "leak";
    } else if (suspects != 0 && verdict.class_name != "leak") { // neither a leak nor a clean bill
        verdict.class_name = "unknown";
        add(verdict.text, plural(suspects, "suspicion", "suspicions") + " about what the program tells of itself");
    }
}

} // namespace memtrace
