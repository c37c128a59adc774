#include "report/sparkline.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

namespace memtrace {

namespace {

constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kAscii[] = {"_", ".", "-", "=", "+", "*", "%", "#"};
static_assert(std::size(kBlocks) == std::size(kAscii));

} // namespace

std::string sparkline(const std::vector<std::optional<double>>& values, bool unicode) {
    double low = std::numeric_limits<double>::max();
    double high = std::numeric_limits<double>::lowest();
    for (const auto& value : values) {
        if (value && std::isfinite(*value)) {
            low = std::min(low, *value);
            high = std::max(high, *value);
        }
    }
    std::string text;
    for (const auto& value : values) {
        if (!value || !std::isfinite(*value)) {
            text += ' ';
            continue;
        }
        const double share = high > low ? (*value - low) / (high - low) : 0;
        const auto level = std::min(static_cast<std::size_t>(share * std::size(kBlocks)), std::size(kBlocks) - 1);
        text += unicode ? kBlocks[level] : kAscii[level];
    }
    return text;
}

} // namespace memtrace
