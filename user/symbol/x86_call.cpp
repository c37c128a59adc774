#include "symbol/x86_call.hpp"

#include <cstring>

namespace memtrace {
namespace {

constexpr std::uint8_t kCallRel32 = 0xe8;
constexpr std::uint8_t kGroup5 = 0xff; // the opcode that FF /2 shares with inc, dec, jmp and push
constexpr unsigned kCallInGroup5 = 2;

/// Length of `code` = FF /2 ..., from the opcode; 0 where it is something else or is cut off before its length is known.
std::size_t indirect_call_length(std::span<const std::uint8_t> code) {
    if (code.size() < 2 || code[0] != kGroup5 || ((code[1] >> 3) & 7) != kCallInGroup5) {
        return 0;
    }
    unsigned mod = code[1] >> 6;
    unsigned rm = code[1] & 7;
    if (mod == 3) {
        return 2; // register
    }
    bool has_sib = rm == 4;
    if (has_sib && code.size() < 3) {
        return 0;
    }
    std::size_t length = has_sib ? 3 : 2;
    if (mod == 1) {
        return length + 1; // disp8
    }
    // Without a displacement by mod, base 5 still has one: RIP-relative as r/m, absolute or index-only in a SIB byte.
    bool disp32 = mod == 2 || rm == 5 || (has_sib && (code[2] & 7) == 5);
    return disp32 ? length + 4 : length;
}

} // namespace

std::optional<std::int32_t> direct_call_before(std::span<const std::uint8_t> code) {
    constexpr std::size_t kLength = 5;
    if (code.size() < kLength || code[code.size() - kLength] != kCallRel32) {
        return std::nullopt;
    }
    std::int32_t displacement = 0;
    std::memcpy(&displacement, &code[code.size() - sizeof(displacement)], sizeof(displacement));
    return displacement;
}

bool indirect_call_before(std::span<const std::uint8_t> code) {
    for (std::size_t length = 2; length <= kLongestCall && length <= code.size(); ++length) {
        if (indirect_call_length(code.last(length)) == length) {
            return true;
        }
    }
    return false;
}

} // namespace memtrace
