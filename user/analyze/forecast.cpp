#include "analyze/forecast.hpp"

#include <limits>

namespace memtrace {

Forecast forecast(std::uint64_t limit_bytes, std::uint64_t used_bytes, const Slope& growth) {
    const auto left = limit_bytes > used_bytes ? static_cast<double>(limit_bytes - used_bytes) : 0;
    const auto time = [left](double per_s) { return per_s > 0 ? left / per_s : std::numeric_limits<double>::infinity(); };
    return {time(growth.per_s), time(growth.high), time(growth.low)};
}

} // namespace memtrace
