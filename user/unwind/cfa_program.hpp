// The instructions of .eh_frame and .debug_frame (DWARF 5, 6.4): how the caller of each instruction of a function is found. Foreign
// bytes: all reads are bounded, all stacks limited; what makes no sense ends the function's rows. Pure functions; x86-64 only.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "bpf/unwind_table.h"

namespace memtrace {

/// Bounds-checked reads of DWARF's numbers. A read past the end sets failed() and yields zero.
class DwarfReader {
public:
    explicit DwarfReader(std::string_view bytes) : all_(bytes) {}

    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool at_end() const { return at_ >= all_.size(); }
    [[nodiscard]] std::size_t position() const { return at_; }
    std::uint64_t fixed(std::size_t size); ///< 1, 2, 4 or 8 bytes
    std::uint64_t uleb();
    std::int64_t sleb();
    std::string_view bytes(std::uint64_t count);
    std::string_view string(); ///< up to a zero byte, which is passed over

private:
    std::string_view all_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

/// How pointers are written: DW_EH_PE_*.
constexpr std::uint8_t kPointerAbsolute = 0x00;
constexpr std::uint8_t kPointerOmitted = 0xff;

/// A pointer in the `encoding`; `address` is that of the reader's first byte, for those relative to their own place. Sets failed()
/// through an impossible read where the encoding is not supported.
std::uint64_t read_pointer(DwarfReader& reader, std::uint8_t encoding, std::uint64_t address);

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

/// What the kernel half can do with it.
mt_unwind_rule encode_rule(const CfaState& state, bool is_signal);

} // namespace memtrace
