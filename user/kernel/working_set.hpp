// Own work to run between two hits when calibrating: that of a program which has filled the CPU's nearest caches and comes back to what is
// in them, as databases do.
//
//   step 0 -> step 1 -> ... -> step 511 --+      each: a cache line of code, a pointer to follow and a branch to take or not,
//     ^-----------------------------------+      which lie in a line of data of their own
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace memtrace {

class WorkingSet {
public:
    /// 32 KiB of code and as much of data, spread over 288 KiB: what the nearest caches of today's CPUs hold, or most of it.
    static constexpr std::size_t kSteps = 512;

    WorkingSet(); ///< takes 290 KiB
    WorkingSet(const WorkingSet&) = delete;
    WorkingSet& operator=(const WorkingSet&) = delete;

    /// Goes on for so many steps from where it stopped. Each waits for the one before, so that what a hit has pushed out is missed.
    void run(std::size_t steps);

private:
    std::vector<std::uint64_t> data_; ///< of each step: the address of the next one's, and which way its branch goes
    std::size_t at_ = 0;
};

} // namespace memtrace
