#include "base/clock.hpp"

#include <cstdio>
#include <ctime>

namespace memtrace {

namespace {

std::uint64_t read_clock(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

} // namespace

std::uint64_t monotonic_ns() {
    return read_clock(CLOCK_MONOTONIC);
}

std::uint64_t wall_ns() {
    return read_clock(CLOCK_REALTIME);
}

std::string rfc3339(std::uint64_t wall) {
    const auto seconds = static_cast<time_t>(wall / kNanosPerSecond);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char date[32];
    std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    char text[48];
    std::snprintf(text, sizeof(text), "%s.%03uZ", date, static_cast<unsigned>(wall % kNanosPerSecond / 1'000'000));
    return text;
}

} // namespace memtrace
