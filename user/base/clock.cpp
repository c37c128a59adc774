#include "base/clock.hpp"

#include <algorithm>
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

double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns) {
    return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) / static_cast<double>(kNanosPerSecond) : 0;
}

std::string rfc3339(std::uint64_t wall) {
    const auto seconds = static_cast<time_t>(wall / kNanosPerSecond);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char date[32];
    std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    char text[48];
    std::snprintf(text, sizeof(text), "%s.%03uZ", date, static_cast<unsigned>(wall % kNanosPerSecond / kNanosPerMilli));
    return text;
}

std::string rfc3339_of_ms(std::int64_t wall_ms) {
    return rfc3339(static_cast<std::uint64_t>(std::max<std::int64_t>(wall_ms, 0)) * kNanosPerMilli);
}

std::uint64_t parse_rfc3339(const std::string& text) {
    std::tm utc{};
    int consumed = 0;
    if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &utc.tm_year, &utc.tm_mon, &utc.tm_mday, &utc.tm_hour, &utc.tm_min,
                    &utc.tm_sec, &consumed) != 6) {
        return 0;
    }
    if (utc.tm_year < 1970 || utc.tm_year > 2500) {
        return 0;
    }
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    std::uint64_t nanos = static_cast<std::uint64_t>(timegm(&utc)) * kNanosPerSecond;
    const auto at = static_cast<std::size_t>(consumed);
    if (at < text.size() && text[at] == '.') {
        std::uint64_t unit = kNanosPerSecond / 10;
        for (std::size_t i = at + 1; i < text.size() && text[i] >= '0' && text[i] <= '9' && unit > 0; ++i, unit /= 10) {
            nanos += static_cast<std::uint64_t>(text[i] - '0') * unit;
        }
    }
    return nanos;
}

} // namespace memtrace
