#include <cstring>
#include <limits>
#include <optional>

#include "unwind/cfa_program.hpp"

namespace memtrace {

namespace {

/// DW_OP_*
constexpr std::uint8_t kDeref = 0x06;
constexpr std::uint8_t kPlusUnsigned = 0x23;
constexpr std::uint8_t kBase0 = 0x70; ///< the first of 32: register n + a number

bool fits16(std::int64_t value) {
    return value >= std::numeric_limits<std::int16_t>::min() && value <= std::numeric_limits<std::int16_t>::max();
}
bool fits32(std::int64_t value) {
    return value >= std::numeric_limits<std::int32_t>::min() && value <= std::numeric_limits<std::int32_t>::max();
}

void encode_saved(const SavedRegister& saved, std::uint8_t& kind, std::int16_t& offset) {
    using Kind = SavedRegister::Kind;
    kind = MT_SAVED_LOST;
    if (saved.kind == Kind::unspecified || saved.kind == Kind::same) { // both registers belong to the caller
        kind = MT_SAVED_SAME;
    } else if ((saved.kind == Kind::at_cfa || (saved.kind == Kind::at_base && saved.base == MT_DWARF_BP)) &&
               fits16(saved.offset)) {
        kind = saved.kind == Kind::at_cfa ? MT_SAVED_AT_CFA : MT_SAVED_AT_BP;
        offset = static_cast<std::int16_t>(saved.offset);
    }
}

mt_unwind_rule plain_rule(mt_cfa_kind kind) {
    mt_unwind_rule rule{};
    rule.cfa = static_cast<std::uint8_t>(kind);
    return rule;
}

/// Linkage tables, as linkers describe them: rsp + offset + ((rip & 15) >= n) * 8. The n.
std::optional<std::uint8_t> plt_threshold(std::string_view rest) {
    static constexpr std::uint8_t kBefore[] = {0x80, 0x00, 0x3f, 0x1a}; // breg16 0, lit15, and
    static constexpr std::uint8_t kAfter[] = {0x2a, 0x33, 0x24, 0x22};  // ge, lit3, shl, plus
    if (rest.size() != sizeof(kBefore) + 1 + sizeof(kAfter) || std::memcmp(rest.data(), kBefore, sizeof(kBefore)) != 0 ||
        std::memcmp(rest.data() + sizeof(kBefore) + 1, kAfter, sizeof(kAfter)) != 0) {
        return std::nullopt;
    }
    const auto literal = static_cast<std::uint8_t>(rest[sizeof(kBefore)]);
    return literal >= 0x30 && literal <= 0x3f ? std::optional<std::uint8_t>(literal - 0x30) : std::nullopt;
}

/// Offsets of rsp and rip in struct ucontext.
constexpr std::int64_t kContextSp = 160;
constexpr std::int64_t kContextRa = 168;

mt_unwind_rule expression_rule(const CfaState& state, bool is_signal) {
    DwarfReader reader(state.expression);
    const auto operation = static_cast<std::uint8_t>(reader.fixed(1));
    const auto offset = reader.sleb();
    if (reader.failed() || operation < kBase0 || operation >= kBase0 + MT_DWARF_RA || !fits32(offset)) {
        return plain_rule(MT_CFA_UNSUPPORTED);
    }
    mt_unwind_rule rule{};
    rule.base = operation - kBase0;
    rule.offset = static_cast<std::int32_t>(offset);
    const auto rest = state.expression.substr(reader.position());
    if (const auto threshold = plt_threshold(rest); threshold && rule.base == MT_DWARF_SP) {
        rule.cfa = MT_CFA_PLT;
        rule.addend = *threshold;
        return rule;
    }
    if (reader.fixed(1) != kDeref) {
        return plain_rule(MT_CFA_UNSUPPORTED);
    }
    rule.cfa = MT_CFA_DEREF;
    if (is_signal) {
        const auto& ra = state.ra;
        const auto context = offset - kContextSp;
        if (!reader.at_end() || ra.kind != SavedRegister::Kind::at_base || ra.base != rule.base ||
            ra.offset - context != kContextRa || !fits32(context)) {
            return plain_rule(MT_CFA_UNSUPPORTED);
        }
        rule.cfa = MT_CFA_SIGNAL;
        rule.offset = static_cast<std::int32_t>(context);
        return rule;
    }
    if (!reader.at_end()) {
        const bool plus = reader.fixed(1) == kPlusUnsigned;
        const auto addend = static_cast<std::int64_t>(reader.uleb());
        if (!plus || reader.failed() || !reader.at_end() || !fits32(addend)) {
            return plain_rule(MT_CFA_UNSUPPORTED);
        }
        rule.addend = static_cast<std::int32_t>(addend);
    }
    return rule;
}

} // namespace

mt_unwind_rule encode_rule(const CfaState& state, bool is_signal) {
    using Kind = SavedRegister::Kind;
    mt_unwind_rule rule{};
    if (state.ra.kind == Kind::undefined) {
        return plain_rule(MT_CFA_END);
    }
    if (state.kind == CfaState::Kind::none) {
        return plain_rule(MT_CFA_NONE);
    }
    if (state.kind == CfaState::Kind::expression) {
        rule = expression_rule(state, is_signal);
        if (rule.cfa == MT_CFA_SIGNAL || rule.cfa == MT_CFA_UNSUPPORTED) {
            return rule;
        }
    } else {
        if (state.base >= MT_DWARF_RA || !fits32(state.offset)) {
            return plain_rule(MT_CFA_UNSUPPORTED);
        }
        rule.cfa = MT_CFA_REGISTER;
        rule.base = static_cast<std::uint8_t>(state.base);
        rule.offset = static_cast<std::int32_t>(state.offset);
    }
    const bool usual = state.ra.kind == Kind::at_cfa && state.ra.offset == -8 &&
                       (state.sp.kind == Kind::unspecified || state.sp.kind == Kind::same);
    if (!usual) {
        return plain_rule(MT_CFA_UNSUPPORTED);
    }
    encode_saved(state.bp, rule.bp, rule.bp_offset);
    encode_saved(state.bx, rule.bx, rule.bx_offset);
    return rule;
}

} // namespace memtrace
