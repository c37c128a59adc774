// Which rows of a history are kept when they have become old: fewer and fewer, but never its peaks. Pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace memtrace {

/// Rows older than `age_ms` are thinned to one for each `bucket_ms`, and its peak.
struct ThinLevel {
    std::int64_t age_ms;
    std::int64_t bucket_ms;
};
constexpr std::int64_t kMinuteMs = 60'000;
constexpr std::int64_t kHourMs = 60 * kMinuteMs;
constexpr std::int64_t kDayMs = 24 * kHourMs;
constexpr ThinLevel kThinLevels[] = {{6 * kHourMs, kMinuteMs}, {7 * kDayMs, kHourMs}};

/// A row of a series.
struct ThinPoint {
    std::int64_t at_ms;
    std::uint64_t value;
    std::string verdict;
};

/// The times of the rows that go, out of a series by time: of each bucket all but its last row, the first of its highest, and those
/// whose verdict is another than that of the row before. Buckets begin at multiples of `bucket_ms`. What was thinned stays as it is when
/// it is thinned again.
std::vector<std::int64_t> thinned_out(std::span<const ThinPoint> points, std::int64_t bucket_ms);

} // namespace memtrace
