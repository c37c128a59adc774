// The tables that the kernel half samples with.
#pragma once

#include <array>
#include <cstdint>

#include "kernel/sampling_tables.hpp"

namespace memtrace::testing {

struct SamplingTables {
    std::array<std::uint32_t, MT_DRAWS> draws{};
    std::array<std::uint32_t, MT_WEIGHTS> weights{};

    SamplingTables() {
        fill_draws(draws);
        fill_weights(weights);
    }
};

} // namespace memtrace::testing
