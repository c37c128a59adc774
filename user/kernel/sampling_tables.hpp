// The two tables that the kernel half samples with (bpf/sampling.h), which has no logarithm and no floating point.
#pragma once

#include <cstdint>
#include <span>

#include "bpf/sampling.h"

namespace memtrace {

/// Exponential draws of mean 1, as quantiles in fixed point.
void fill_draws(std::span<std::uint32_t, MT_DRAWS> draws);

/// x / (1 - exp(-x)) in fixed point.
void fill_weights(std::span<std::uint32_t, MT_WEIGHTS> weights);

} // namespace memtrace
