// When a process was looked at, and series of what was seen then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace memtrace {

/// The ticks of a process. Bounded: when full, every second one is dropped and the distance between ticks kept doubles, so that
/// the whole run stays covered. The newest tick is always the last entry.
struct Timeline {
    static constexpr std::size_t kMaxTicks = 64;
    std::vector<std::uint64_t> mono_ns;
    std::uint32_t stride = 1;  ///< one of so many ticks is kept for good
    std::uint32_t pending = 0; ///< ticks since the last one kept for good
};

/// The entry that a tick adds to every series of a timeline.
struct TimelineStep {
    std::size_t at = 0; ///< its index; what a series lacks up to there is zero
    bool thin = false;  ///< then every second entry goes
};

/// Keeps the entries with an even index.
template <typename T>
void drop_every_second(std::vector<T>& values) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < values.size(); i += 2) {
        values[kept++] = values[i];
    }
    values.resize(kept);
}

inline void append_tick(std::vector<std::uint64_t>& series, const TimelineStep& step, std::uint64_t value) {
    series.resize(step.at, 0);
    series.push_back(value);
    if (step.thin) {
        drop_every_second(series);
    }
}

} // namespace memtrace
