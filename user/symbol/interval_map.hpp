// Address ranges that may nest and overlap, flattened once into disjoint pieces for binary search. Where ranges overlap, the one
// that starts last owns the piece (the innermost); of ranges with one start, the last in the input order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace memtrace {

template <typename Payload>
class IntervalMap {
public:
    struct Interval {
        std::uint64_t start = 0;
        std::uint64_t end = 0; ///< first address behind
        Payload payload{};
    };

    IntervalMap() = default;

    /// O(n log n) whatever the ranges look like: they come from foreign files.
    explicit IntervalMap(std::vector<Interval> ranges) {
        std::stable_sort(ranges.begin(), ranges.end(), [](const Interval& a, const Interval& b) { return a.start < b.start; });
        std::vector<std::size_t> open; // ranges begun and perhaps not ended; the last one owns the current address
        std::uint64_t cursor = 0;
        auto advance_to = [&](std::uint64_t limit) {
            while (!open.empty() && cursor < limit) {
                const Interval& top = ranges[open.back()];
                if (top.end <= cursor) {
                    open.pop_back();
                    continue;
                }
                std::uint64_t piece_end = std::min(top.end, limit);
                pieces_.push_back({cursor, piece_end, top.payload});
                cursor = piece_end;
            }
            cursor = std::max(cursor, limit);
        };
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            advance_to(ranges[i].start);
            open.push_back(i);
        }
        advance_to(UINT64_MAX);
        pieces_.shrink_to_fit();
    }

    /// The payload at `address`, or null. Valid while the map lives.
    [[nodiscard]] const Payload* find(std::uint64_t address) const {
        auto next = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                     [](std::uint64_t wanted, const Interval& piece) { return wanted < piece.start; });
        if (next == pieces_.begin() || address >= std::prev(next)->end) {
            return nullptr;
        }
        return &std::prev(next)->payload;
    }

    [[nodiscard]] bool empty() const { return pieces_.empty(); }
    [[nodiscard]] std::size_t size() const { return pieces_.size(); }

private:
    std::vector<Interval> pieces_;
};

} // namespace memtrace
