// The instructions of .eh_frame and .debug_frame (DWARF 5, 6.4): how the caller of each instruction of a function is found. Foreign
// bytes: all reads are bounded, all stacks limited; what makes no sense ends the function's rows. Pure functions; x86-64 only.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "bpf/unwind_table.h"
#include "unwind/dwarf_reader.hpp"

namespace memtrace {

/// Where a register of the caller is.
struct SavedRegister {
    enum class Kind : std::uint8_t { unspecified, same, undefined, at_cfa, at_base, other };
    Kind kind = Kind::unspecified;
    std::uint8_t base = 0; ///< at_base: DWARF number of the register that `offset` counts from
    std::int64_t offset = 0;
    friend bool operator==(const SavedRegister&, const SavedRegister&) = default;
};

/// The state after an instruction of a program.
struct CfaState {
    enum class Kind : std::uint8_t { none, reg, expression };
    Kind kind = Kind::none;
    std::uint64_t base = 0;
    std::int64_t offset = 0;
    std::string_view expression;
    SavedRegister bx, bp, sp, ra;
};

/// What all functions that share an entry (CIE) have in common.
struct CommonEntry {
    std::uint64_t code_align = 1;
    std::int64_t data_align = 1;
    std::uint8_t pointer_encoding = kPointerAbsolute;
    bool has_augmentation = false; ///< functions have augmentation data, which begins with its length
    bool is_signal = false;
    CfaState initial; ///< after its own instructions
};

struct CfaProgram {
    std::string_view bytes;
    std::uint64_t address = 0; ///< of the first of them, as linked
    std::uint64_t begin = 0;   ///< of the function
};

/// Told the state from an address on. Ascending; the last one holds to the function's end. An address may come twice: the last time
/// counts. nullptr: from here on the program makes no sense.
using CfaRowSink = std::function<void(std::uint64_t address, const CfaState* state)>;

void run_cfa_program(const CommonEntry& common, const CfaProgram& program, const CfaState& state, const CfaRowSink& row);

/// What the kernel half can do with it (rule.cpp).
mt_unwind_rule encode_rule(const CfaState& state, bool is_signal);

} // namespace memtrace
