// The executable ranges of a process in the layout that the kernel half reads (bpf/unwind_table.h). Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "bpf/unwind_table.h"

namespace memtrace {

/// `ranges` as in /proc/PID/maps: sorted and disjoint. Neighbours without a table become one; what is beyond MT_MAX_RANGES is left out.
std::vector<std::uint32_t> encode_space(const std::vector<mt_unwind_range>& ranges);

} // namespace memtrace
