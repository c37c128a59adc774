// The calls in a stack of a report: what was inlined at one address belongs to one call.
#pragma once

#include <vector>

#include "report/report.hpp"

namespace memtrace {

/// One call, with what was inlined there: [first, last), innermost first. Points into the stack.
struct Call {
    const ReportFrame* first;
    const ReportFrame* last;
    [[nodiscard]] const ReportFrame& frame() const { return *(last - 1); }
};

/// Inlined frames belong to the frame after them, as long as that has the same address.
inline std::vector<Call> calls_of(const std::vector<ReportFrame>& stack) {
    std::vector<Call> calls;
    const ReportFrame* const end = stack.data() + stack.size();
    for (const ReportFrame* first = stack.data(); first != end;) {
        const ReportFrame* last = first + 1;
        while (last != end && (last - 1)->inlined && last->offset == first->offset && last->module == first->module) {
            ++last;
        }
        calls.push_back({first, last});
        first = last;
    }
    return calls;
}

} // namespace memtrace
