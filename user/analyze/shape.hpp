// What a series looks like as a whole: where it changed, and what its growth is of. Pure functions; series as in growth.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "analyze/growth.hpp"

namespace memtrace {

enum class Shape : std::uint8_t {
    noise,      ///< no trend
    linear,     ///< grows, and is not seen to slow down
    saturating, ///< grew and is slowing down, or has stopped: a cache that warms up
    step,       ///< grew in a few steps, each at once
    sawtooth,   ///< grows and falls back, again and again
};
const char* shape_name(Shape shape);

/// The index at which a second line begins that fits the rest better, where one does: two-phase regression by least squares (Quandt 1958,
/// JASA 53:873; Hinkley 1969), taken where Schwarz's criterion (1978) prefers it, in which residuals count for as many as are independent.
/// The second part has `least` points and more.
std::optional<std::size_t> change_point(std::span<const double> seconds, std::span<const double> values, std::size_t least);

/// Growth in the last third against that in the first, and whether less is more than chance: Welch's t-test (1947, Biometrika 34:28) on the
/// increments. The ratio is 1 where the test says nothing.
double slowdown(std::span<const double> values);

/// Share of the rise from first to last that its three largest increments make up; 1 where it does not rise. Our own.
double share_of_steps(std::span<const double> values);

/// How often the series loses more than half of what it had grown to. Our own.
std::size_t falls(std::span<const double> values);

/// What is judged of a series: its last regime.
struct Trend {
    std::size_t begin = 0; ///< of the regime; what is before is warm-up, or another regime
    Slope slope;
    double p = 1; ///< one-sided, of a rise; of this series alone
    Shape shape = Shape::noise;
};

/// `cpu_s`: CPU time of the process at the same moments, or empty. Growth that slows down as the load does is not saturating.
/// Series of fewer than kLeastPoints have no trend.
Trend find_trend(std::span<const double> seconds, std::span<const double> values, std::span<const double> cpu_s);
constexpr std::size_t kLeastPoints = 8;

/// The moments of a figure's points at one resolution.
struct Moments {
    std::span<const double> seconds;
    std::span<const double> cpu_s; ///< as find_trend's
};

struct ResolvedTrend {
    Trend trend;
    std::size_t level = 0; ///< the resolution whose points it is of
};

/// As find_trend, of a figure that is known at several resolutions: the last one covers the whole run, each before it the newest quarter
/// of that, as model/timeline's rings. In the last one a leak is no regime before it has lasted an eighth of the run. So where that one
/// shows no sure line, the newest part is looked at more and more closely. A line there counts if it leads to a new height, rises by half
/// as much again as the figure differed by before that part, and as it fell in it, and is the surer of the two with its p multiplied by
/// the number of resolutions (Bonferroni). A full cache that turns over, or a sawtooth of hours, does neither. Single ticks are looked at
/// where there is nothing else only. Our own. `values` reads a resolution.
ResolvedTrend find_trend_closer(std::span<const Moments> levels, const std::function<std::vector<double>(std::size_t)>& values);

} // namespace memtrace
