#include "kernel/sampling_tables.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace memtrace {

void fill_draws(std::span<std::uint32_t, MT_DRAWS> draws) {
    constexpr std::size_t kSteps = MT_DRAWS - 1;
    std::array<double, MT_DRAWS> quantiles{};
    for (std::size_t i = 0; i < kSteps; ++i) {
        quantiles[i] = -std::log1p(-static_cast<double>(i) / kSteps);
    }
    // What lies beyond is exponential again, of mean 1: an even spread from 0 to 2 has that mean.
    quantiles[kSteps] = quantiles[kSteps - 1] + 2;

    // Chords lie above the logarithm, so as it stands the mean is a little more than 1.
    double mean = 0;
    for (std::size_t i = 0; i < kSteps; ++i) {
        mean += (quantiles[i] + quantiles[i + 1]) / 2 / kSteps;
    }
    std::transform(quantiles.begin(), quantiles.end(), draws.begin(), [mean](double quantile) {
        return static_cast<std::uint32_t>(std::lround(std::ldexp(quantile / mean, MT_DRAW_SHIFT)));
    });
}

void fill_weights(std::span<std::uint32_t, MT_WEIGHTS> weights) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const double x = std::ldexp(static_cast<double>(i), -MT_WEIGHT_STEP_BITS);
        const double weight = i == 0 ? 1 : x / -std::expm1(-x);
        weights[i] = static_cast<std::uint32_t>(std::lround(std::ldexp(weight, MT_WEIGHT_SHIFT)));
    }
}

} // namespace memtrace
