#include "kernel/placement.hpp"

#if defined(__x86_64__)
#include <Zydis/Zydis.h>
#endif

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace memtrace {

const char* hit_cost_name(HitCost cost) {
    return cost == HitCost::emulated ? "emulated" : "single-stepped";
}

#if defined(__x86_64__)

namespace {

using Bytes = std::span<const std::uint8_t>;
using RegisterSet = std::uint32_t; ///< bit n: the general register with the hardware's number n

constexpr std::size_t kLongestWalk = 64; ///< instructions; entry blocks are shorter
/// Hardware numbers of the registers that mt_argument knows, by its number: none, rdi, rsi, rdx, rcx, r8, r9, rax.
constexpr std::uint8_t kHardwareNumber[kNumberOfRax + 1] = {0xff, 7, 6, 2, 1, 8, 9, 0};
/// rbx, rsp, rbp, r12 to r15: as at entry, or stacks cannot be walked from the probe.
constexpr RegisterSet kPreserved = 1u << 3 | 1u << 4 | 1u << 5 | 0xfu << 12;
constexpr RegisterSet kStackPointer = 1u << 4;

struct Instruction {
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

const ZydisDecoder& decoder() {
    static const auto built = [] {
        ZydisDecoder fresh;
        ZydisDecoderInit(&fresh, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return fresh;
    }();
    return built;
}

bool decode(Bytes code, Instruction& out) {
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder(), code.data(), code.size(), &out.decoded, out.operands));
}

std::string text_of(const Instruction& instruction, std::uint64_t address) {
    static const auto formatter = [] {
        ZydisFormatter fresh;
        ZydisFormatterInit(&fresh, ZYDIS_FORMATTER_STYLE_ATT);
        ZydisFormatterSetProperty(&fresh, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_PADDING_DISABLED);
        ZydisFormatterSetProperty(&fresh, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, 0);
        return fresh;
    }();
    char text[128];
    const auto status =
        ZydisFormatterFormatInstruction(&formatter, &instruction.decoded, instruction.operands,
                                        instruction.decoded.operand_count_visible, text, sizeof(text), address, nullptr);
    return ZYAN_SUCCESS(status) ? text : "";
}

/// The encodings that the kernel tells by in arch/x86/kernel/uprobes.c (branch_setup_xol_ops, push_setup_xol_ops), those without
/// prefixes only: a prefix makes some kernels refuse the probe.
bool is_emulated(Bytes code, LongNops long_nops, bool nothing_before) {
    const std::uint8_t first = code[0];
    switch (code.size()) {
    case 1:
        return first == 0x90 || (first & 0xf8) == 0x50; // nop, push
    case 2:
        return first == 0xeb || (first & 0xf0) == 0x70 ||   // jmp, jcc
               (first == 0x41 && (code[1] & 0xf8) == 0x50); // push of r8 to r15
    case 5:
        if (first == 0xe9 || first == 0xe8) { // jmp, call
            return true;
        }
        break;
    case 6:
        return first == 0x0f && (code[1] & 0xf0) == 0x80; // jcc
    default:
        break;
    }
    // The kernel compares with its own nops, byte for byte (x86_nops in arch/x86/kernel/alternative.c).
    static constexpr std::uint8_t kNops[][8] = {
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
        {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    };
    static constexpr std::size_t kSizes[] = {3, 4, 5, 7, 8};
    if (long_nops == LongNops::stepped || (long_nops == LongNops::rewritten && code.size() == 5 && !nothing_before)) {
        return false;
    }
    for (std::size_t i = 0; i < std::size(kSizes); ++i) {
        if (code.size() == kSizes[i] && std::memcmp(code.data(), kNops[i], kSizes[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool is_nop(const ZydisDecodedInstruction& decoded) {
    return decoded.mnemonic == ZYDIS_MNEMONIC_NOP || decoded.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
}

/// What is known not to leave the straight path, nor to act on anything but its operands.
bool is_plain(const ZydisDecodedInstruction& decoded) {
    switch (decoded.meta.category) {
    case ZYDIS_CATEGORY_AVX:
    case ZYDIS_CATEGORY_AVX2:
    case ZYDIS_CATEGORY_BINARY:
    case ZYDIS_CATEGORY_BITBYTE:
    case ZYDIS_CATEGORY_BMI1:
    case ZYDIS_CATEGORY_BMI2:
    case ZYDIS_CATEGORY_CMOV:
    case ZYDIS_CATEGORY_CONVERT:
    case ZYDIS_CATEGORY_DATAXFER:
    case ZYDIS_CATEGORY_LOGICAL:
    case ZYDIS_CATEGORY_LOGICAL_FP:
    case ZYDIS_CATEGORY_LZCNT:
    case ZYDIS_CATEGORY_PREFETCH:
    case ZYDIS_CATEGORY_ROTATE:
    case ZYDIS_CATEGORY_SETCC:
    case ZYDIS_CATEGORY_SHIFT:
    case ZYDIS_CATEGORY_SSE:
        return true;
    default:
        return is_nop(decoded) || decoded.mnemonic == ZYDIS_MNEMONIC_LEA;
    }
}

RegisterSet bit_of(ZydisRegister reg) {
    const auto whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    return 1u << ZydisRegisterGetId(whole);
}

/// What an instruction does to the outside world, as far as it matters here.
struct Effects {
    RegisterSet written = 0;
    bool unknown = false; ///< something else than general, vector and flag registers
    bool stores = false;
};

Effects effects_of(const Instruction& instruction) {
    Effects effects;
    for (std::size_t i = 0; i < instruction.decoded.operand_count; ++i) {
        const auto& operand = instruction.operands[i];
        if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) {
            continue;
        }
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
            effects.stores = true;
        } else if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            switch (ZydisRegisterGetClass(operand.reg.value)) {
            case ZYDIS_REGCLASS_GPR8:
            case ZYDIS_REGCLASS_GPR16:
            case ZYDIS_REGCLASS_GPR32:
            case ZYDIS_REGCLASS_GPR64:
                effects.written |= bit_of(operand.reg.value);
                break;
            case ZYDIS_REGCLASS_MMX:
            case ZYDIS_REGCLASS_XMM:
            case ZYDIS_REGCLASS_YMM:
            case ZYDIS_REGCLASS_ZMM:
            case ZYDIS_REGCLASS_FLAGS:
                break;
            default:
                effects.unknown = true;
            }
        } else {
            effects.unknown = true;
        }
    }
    return effects;
}

/// Which registers hold each argument, instruction by instruction.
class Arguments {
public:
    explicit Arguments(std::uint8_t wanted) : wanted_(wanted) {
        for (std::uint8_t n = 1; n <= kArgumentRegisters; ++n) {
            holders_[n] = 1u << kHardwareNumber[n];
        }
    }

    void follow(const Instruction& instruction, RegisterSet written) {
        RegisterSet source = 0;
        if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_MOV && is_whole_register(instruction.operands[0]) &&
            is_whole_register(instruction.operands[1])) {
            source = bit_of(instruction.operands[1].reg.value);
        }
        for (auto& holders : holders_) {
            const bool copied = (holders & source) != 0;
            holders &= ~written;
            if (copied) {
                holders |= written;
            }
        }
    }

    /// The argument that no register holds any more, 0 = they are all there.
    [[nodiscard]] int lost() const {
        for (std::uint8_t n = 1; n <= kArgumentRegisters; ++n) {
            if (is_wanted(n) && holders_[n] == 0) {
                return n;
            }
        }
        return 0;
    }

    /// Names a register for each argument, its own if possible. The argument that is in none which has a number, 0 = done.
    int name_registers(Placement& out) const {
        for (std::uint8_t n = 1; n <= kArgumentRegisters; ++n) {
            if (!is_wanted(n) || (holders_[n] >> kHardwareNumber[n] & 1) != 0) {
                continue;
            }
            std::uint8_t number = 1;
            while (number <= kNumberOfRax && (holders_[n] >> kHardwareNumber[number] & 1) == 0) {
                ++number;
            }
            if (number > kNumberOfRax) {
                return n;
            }
            out.registers[n] = number;
        }
        return 0;
    }

private:
    static bool is_whole_register(const ZydisDecodedOperand& operand) {
        return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_GPR64;
    }
    [[nodiscard]] bool is_wanted(std::uint8_t n) const { return (wanted_ >> n & 1) != 0; }

    std::uint8_t wanted_;
    std::array<RegisterSet, kArgumentRegisters + 1> holders_{};
};

/// Whether a direct branch of the function leads to an offset from 1 to `last`. Decodes straight on from the entry: compilers put
/// no data between instructions on x86. Targets of a switch are not looked for: no compiler makes one of an entry block.
bool is_jumped_into(Bytes body, std::uint64_t last) {
    ZydisDecodedInstruction decoded;
    for (std::size_t at = 0; at < body.size();) {
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder(), nullptr, body.data() + at, body.size() - at, &decoded))) {
            ++at;
            continue;
        }
        at += decoded.length;
        if (decoded.raw.imm[0].is_relative != 0) {
            const std::uint64_t target = at + static_cast<std::uint64_t>(decoded.raw.imm[0].value.s);
            if (target - 1 < last) {
                return true;
            }
        }
    }
    return false;
}

std::string at_offset(std::uint64_t offset) {
    return "at +" + std::to_string(offset);
}

std::string lost_argument(int number, std::uint64_t offset) {
    return "argument " + std::to_string(number) + " is overwritten " + at_offset(offset);
}

/// Why the walk may not go beyond an instruction; empty where it may.
std::string obstacle(const Instruction& instruction, const Effects& effects, std::uint64_t offset) {
    if (!is_plain(instruction.decoded) || effects.unknown) {
        return "control may leave " + at_offset(offset);
    }
    if (effects.stores) {
        return "memory is written " + at_offset(offset);
    }
    if ((effects.written & kStackPointer) != 0) {
        return "the stack pointer moves " + at_offset(offset);
    }
    if ((effects.written & kPreserved) != 0) {
        return "a register of the caller is overwritten " + at_offset(offset);
    }
    return "";
}

Bytes body_of(const PlacementRequest& request) {
    return request.size != 0 ? request.code.first(std::min<std::uint64_t>(request.size, request.code.size())) : request.code;
}

/// `instruction` is one that the kernel emulates, at `offset`.
Placement place_here(const PlacementRequest& request, const Instruction& instruction, std::uint64_t offset,
                     const Arguments& arguments) {
    Placement found;
    if (const int number = arguments.name_registers(found); number != 0) {
        return at_entry(request,
                        "argument " + std::to_string(number) + " is in a register that is not read " + at_offset(offset));
    }
    if (offset != 0 && is_jumped_into(body_of(request), offset)) {
        return at_entry(request, "the function jumps back behind its entry");
    }
    found.offset = offset;
    found.cost = HitCost::emulated;
    found.instruction = text_of(instruction, request.address + offset);
    found.reason = offset == 0 ? "the entry is emulated" : "the first that is emulated";
    for (std::uint8_t n = 1; n <= kArgumentRegisters; ++n) {
        if (found.registers[n] != n) {
            found.reason += "; argument " + std::to_string(n) + " has moved";
        }
    }
    return found;
}

} // namespace

