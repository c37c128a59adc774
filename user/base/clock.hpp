// Clocks. Monotonic times are nanoseconds of CLOCK_MONOTONIC (what BPF's ktime gives), wall times nanoseconds since 1970 UTC.
#pragma once

#include <cstdint>
#include <string>

namespace memtrace {

constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;
constexpr std::uint64_t kNanosPerMilli = 1'000'000;

std::uint64_t monotonic_ns();
std::uint64_t wall_ns();

/// From one moment to another of the same clock; 0 where that is earlier.
double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns);

/// RFC 3339 in UTC with milliseconds: "2026-01-02T03:04:05.678Z".
std::string rfc3339(std::uint64_t wall_ns);
/// Of milliseconds; 1970 where they are before it.
std::string rfc3339_of_ms(std::int64_t wall_ms);

/// "YYYY-MM-DDTHH:MM:SS[.fraction]Z" as nanoseconds since 1970; 0 where it is nothing like it.
std::uint64_t parse_rfc3339(const std::string& text);

} // namespace memtrace
