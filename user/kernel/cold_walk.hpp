// Own work to run between two hits when calibrating, which leaves the CPU as a program does that runs much code over much data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace memtrace {

class ColdWalk {
public:
    static constexpr std::size_t kMaxSteps = 2'048;

    ColdWalk(); ///< takes 1.1 MiB

    /// Runs so many steps, kMaxSteps at most. Each has a cache line of code of its own and one of data, every seventh comes to another
    /// page, and a branch that goes either way: lines alone, without that branch, made a hit hardly dearer (60 ns at 128 KiB of each).
    void run(std::size_t steps);

private:
    std::vector<std::uint64_t> data_;
};

} // namespace memtrace
