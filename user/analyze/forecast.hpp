// How long a growth has until it meets a limit. Pure.
#pragma once

#include <cstdint>

#include "analyze/growth.hpp"

namespace memtrace {

struct Forecast {
    double seconds = 0;
    double low = 0; ///< 95 % interval; high is infinite where the growth may be none
    double high = 0;
};

/// What is left divided by the growth, and by the ends of its interval: straight extrapolation, which is what a leak does. Our own.
/// `growth` is above 0.
Forecast forecast(std::uint64_t limit_bytes, std::uint64_t used_bytes, const Slope& growth);

} // namespace memtrace
