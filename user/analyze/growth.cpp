#include "analyze/growth.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace memtrace {

double theil_sen_slope(std::span<const double> seconds, std::span<const double> values) {
    std::vector<double> slopes;
    slopes.reserve(values.size() * values.size() / 2);
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = i + 1; j < values.size(); ++j) {
            if (seconds[j] > seconds[i]) {
                slopes.push_back((values[j] - values[i]) / (seconds[j] - seconds[i]));
            }
        }
    }
    if (slopes.empty()) {
        return 0;
    }
    const auto middle = slopes.begin() + static_cast<std::ptrdiff_t>(slopes.size() / 2);
    std::nth_element(slopes.begin(), middle, slopes.end());
    if (slopes.size() % 2 == 1) {
        return *middle;
    }
    return (*middle + *std::max_element(slopes.begin(), middle)) / 2;
}

double mann_kendall_rise(std::span<const double> values) {
    const auto n = static_cast<double>(values.size());
    if (values.size() < 4) {
        return 1;
    }
    double s = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = i + 1; j < values.size(); ++j) {
            s += values[j] > values[i] ? 1 : values[j] < values[i] ? -1 : 0;
        }
    }
    std::vector<double> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    double variance = n * (n - 1) * (2 * n + 5);
    for (auto run = sorted.begin(); run != sorted.end();) {
        const auto end = std::upper_bound(run, sorted.end(), *run);
        const auto ties = static_cast<double>(end - run);
        variance -= ties * (ties - 1) * (2 * ties + 5);
        run = end;
    }
    variance /= 18;
    if (variance <= 0) {
        return 1;
    }
    const double z = s > 0 ? (s - 1) / std::sqrt(variance) : s < 0 ? (s + 1) / std::sqrt(variance) : 0;
    return 0.5 * std::erfc(z / std::sqrt(2.0));
}

} // namespace memtrace