Placement at_entry(const PlacementRequest& request, std::string reason) {
    Placement entry;
    Instruction instruction;
    const auto body = body_of(request);
    if (decode(body, instruction)) {
        entry.instruction = text_of(instruction, request.address);
        const bool cheap = is_emulated(body.first(instruction.decoded.length), request.long_nops, true);
        entry.cost = cheap ? HitCost::emulated : HitCost::stepped;
    }
    entry.reason = std::move(reason);
    return entry;
}

Placement place_probe(const PlacementRequest& request) {
    const auto body = body_of(request);
    Arguments arguments(request.arguments);
    bool nothing_before = true;
    std::uint64_t offset = 0;
    for (std::size_t walked = 0; walked < kLongestWalk && offset < body.size(); ++walked) {
        Instruction instruction;
        if (!decode(body.subspan(offset), instruction)) {
            return at_entry(request, "what is " + at_offset(offset) + " does not decode");
        }
        const auto length = instruction.decoded.length;
        if (is_emulated(body.subspan(offset, length), request.long_nops, nothing_before)) {
            return place_here(request, instruction, offset, arguments);
        }
        const auto effects = effects_of(instruction);
        if (auto why = obstacle(instruction, effects, offset); !why.empty()) {
            return at_entry(request, std::move(why));
        }
        arguments.follow(instruction, effects.written);
        if (const int number = arguments.lost(); number != 0) {
            return at_entry(request, lost_argument(number, offset));
        }
        nothing_before = nothing_before && is_nop(instruction.decoded);
        offset += length;
    }
    return at_entry(request, "no instruction that is emulated");
}

