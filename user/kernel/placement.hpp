// Where in a function its probe goes. The kernel emulates a few instructions (a nop, `push %reg`, near branches) when it meets a
// probe on them; every other one it single-steps, with a second trap that costs many times the first. So the probe goes to the
// first instruction of the entry block that is emulated, as long as a hit there still tells what a hit at the entry would:
//
//     +0  test %rdi,%rdi      single-stepped; harmless to step over
//     +3  je   +200           emulated, every call comes by, %rdi is untouched: here
//     +9  push %rbp           emulated too, but NULL never comes by
//
// What lies between entry and probe may neither be seen from outside (no store, no branch, no system call) nor change what the
// probe's programs read: the arguments, the stack pointer (the return address is found by it, and nesting is told by it) and the
// callee-saved registers (stacks are walked by them). No jump may lead in between: the call would be counted again.
// Foreign bytes: nothing is believed but what decodes. Pure: no I/O.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace memtrace {

/// What this kernel makes of a probe on a nop of several bytes (measured, see kernel/calibration.hpp).
enum class LongNops : std::uint8_t {
    stepped,  ///< like any other instruction
    emulated, ///< since "uprobes/x86: Add support to emulate nop instructions"
    rewritten ///< emulated, and one of 5 bytes becomes a call: cheaper still, but the call's return address is written below the
              ///< stack pointer, where a function that calls nothing may keep its variables; so only before its first instruction
};

constexpr std::uint8_t kArgumentRegisters = 6;
/// Registers by number, as mt_argument (bpf/arch.h) knows them: 1 to 6 hold the arguments at entry, 7 is rax.
constexpr std::uint8_t kNumberOfRax = 7;

struct PlacementRequest {
    std::span<const std::uint8_t> code; ///< from the function's first byte; may end before the function does
    std::uint64_t size = 0;             ///< of the function, by its symbol; 0 = unknown
    std::uint64_t address = 0;          ///< of its first byte, as linked; for the text of branches only
    std::uint8_t arguments = 0;         ///< bit n set: argument n (1 to 6) is read at the probe
    LongNops long_nops = LongNops::stepped;
};

enum class HitCost : std::uint8_t { emulated, stepped };
const char* hit_cost_name(HitCost cost);

struct Placement {
    std::uint64_t offset = 0; ///< of the probed instruction, from the function's first byte
    HitCost cost = HitCost::stepped;
    /// [n]: number of the register that holds argument n at the probe; n itself where it is not asked for.
    std::array<std::uint8_t, kArgumentRegisters + 1> registers{0, 1, 2, 3, 4, 5, 6};
    std::string instruction; ///< for people; empty where it does not decode
    std::string reason;      ///< why there, or why nowhere better
};

/// Never fails: where there is no better place it is the entry, and the reason says why. Other architectures than x86-64: always.
Placement place_probe(const PlacementRequest& request);

/// `placement` moved back to the entry for `reason`.
Placement at_entry(const PlacementRequest& request, std::string reason);

struct AddressRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0; ///< the last that belongs to it; less than 4 GiB from the first
};

/// Where in `range` direct far jumps in `text` lead, whose first byte is at `text_address`: what the compiler put elsewhere (a
/// function's cold part) may come back. Looks at every byte, so it may find jumps that are none.
std::vector<std::uint64_t> far_jumps_into(std::span<const std::uint8_t> text, std::uint64_t text_address,
                                          const AddressRange& range);

} // namespace memtrace
