// Trends in short series, by robust statistics. Pure functions; series are parallel: values[i] was seen at seconds[i].
#pragma once

#include <span>

namespace memtrace {

/// Slope in units per second: the median of the slopes of all pairs of points, which up to 29 % of outliers do not move.
/// Theil 1950, Sen 1968 (JASA 63:1379). 0 for fewer than two points. O(n^2) pairs: meant for series of up to some 100 points.
double theil_sen_slope(std::span<const double> seconds, std::span<const double> values);

/// One-sided p-value of "the values rise": small = a rise that chance does not explain. Mann 1945, Kendall 1975, with the correction
/// for ties and the normal approximation; 1 for fewer than four points or for values that are all equal. Successive values are
/// taken as independent, which for a memory series is generous: callers ask for far smaller p-values than they would otherwise.
double mann_kendall_rise(std::span<const double> values);

} // namespace memtrace
