#include "store/history_thin.hpp"

#include <algorithm>

namespace memtrace {

std::vector<std::int64_t> thinned_out(std::span<const ThinPoint> points, std::int64_t bucket_ms) {
    std::vector<std::int64_t> gone;
    for (std::size_t begin = 0; begin < points.size();) {
        const auto bucket = points[begin].at_ms / bucket_ms;
        auto end = begin + 1;
        while (end < points.size() && points[end].at_ms / bucket_ms == bucket) {
            ++end;
        }
        const auto highest =
            static_cast<std::size_t>(std::max_element(points.begin() + static_cast<std::ptrdiff_t>(begin),
                                                      points.begin() + static_cast<std::ptrdiff_t>(end),
                                                      [](const ThinPoint& a, const ThinPoint& b) { return a.value < b.value; }) -
                                     points.begin());
        for (auto i = begin; i + 1 < end; ++i) { // the last one stays
            const bool changes = i > 0 && points[i].verdict != points[i - 1].verdict;
            if (i != highest && !changes) {
                gone.push_back(points[i].at_ms);
            }
        }
        begin = end;
    }
    return gone;
}

} // namespace memtrace