std::vector<std::uint64_t> far_jumps_into(std::span<const std::uint8_t> text, std::uint64_t text_address,
                                          const AddressRange& range) {
    std::vector<std::uint64_t> targets;
    // Displacements are looked at first, opcodes only where one fits: hardly ever, so this is fast. Modulo 2^32, as displacements
    // are.
    const auto width = static_cast<std::uint32_t>(range.last - range.first);
    auto distance = static_cast<std::uint32_t>(text_address + 1 + sizeof(std::uint32_t) - range.first);
    for (std::size_t at = 1; at + sizeof(std::uint32_t) <= text.size(); ++at, ++distance) {
        std::uint32_t displacement;
        std::memcpy(&displacement, text.data() + at, sizeof(displacement));
        const std::uint32_t into = displacement + distance;
        if (into > width) {
            continue;
        }
        const bool jump = text[at - 1] == 0xe9;
        const bool conditional = at >= 2 && text[at - 2] == 0x0f && (text[at - 1] & 0xf0) == 0x80;
        if (jump || conditional) {
            targets.push_back(range.first + into);
        }
    }
    return targets;
}

#else

Placement at_entry(const PlacementRequest&, std::string reason) {
    Placement entry;
    entry.reason = std::move(reason);
    return entry;
}

Placement place_probe(const PlacementRequest& request) {
    return at_entry(request, "always the entry: which instructions this architecture's kernel simulates is not looked at");
}

std::vector<std::uint64_t> far_jumps_into(std::span<const std::uint8_t>, std::uint64_t, const AddressRange&) {
    return {};
}

#endif

} // namespace memtrace
