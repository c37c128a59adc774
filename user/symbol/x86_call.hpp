// Does a call instruction end where these x86-64 bytes end? Pure functions over bytes, no decoder: a call is told from its last
// bytes backwards, so prefixes in front of it (REX, segment, notrack, the data16 padding of TLS sequences) need no look.
// Bytes before a return address always pass. Other bytes may pass by chance: "yes" is a may-be, "no" is a proof.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace memtrace {

/// As many bytes before the return address as the longest call has without prefixes: FF /2 SIB disp32.
constexpr std::size_t kLongestCall = 7;

/// E8 rel32: the displacement from the return address to the function called, or nothing where it is no such call.
std::optional<std::int32_t> direct_call_before(std::span<const std::uint8_t> code);

/// FF /2: a call through a register or memory.
bool indirect_call_before(std::span<const std::uint8_t> code);

} // namespace memtrace
