#include "analyze/shape.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

namespace memtrace {

namespace {

constexpr std::size_t kLeastBefore = 3; ///< points before a change
constexpr double kPenalty = 2;          ///< times Schwarz's: the best place of many is looked for
constexpr double kStraight = 1e-4;      ///< share of the variance that a line leaves: nothing to improve
constexpr double kRise = 0.05;          ///< p of a rise that gives a series a shape; verdicts ask for more
constexpr double kSlower = 0.75;        ///< growth in the last third / that in the first
constexpr double kFewSteps = 0.8;       ///< share of the rise that three increments make up
constexpr double kNewHeight = 1.5;      ///< times the largest value of earlier regimes
constexpr double kSure = 1e-5;          ///< p of a line: a shorter one would not be better
constexpr double kSurelySlower = 2;     ///< Welch's t

/// Sums of a stretch of a series, from which the least squares line through it follows.
struct Sums {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    void add(double at, double value) {
        n += 1;
        x += at;
        y += value;
        xx += at * at;
        xy += at * value;
        yy += value * value;
    }
    [[nodiscard]] Sums less(const Sums& part) const {
        return {n - part.n, x - part.x, y - part.y, xx - part.xx, xy - part.xy, yy - part.yy};
    }
    [[nodiscard]] double line(double at) const {
        const double sxx = xx - x * x / n;
        return y / n + (sxx > 0 ? (xy - x * y / n) / sxx * (at - x / n) : 0);
    }
    /// What the line leaves of the squares.
    [[nodiscard]] double rest() const {
        const double sxx = xx - x * x / n;
        const double sxy = xy - x * y / n;
        const double syy = yy - y * y / n;
        return std::max(sxx > 0 ? syy - sxy * sxy / sxx : syy, 0.0);
    }
};

/// How many independent values say as much as what two lines that meet at index `at` leave: from its autocorrelation at lag 1 (Bayley &
/// Hammersley 1946). What is allocated and stays adds up, so what a leak leaves of its line wanders.
double independent_points(std::span<const double> seconds, std::span<const double> values, std::size_t at) {
    std::vector<double> left;
    for (const auto& [begin, end] : {std::pair(std::size_t{0}, at), std::pair(at, values.size())}) {
        Sums part;
        for (std::size_t i = begin; i < end; ++i) {
            part.add(seconds[i] - seconds[begin], values[i] - values[begin]);
        }
        for (std::size_t i = begin; i < end; ++i) {
            left.push_back(values[i] - values[begin] - part.line(seconds[i] - seconds[begin]));
        }
    }
    double product = 0;
    double power = 0;
    for (std::size_t i = 0; i < left.size(); ++i) {
        power += left[i] * left[i];
        product += i > 0 ? left[i] * left[i - 1] : 0;
    }
    const double lag1 = power > 0 ? std::clamp(product / power, 0.0, 1.0) : 0;
    return static_cast<double>(values.size()) * (1 - lag1) / (1 + lag1);
}

struct Average {
    double mean = 0;
    double error2 = 0; ///< of the mean, squared
};

Average average(std::span<const double> increments) {
    const auto n = static_cast<double>(increments.size());
    Average result;
    for (const double value : increments) {
        result.mean += value / n;
    }
    for (const double value : increments) {
        result.error2 += (value - result.mean) * (value - result.mean) / (n - 1) / n;
    }
    return result;
}

/// Growth for each CPU second, last third / first; negative: not known.
double slowdown_per_cpu(std::span<const double> values, std::span<const double> cpu_s) {
    if (cpu_s.size() != values.size()) {
        return -1;
    }
    const std::size_t third = (values.size() - 1) / 3;
    const std::size_t last = values.size() - 1;
    const double first_cpu = cpu_s[third] - cpu_s.front();
    const double last_cpu = cpu_s[last] - cpu_s[last - third];
    const double first = values[third] - values.front();
    return first_cpu > 0 && last_cpu > 0 && first > 0 ? (values[last] - values[last - third]) / last_cpu / (first / first_cpu)
                                                      : -1;
}

Shape shape_of(std::span<const double> all, std::span<const double> regime, std::span<const double> cpu_s, bool rises) {
    const auto before = all.first(all.size() - regime.size());
    const bool new_heights = !before.empty() && all.back() > kNewHeight * *std::max_element(before.begin(), before.end());
    if (falls(all) >= 2 && !new_heights) {
        return Shape::sawtooth;
    }
    const double whole_rise = all.back() - all.front();
    if (!rises) { // flat now: after steps, after growth, or all along
        const bool grew = regime.size() < all.size() && whole_rise > 0.2 * all.back();
        return !grew ? Shape::noise : share_of_steps(all) > kFewSteps ? Shape::step : Shape::saturating;
    }
    if (share_of_steps(regime) > kFewSteps) {
        return Shape::step;
    }
    const double per_cpu = slowdown_per_cpu(regime, cpu_s);
    if (slowdown(regime) < kSlower && (per_cpu < 0 || per_cpu < kSlower)) {
        return Shape::saturating;
    }
    return Shape::linear;
}

} // namespace

const char* shape_name(Shape shape) {
    constexpr std::array kNames{"noise", "linear", "saturating", "step", "sawtooth"};
    return kNames[static_cast<std::size_t>(shape)];
}

std::optional<std::size_t> change_point(std::span<const double> seconds, std::span<const double> values, std::size_t least) {
    const std::size_t size = values.size();
    if (size < least + kLeastBefore) {
        return std::nullopt;
    }
    // About the middle, so that little is lost by cancellation.
    const double middle = seconds[size / 2];
    const double level = values[size / 2];
    Sums all;
    for (std::size_t i = 0; i < size; ++i) {
        all.add(seconds[i] - middle, values[i] - level);
    }
    const double whole = all.rest();
    if (whole <= kStraight * (all.yy - all.y * all.y / all.n)) {
        return std::nullopt;
    }
    Sums before;
    double best = whole;
    std::size_t at = 0;
    for (std::size_t i = 0; i + least < size; ++i) {
        before.add(seconds[i] - middle, values[i] - level);
        if (i + 1 < kLeastBefore) {
            continue;
        }
        if (const double rest = before.rest() + all.less(before).rest(); rest < best) {
            best = rest;
            at = i + 1;
        }
    }
    if (at == 0) {
        return std::nullopt;
    }
    const double gain = independent_points(seconds, values, at) * std::log(whole / std::max(best, 1e-9 * whole));
    const double cost = kPenalty * 3 * std::log(all.n); // a second line has two figures, and its beginning
    return gain > cost ? std::optional(at) : std::nullopt;
}

double slowdown(std::span<const double> values) {
    const std::size_t third = values.empty() ? 0 : (values.size() - 1) / 3;
    if (third < 2) {
        return 1;
    }
    std::vector<double> increments;
    for (std::size_t i = 1; i < values.size(); ++i) {
        increments.push_back(values[i] - values[i - 1]);
    }
    const auto first = average(std::span(increments).first(third));
    const auto last = average(std::span(increments).last(third));
    const double error = std::sqrt(first.error2 + last.error2);
    if (first.mean <= 0 || first.mean - last.mean <= kSurelySlower * error) {
        return 1;
    }
    return std::max(last.mean / first.mean, 0.0);
}

double share_of_steps(std::span<const double> values) {
    std::array<double, 3> largest{};
    for (std::size_t i = 1; i < values.size(); ++i) {
        if (auto least = std::min_element(largest.begin(), largest.end()); values[i] - values[i - 1] > *least) {
            *least = values[i] - values[i - 1];
        }
    }
    const double rise = values.empty() ? 0 : values.back() - values.front();
    return rise > 0 ? std::min((largest[0] + largest[1] + largest[2]) / rise, 1.0) : 1;
}

std::size_t falls(std::span<const double> values) {
    std::size_t count = 0;
    double peak = 0;
    for (const double value : values) {
        if (value < peak / 2) {
            ++count;
            peak = value;
        }
        peak = std::max(peak, value);
    }
    return count;
}

Trend find_trend(std::span<const double> seconds, std::span<const double> values, std::span<const double> cpu_s) {
    Trend trend;
    if (values.size() < kLeastPoints) {
        trend.slope = theil_sen(seconds, values);
        return trend;
    }
    while (const auto change = change_point(seconds.subspan(trend.begin), values.subspan(trend.begin), kLeastPoints)) {
        trend.begin += *change;
    }
    const auto at = seconds.subspan(trend.begin);
    const auto regime = values.subspan(trend.begin);
    const double inflation = rank_inflation(at, regime, theil_sen(at, regime).per_s);
    trend.slope = theil_sen(at, regime, inflation);
    trend.p = trend.slope.per_s > 0 ? std::max(mann_kendall_rise(regime, inflation), drift_rise(regime)) : 1;
    trend.shape = shape_of(values, regime, cpu_s.size() == values.size() ? cpu_s.subspan(trend.begin) : cpu_s.first(0),
                           trend.p < kRise && trend.slope.low > 0);
    return trend;
}

namespace {

/// Lowest and highest of what there was.
struct Range {
    double low = HUGE_VAL;
    double high = -HUGE_VAL;
    /// `seconds` are those of `values`, and ascend.
    void add_before(double moment, std::span<const double> seconds, std::span<const double> values) {
        for (std::size_t i = 0; i < values.size() && seconds[i] < moment; ++i) {
            low = std::min(low, values[i]);
            high = std::max(high, values[i]);
        }
    }
    /// A rise from `from` to `to` is more than all that.
    [[nodiscard]] bool is_left(double from, double to) const { return to > high && to - from > kNewHeight * (high - low); }
};

/// From a peak to what follows it, at most.
double largest_fall(std::span<const double> values) {
    double peak = -HUGE_VAL;
    double fall = 0;
    for (const double value : values) {
        peak = std::max(peak, value);
        fall = std::max(fall, peak - value);
    }
    return fall;
}

} // namespace

ResolvedTrend find_trend_closer(std::span<const Moments> levels, const std::function<std::vector<double>(std::size_t)>& values) {
    ResolvedTrend found;
    if (levels.empty()) {
        return found;
    }
    found.level = levels.size() - 1;
    std::vector<std::vector<double>> read{values(found.level)}; // from the coarsest on
    found.trend = find_trend(levels.back().seconds, read[0], levels.back().cpu_s);
    if (read[0].size() < kLeastPoints) {
        return found;
    }
    const auto coarsest = found.level;
    const auto is_sure = [&] { return found.trend.shape == Shape::linear && found.trend.p < kSure; };
    for (std::size_t level = coarsest; level-- > 1 && !is_sure();) {
        const auto& at = levels[level].seconds;
        Range before;
        for (std::size_t i = 0; i < read.size(); ++i) {
            before.add_before(at.front(), levels[coarsest - i].seconds, read[i]);
        }
        read.push_back(values(level));
        const auto& newest = read.back();
        if (!before.is_left(*std::min_element(newest.begin(), newest.end()), newest.back())) {
            continue; // spares most figures what follows
        }
        auto trend = find_trend(at, newest, levels[level].cpu_s);
        trend.p = std::min(1.0, trend.p * static_cast<double>(coarsest));
        const double rise = newest.back() - newest[trend.begin];
        if (trend.shape == Shape::linear && trend.p < found.trend.p && before.is_left(newest[trend.begin], newest.back()) &&
            rise > kNewHeight * largest_fall(newest)) {
            found = {trend, level};
        }
    }
    return found;
}

} // namespace memtrace
