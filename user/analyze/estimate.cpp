#include "analyze/estimate.hpp"

#include <algorithm>
#include <cmath>

namespace memtrace {

ConfidenceInterval interval95(double estimate, double variance, double one_record) {
    constexpr double kZ = 1.959963984540054; // the normal distribution's 97.5 % quantile
    // What a further unit of the total adds to the variance.
    const double grain = estimate > 0 ? std::max(variance / estimate, one_record) : one_record;
    // (estimate - Y)^2 = z^2 (variance + grain (Y - estimate)), solved for Y.
    const double middle = estimate + kZ * kZ * grain / 2;
    const double half = kZ * std::sqrt(variance + kZ * kZ * grain * grain / 4);
    return {std::max(middle - half, 0.0), middle + half};
}

} // namespace memtrace
