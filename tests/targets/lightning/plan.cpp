#include "plan.hpp"

namespace lightning {

Plan::Plan(const BugBoard& board) : first_(memtrace::make_tracked<Step>("limit")) {
    const auto encode = memtrace::make_tracked<Step>("encode");
    const auto filter = memtrace::make_tracked<Step>("filter");
    const auto merge = memtrace::make_tracked<Step>("merge");
    const auto seek = memtrace::make_tracked<Step>("seek");
    first_->input = encode;
    encode->input = filter;
    filter->input = merge;
    merge->inputs.push_back(seek); // BUG reference-cycle-5 vector
    encode->above = first_;
    filter->above = encode;
    merge->above = filter;
    seek->above = merge;
    if (board.on(Bug::reference_cycle_2)) {
        encode->held_above = first_; // BUG reference-cycle-2 acquired
    }
    if (board.on(Bug::reference_cycle_5)) {
        seek->held_above = first_; // BUG reference-cycle-5 acquired
    }
}

memtrace::tracked_ptr<Plan::Step> Plan::below(const Step& step) {
    return step.inputs.empty() ? step.input : step.inputs.front();
}

/// From the last step upwards, as rows go.
void Plan::passed(std::uint64_t rows) {
    auto step = first_;
    while (const auto next = below(*step)) {
        step = next;
    }
    for (; step; step = step->above.lock()) {
        step->rows += rows;
    }
}

std::string Plan::text() const {
    std::string lines;
    for (auto step = first_; step; step = below(*step)) {
        lines += "step " + std::string(step->name) + " " + std::to_string(step->rows) + "\n";
    }
    return lines;
}

} // namespace lightning
