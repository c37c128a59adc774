// The mean distance of the samples that a program tells of (otel_memory:alloc), from what they are said to stand for. Pure.
//
// Told of a block of S bytes is w = S / (1 - exp(-S / R)), or n R for n marks in it; R is asked for. Where S is much less than w, both are R:
// such blocks say it. Several in a row must agree before another R is believed, as some have two marks. Where there are none, what the
// others say has to do: with the first formula, or, as soon as a block stands for less than itself, the least weight.
#pragma once

#include <cstdint>

namespace memtrace {

class ToldInterval {
public:
    /// True: value() is another from now on.
    bool add(std::uint64_t size, std::uint64_t weight);
    /// Bytes; 0 = unknown.
    [[nodiscard]] std::uint64_t value() const { return value_; }

private:
    bool add_small(std::uint64_t interval);
    bool add_other(std::uint64_t size, std::uint64_t weight);
    bool change(std::uint64_t interval);

    std::uint64_t value_ = 0;
    bool by_small_ = false;
    bool by_marks_ = false;          ///< a block stands for less than itself
    std::uint64_t least_weight_ = 0; ///< 0 = none so far
    std::uint64_t candidate_ = 0;    ///< what the last small blocks said
    unsigned agreed_ = 0;            ///< so many of them
};

} // namespace memtrace
