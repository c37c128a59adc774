// The functions that a section of unwind information describes, .eh_frame or .debug_frame. Foreign bytes: what
// cannot be read is left out, so its code has no unwind information; nothing is read beyond the section.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "unwind/cfa_program.hpp"

namespace memtrace {

struct FrameSection {
    std::string_view bytes;
    std::uint64_t address = 0; ///< of the first of them, as linked
    bool is_debug_frame = false;
    std::uint64_t code_begin = 0; ///< as linked: what is said of code before it, or behind code_end, is left out
    std::uint64_t code_end = ~std::uint64_t{0};
};

/// Addresses are as linked. `program` is counted from the section's beginning.
struct FunctionEntry {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint32_t common = 0; ///< index into FrameFunctions::common
    std::uint32_t program = 0;
    std::uint32_t program_size = 0;
};

struct FrameFunctions {
    std::vector<CommonEntry> common;
    std::vector<FunctionEntry> functions; ///< sorted by begin; they may overlap
};

/// `section.bytes` must outlive the result, and be shorter than 4 GiB.
FrameFunctions read_frame_section(const FrameSection& section);

} // namespace memtrace
