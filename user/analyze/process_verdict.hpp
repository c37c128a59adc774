// What the growth of a process is of, where no call site leaks. Pure.
#pragma once

#include <cstdint>
#include <span>

#include "analyze/shape.hpp"

namespace memtrace {

enum class ProcessGrowth : std::uint8_t {
    none,
    heap,          ///< what is live in the heap
    fragmentation, ///< the heap grew much more than what is live in it, while far more was freed
    mapped_files,
    stacks,
    unexplained, ///< anonymous memory that the heap does not account for
};

/// Series over time, parallel.
struct ProcessMemory {
    std::span<const double> seconds;
    std::span<const double> live_bytes; ///< of the heap, blocks from before the tracing left out
    std::span<const double> rss_bytes;
    std::span<const double> anon_bytes;
    std::span<const double> file_bytes;
    std::span<const double> stack_bytes;
    double freed_bytes = 0; ///< in the time that they span
};

struct ProcessJudgement {
    ProcessGrowth growth = ProcessGrowth::none;
    double grown_bytes = 0; ///< RSS, over its last regime
    double of_it_bytes = 0; ///< by what `growth` names
};

/// Growth is what a trend test sees (p < 0.01) and is worth a word: 4 MiB and 2 % at least. It is put down to what makes up half of it.
/// `rss`: the trend of `rss_bytes`. Our own.
ProcessJudgement judge_process(const ProcessMemory& memory, const Trend& rss);

} // namespace memtrace
