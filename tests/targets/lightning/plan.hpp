// What a scan does, step by step, and how many rows passed each step. Belongs to one cursor and its thread.
//
//     limit -> encode -> filter -> merge -> seek       strong: each holds what it takes its rows from; `merge` in a vector
//           <~        <~        <~       <~            weak: and knows who takes rows from it
#pragma once

#include <cstdint>
#include <string>

#include "bugs.hpp"
#include "memtrace/memtrace.hpp"

namespace lightning {

class Plan {
public:
    explicit Plan(const BugBoard& board);

    void passed(std::uint64_t rows);
    /// Lines "step NAME ROWS".
    [[nodiscard]] std::string text() const;

private:
    struct Step {
        explicit Step(const char* step_name) : name(step_name) {}

        const char* name;
        std::uint64_t rows = 0;
        memtrace::tracked_vector<memtrace::tracked_ptr<Step>> inputs; ///< of a merge
        memtrace::tracked_ptr<Step> input;                            ///< of any other
        memtrace::tracked_weak<Step> above;
        memtrace::tracked_ptr<Step> held_above; ///< bugs: closes a cycle
    };

    /// The one that `step` takes its rows from; null for the last.
    static memtrace::tracked_ptr<Step> below(const Step& step);

    memtrace::tracked_ptr<Step> first_;
};

} // namespace lightning
