#include "analyze/growth.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace memtrace {

namespace {

constexpr double kZ95 = 1.959963984540054; ///< the normal distribution's 97.5 % quantile

/// Kendall's variance of S under independence, for values with ties.
double kendall_variance(std::span<const double> values) {
    const auto n = static_cast<double>(values.size());
    std::vector<double> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    double variance = n * (n - 1) * (2 * n + 5);
    for (auto run = sorted.begin(); run != sorted.end();) {
        const auto end = std::upper_bound(run, sorted.end(), *run);
        const auto ties = static_cast<double>(end - run);
        variance -= ties * (ties - 1) * (2 * ties + 5);
        run = end;
    }
    return variance / 18;
}

/// Ranks from 1; ties get their mean.
std::vector<double> ranks(std::span<const double> values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
    std::vector<double> result(values.size());
    for (std::size_t first = 0; first < order.size();) {
        std::size_t last = first;
        while (last + 1 < order.size() && values[order[last + 1]] <= values[order[first]]) {
            ++last;
        }
        for (std::size_t i = first; i <= last; ++i) {
            result[order[i]] = static_cast<double>(first + last) / 2 + 1;
        }
        first = last + 1;
    }
    return result;
}

} // namespace

Slope theil_sen(std::span<const double> seconds, std::span<const double> values, double inflation) {
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
        return {};
    }
    const auto nth = [&slopes](double index) { // the smallest is number 0
        const auto at =
            slopes.begin() + static_cast<std::ptrdiff_t>(std::clamp(index, 0.0, static_cast<double>(slopes.size() - 1)));
        std::nth_element(slopes.begin(), at, slopes.end());
        return *at;
    };
    const auto count = static_cast<double>(slopes.size());
    const double reach = kZ95 * std::sqrt(std::max(kendall_variance(values), 0.0) * inflation);
    Slope slope;
    slope.low = nth(std::floor((count - reach) / 2));
    slope.high = nth(std::ceil((count + reach) / 2));
    slope.per_s = slopes.size() % 2 == 1 ? nth((count - 1) / 2) : (nth(count / 2 - 1) + nth(count / 2)) / 2;
    return slope;
}

double mann_kendall_rise(std::span<const double> values, double inflation) {
    if (values.size() < 4) {
        return 1;
    }
    double s = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t j = i + 1; j < values.size(); ++j) {
            s += values[j] > values[i] ? 1 : values[j] < values[i] ? -1 : 0;
        }
    }
    const double variance = kendall_variance(values) * inflation;
    if (variance <= 0) {
        return 1;
    }
    const double z = s > 0 ? (s - 1) / std::sqrt(variance) : s < 0 ? (s + 1) / std::sqrt(variance) : 0;
    return 0.5 * std::erfc(z / std::sqrt(2.0));
}

double rank_inflation(std::span<const double> seconds, std::span<const double> values, double slope) {
    const std::size_t size = values.size();
    if (size < 4) {
        return 1;
    }
    std::vector<double> residuals(size);
    for (std::size_t i = 0; i < size; ++i) {
        residuals[i] = values[i] - slope * seconds[i];
    }
    auto rank = ranks(residuals);
    const auto n = static_cast<double>(size);
    double power = 0;
    for (auto& value : rank) {
        value -= (n + 1) / 2;
        power += value * value;
    }
    if (power <= 0) {
        return 1;
    }
    double sum = 0;
    for (std::size_t lag = 1; lag + 2 < size; ++lag) {
        double product = 0;
        for (std::size_t i = lag; i < size; ++i) {
            product += rank[i] * rank[i - lag];
        }
        const double correlation = product / power;
        const double left = n - static_cast<double>(lag);
        if (std::abs(correlation) > kZ95 / std::sqrt(n)) {
            sum += left * (left - 1) * (left - 2) * correlation;
        }
    }
    return std::max(1.0, 1 + 2 * sum / (n * (n - 1) * (n - 2)));
}

double drift_rise(std::span<const double> values) {
    if (values.size() < 4) {
        return 1;
    }
    const auto n = static_cast<double>(values.size() - 1);
    const double mean = (values.back() - values.front()) / n;
    double squares = 0;
    for (std::size_t i = 1; i < values.size(); ++i) {
        const double off = values[i] - values[i - 1] - mean;
        squares += off * off;
    }
    if (mean <= 0) {
        return 1;
    }
    const double freedom = n - 1;
    const double t2 = squares > 0 ? mean * mean * n * freedom / squares : HUGE_VAL;
    const double z = std::sqrt(freedom * std::log1p(t2 / freedom)) * (8 * freedom + 1) / (8 * freedom + 3);
    return 0.5 * std::erfc(z / std::sqrt(2.0));
}

std::vector<double> adjusted_p_values(std::span<const double> p) {
    std::vector<std::size_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
    std::vector<double> adjusted(p.size());
    const auto tested = static_cast<double>(p.size());
    double least = 1;
    for (std::size_t i = 0; i < order.size(); ++i) { // from the largest down, each at most as large as the one before
        least = std::min(least, p[order[i]] * tested / (tested - static_cast<double>(i)));
        adjusted[order[i]] = least;
    }
    return adjusted;
}

} // namespace memtrace
