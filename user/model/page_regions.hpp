// Who mapped which part of a process's address space: anonymous memory, from the moment of attaching. A value, fed in the order in which
// the changes took effect; no I/O. What was mapped before is unknown here, and taking it away changes nothing.
//
//      0x1000        0x5000   0x8000
//        |---- A ------|-- B ---|          map(0x1000, 0x8000, A), map(0x5000, 0x8000, B)
//        |-- A --|  |A |-- B ---|          unmap(0x3000, 0x4000): A holds 0x1000 less, in two pieces
//
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>

#include "base/ids.hpp"

namespace memtrace {

class PageRegions {
public:
    /// Bytes that a site has mapped, and those of them that are gone.
    struct Usage {
        std::uint64_t mapped_bytes = 0;
        std::uint64_t unmapped_bytes = 0;
        std::uint64_t events = 0;
    };

    /// [start, end) is `site`'s from now on, whoever had it. Empty or reversed ranges do nothing, here and below.
    void map(std::uint64_t start, std::uint64_t end, PageSiteId site, std::uint64_t now_ns);
    /// [start, end) is gone, but for what was mapped at `before_ns` or later: a call that began earlier cannot have meant that.
    void unmap(std::uint64_t start, std::uint64_t end, std::uint64_t before_ns);

    [[nodiscard]] const std::unordered_map<PageSiteId, Usage>& usage() const { return usage_; }
    [[nodiscard]] const Usage& total() const { return total_; }

private:
    struct Region {
        std::uint64_t end;
        std::uint64_t born_ns;
        PageSiteId site;
    };
    std::map<std::uint64_t, Region> regions_; ///< by start; disjoint
    std::unordered_map<PageSiteId, Usage> usage_;
    Usage total_;
};

} // namespace memtrace
