// How far an estimate from a Poisson sample can be from the truth. Pure functions.
#pragma once

namespace memtrace {

struct ConfidenceInterval {
    double low = 0;
    double high = 0;
};

/// 95 % interval for a total of which a Horvitz-Thompson estimate and the estimate of its variance are known (bpf/sampling.h), in units
/// of their own and of these squared. `one_record` is what one record stands for: the largest sampling interval that was in use for
/// bytes, that over the mean size for objects; 0 where every allocation is recorded.
///
/// A score interval (Wilson 1927, JASA 22:209, here for a Poisson-like total): all totals Y from which the estimate lies within 1.96
/// standard deviations *as they are at Y*, where each further unit of the total adds to the variance as a record's does. The usual
/// interval, estimate +- 1.96 standard errors, takes the variance at the estimate, which is small exactly where the estimate is,
/// and from no record at all it is empty.
///
/// Simulated (tests/unit/sampling_statistics_test.cpp): covers 94 to 96 % from 5 records on where they weigh alike, which those of bytes do
/// under one interval; from 30 on also where the interval changed sixteenfold on the way. With fewer than that, or for
/// the number of objects where sizes differ a hundredfold, 85 to 93 %: the small blocks, each of which stands for many, have not been seen.
ConfidenceInterval interval95(double estimate, double variance, double one_record);

} // namespace memtrace
