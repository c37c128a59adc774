// Trends in short series, by robust statistics. Pure functions; series are parallel: values[i] was seen at seconds[i].
#pragma once

#include <span>
#include <vector>

namespace memtrace {

struct Slope {
    double per_s = 0; ///< units per second
    double low = 0;   ///< 95 % interval
    double high = 0;
};

/// The median of the slopes of all pairs of points, which up to 29 % of outliers do not move: Theil 1950, Sen 1968 (JASA 63:1379), with
/// Sen's interval: as many slopes to either side of the median as Kendall's statistic may lie from zero. `inflation`: of that statistic's
/// variance, see rank_inflation. 0 for fewer than two points. O(n^2) pairs: meant for series of up to some 100 points.
Slope theil_sen(std::span<const double> seconds, std::span<const double> values, double inflation = 1);

/// One-sided p-value of "the values rise": small = a rise that chance does not explain. Mann 1945, Kendall 1975, with the correction
/// for ties and the normal approximation; 1 for fewer than four points or for values that are all equal. `inflation`: the variance of
/// the statistic is multiplied by it; 1 takes successive values as independent.
double mann_kendall_rise(std::span<const double> values, double inflation = 1);

/// How much larger the variance of Kendall's statistic is than for independent values, because each value resembles the one before it:
/// Hamed & Rao 1998 (J. Hydrology 204:182), equation 10: from the autocorrelations of the ranks of what is left without the trend `slope`,
/// those of them that are significant at 5 %. At least 1: that values repel each other is not taken for evidence.
double rank_inflation(std::span<const double> seconds, std::span<const double> values, double slope);

/// One-sided p-value of "the values rise on average from each to the next", Student's t on their differences, by Wallace's approximation
/// (1959, Ann. Math. Stat. 30:1124). What mann_kendall_rise is not for: a random walk, the number of sessions say, makes long rises by chance,
/// and what is left without its trend does not give it away. 1 for fewer than four points.
double drift_rise(std::span<const double> values);

/// p-values as they are when so many hypotheses are tested at once, in the order given: Benjamini & Hochberg 1995 (J. R. Stat. Soc. B
/// 57:289). Of those below x, a share of x is false on average. Not Bonferroni or Holm, which keep the chance of a single false one below
/// x: what is read is a list of call sites, and with thousands tested they would leave no small leak on it.
std::vector<double> adjusted_p_values(std::span<const double> p);

} // namespace memtrace
