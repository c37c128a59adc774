// Code is foreign bytes. Wherever the probe goes, it must be on an instruction of the function, with nothing before it that would
// be seen, and every argument in the register that is named for it. Followed here instruction by instruction with values instead of
// sets of registers: each register holds a number, and only a whole copy hands it on.
#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "kernel/placement.hpp"

namespace {

using namespace memtrace;

constexpr std::size_t kHeader = 3;

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

struct Instruction {
    ZydisDecodedInstruction decoded;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

bool decode(std::span<const std::uint8_t> code, Instruction& out) {
    static const auto decoder = [] {
        ZydisDecoder fresh;
        ZydisDecoderInit(&fresh, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return fresh;
    }();
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &out.decoded, out.operands));
}

constexpr std::array<ZydisRegister, 8> kRegisters = {ZYDIS_REGISTER_NONE, ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_RSI,
                                                     ZYDIS_REGISTER_RDX,  ZYDIS_REGISTER_RCX, ZYDIS_REGISTER_R8,
                                                     ZYDIS_REGISTER_R9,   ZYDIS_REGISTER_RAX};

/// What each general register holds: a number for what it held at entry, 0 for anything else.
class Values {
public:
    Values() {
        for (std::size_t i = 0; i < held_.size(); ++i) {
            held_[i] = static_cast<int>(i) + 1;
        }
    }
    void step(const Instruction& instruction) {
        const auto before = held_;
        for (std::size_t i = 0; i < instruction.decoded.operand_count; ++i) {
            const auto& operand = instruction.operands[i];
            if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) {
                continue;
            }
            require(operand.type == ZYDIS_OPERAND_TYPE_REGISTER); // not memory
            const auto whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
            if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64) {
                held_[index(whole)] = 0;
            }
        }
        const auto& to = instruction.operands[0];
        const auto& from = instruction.operands[1];
        if (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_MOV && is_whole(to) && is_whole(from)) {
            held_[index(to.reg.value)] = before[index(from.reg.value)];
        }
    }
    [[nodiscard]] bool holds(ZydisRegister reg, ZydisRegister at_entry) const {
        return held_[index(reg)] == static_cast<int>(index(at_entry)) + 1;
    }

private:
    static std::size_t index(ZydisRegister reg) { return static_cast<std::size_t>(ZydisRegisterGetId(reg)); }
    static bool is_whole(const ZydisDecodedOperand& operand) {
        return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_GPR64;
    }
    std::array<int, 16> held_{};
};

bool is_branch(const ZydisDecodedInstruction& decoded) {
    return decoded.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

void check_probed(const Instruction& probed, const Placement& placement, LongNops long_nops, bool only_nops_before) {
    const auto mnemonic = probed.decoded.mnemonic;
    const bool push = mnemonic == ZYDIS_MNEMONIC_PUSH && probed.operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER;
    const bool nop = mnemonic == ZYDIS_MNEMONIC_NOP && (probed.decoded.length == 1 || long_nops != LongNops::stepped);
    const bool branch = is_branch(probed.decoded) && probed.decoded.raw.imm[0].is_relative != 0;
    require(placement.cost == HitCost::stepped || push || nop || branch);
    require(long_nops != LongNops::rewritten || !nop || probed.decoded.length != 5 || only_nops_before);
}

void check_placement(const PlacementRequest& request) {
    const auto placement = place_probe(request);
    const auto size = request.size != 0 ? std::min<std::uint64_t>(request.size, request.code.size()) : request.code.size();
    const auto body = request.code.first(size);
    require(!placement.reason.empty());
    for (std::uint8_t n = 0; n <= kArgumentRegisters; ++n) {
        require(placement.registers[n] == n || ((request.arguments >> n & 1) != 0 && placement.cost == HitCost::emulated));
        require(placement.registers[n] <= kNumberOfRax);
    }
    require(placement.offset == 0 || placement.cost == HitCost::emulated);
    Values values;
    Instruction instruction;
    std::uint64_t at = 0;
    bool only_nops = true;
    while (at < placement.offset) {
        require(decode(body.subspan(at), instruction));
        require(!is_branch(instruction.decoded));
        values.step(instruction);
        only_nops = only_nops && (instruction.decoded.mnemonic == ZYDIS_MNEMONIC_NOP ||
                                  instruction.decoded.mnemonic == ZYDIS_MNEMONIC_ENDBR64);
        at += instruction.decoded.length;
    }
    require(at == placement.offset);
    if (at == size || !decode(body.subspan(at), instruction)) {
        require(placement.offset == 0 && placement.cost == HitCost::stepped);
        return;
    }
    check_probed(instruction, placement, request.long_nops, only_nops);
    for (std::uint8_t n = 1; n <= kArgumentRegisters; ++n) {
        require((request.arguments >> n & 1) == 0 || values.holds(kRegisters[placement.registers[n]], kRegisters[n]));
    }
    for (const auto reg : {ZYDIS_REGISTER_RSP, ZYDIS_REGISTER_RBP, ZYDIS_REGISTER_RBX, ZYDIS_REGISTER_R12, ZYDIS_REGISTER_R15}) {
        require(values.holds(reg, reg));
    }
    // Nothing that is read from the entry on leads in between.
    for (std::uint64_t next = 0; placement.offset != 0 && next < size && decode(body.subspan(next), instruction);) {
        ZyanU64 target = 0;
        const auto address = request.address + next;
        if (instruction.decoded.raw.imm[0].is_relative != 0 &&
            ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction.decoded, &instruction.operands[0], address, &target))) {
            require(target <= request.address || target > request.address + placement.offset);
        }
        next += instruction.decoded.length;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader) {
        return 0;
    }
    const std::vector<std::uint8_t> code(data + kHeader, data + size);
    for (const auto long_nops : {LongNops::stepped, LongNops::emulated, LongNops::rewritten}) {
        check_placement(
            {code, data[1], 0x1000 + data[2] * std::uint64_t{0x1000000}, static_cast<std::uint8_t>(data[0] & 0x7e), long_nops});
    }
    return 0;
}
