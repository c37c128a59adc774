#include "unwind/cfa_program.hpp"

#include <cstring>
#include <limits>
#include <optional>

namespace memtrace {

namespace {

constexpr std::size_t kMaxRemembered = 64;

/// DW_CFA_*: those whose operand is in the instruction's own low bits, then the others.
enum Instruction : std::uint8_t {
    kAdvance = 0x40,
    kOffset = 0x80,
    kRestore = 0xc0,
    kNop = 0x00,
    kSetLocation = 0x01,
    kAdvance1 = 0x02,
    kAdvance2 = 0x03,
    kAdvance4 = 0x04,
    kOffsetExtended = 0x05,
    kRestoreExtended = 0x06,
    kUndefined = 0x07,
    kSameValue = 0x08,
    kRegister = 0x09,
    kRememberState = 0x0a,
    kRestoreState = 0x0b,
    kDefineCfa = 0x0c,
    kDefineCfaRegister = 0x0d,
    kDefineCfaOffset = 0x0e,
    kDefineCfaExpression = 0x0f,
    kExpression = 0x10,
    kOffsetExtendedSigned = 0x11,
    kDefineCfaSigned = 0x12,
    kDefineCfaOffsetSigned = 0x13,
    kValueOffset = 0x14,
    kValueOffsetSigned = 0x15,
    kValueExpression = 0x16,
    kArgumentsSize = 0x2e,          // GNU
    kOffsetExtendedNegative = 0x2f, // GNU
};

/// DW_OP_*
constexpr std::uint8_t kDeref = 0x06;
constexpr std::uint8_t kPlusUnsigned = 0x23;
constexpr std::uint8_t kBase0 = 0x70; ///< the first of 32: register n + a number
constexpr std::uint8_t kBase31 = 0x8f;

/// Sums and products of foreign numbers wrap; what comes out is judged afterwards.
std::int64_t times(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}

class Program {
public:
    Program(const CommonEntry& common, const CfaProgram& program, const CfaState& state)
        : common_(common), reader_(program.bytes), address_(program.address), location_(program.begin), state_(state) {}

    void run(const CfaRowSink& row) {
        while (!reader_.at_end()) {
            const auto before = location_;
            const bool fine = step();
            if (!fine || location_ < before) {
                row(before, nullptr);
                return;
            }
            if (location_ != before) { // what moves on changes nothing else
                row(before, &state_);
            }
        }
        row(location_, &state_);
    }

private:
    bool step() {
        const auto opcode = static_cast<std::uint8_t>(reader_.fixed(1));
        const std::uint8_t low = opcode & 0x3f;
        switch (opcode & 0xc0) {
        case kAdvance:
            advance(low);
            return true;
        case kOffset:
            set(low, at_cfa(times(static_cast<std::int64_t>(reader_.uleb()), common_.data_align)));
            return !reader_.failed();
        case kRestore:
            restore(low);
            return true;
        default:
            return (step_location(opcode) || step_cfa(opcode) || step_register(opcode)) && !reader_.failed();
        }
    }

    bool step_location(std::uint8_t opcode) {
        switch (opcode) {
        case kNop:
            return true;
        case kSetLocation:
            location_ = read_pointer(reader_, common_.pointer_encoding, address_);
            return true;
        case kAdvance1:
            advance(reader_.fixed(1));
            return true;
        case kAdvance2:
            advance(reader_.fixed(2));
            return true;
        case kAdvance4:
            advance(reader_.fixed(4));
            return true;
        case kRememberState:
            remembered_.push_back(state_);
            return remembered_.size() <= kMaxRemembered;
        case kRestoreState:
            if (remembered_.empty()) {
                return false;
            }
            state_ = remembered_.back();
            remembered_.pop_back();
            return true;
        case kArgumentsSize:
            reader_.uleb();
            return true;
        default:
            return false;
        }
    }

    bool step_cfa(std::uint8_t opcode) {
        switch (opcode) {
        case kDefineCfa:
        case kDefineCfaSigned: {
            const auto base = reader_.uleb();
            define_cfa(base, opcode == kDefineCfa ? static_cast<std::int64_t>(reader_.uleb()) : factored());
            return true;
        }
        case kDefineCfaRegister: // of an expression it makes none
            define_cfa(reader_.uleb(), state_.kind == CfaState::Kind::reg ? state_.offset : 0);
            return true;
        case kDefineCfaOffset:
        case kDefineCfaOffsetSigned:
            if (state_.kind != CfaState::Kind::reg) {
                return false;
            }
            state_.offset = opcode == kDefineCfaOffset ? static_cast<std::int64_t>(reader_.uleb()) : factored();
            return true;
        case kDefineCfaExpression:
            state_.kind = CfaState::Kind::expression;
            state_.expression = reader_.bytes(reader_.uleb());
            return true;
        default:
            return false;
        }
    }

    bool step_register(std::uint8_t opcode) {
        using Kind = SavedRegister::Kind;
        if (opcode < kOffsetExtended || (opcode > kRegister && opcode < kExpression) ||
            (opcode > kValueExpression && opcode != kOffsetExtendedNegative)) {
            return false;
        }
        const auto number = reader_.uleb();
        switch (opcode) {
        case kOffsetExtended:
            set(number, at_cfa(times(static_cast<std::int64_t>(reader_.uleb()), common_.data_align)));
            return true;
        case kOffsetExtendedNegative:
            set(number, at_cfa(times(times(static_cast<std::int64_t>(reader_.uleb()), common_.data_align), -1)));
            return true;
        case kOffsetExtendedSigned:
            set(number, at_cfa(factored()));
            return true;
        case kRestoreExtended:
            restore(number);
            return true;
        case kUndefined:
            set(number, {Kind::undefined, 0, 0});
            return true;
        case kSameValue:
            set(number, {Kind::same, 0, 0});
            return true;
        case kRegister:
            set(number, {reader_.uleb() == number ? Kind::same : Kind::other, 0, 0});
            return true;
        case kExpression:
            set(number, saved_by(reader_.bytes(reader_.uleb())));
            return true;
        case kValueExpression:
            reader_.bytes(reader_.uleb());
            set(number, {Kind::other, 0, 0});
            return true;
        case kValueOffset:
        case kValueOffsetSigned:
            reader_.uleb();
            set(number, {Kind::other, 0, 0});
            return true;
        default:
            return false;
        }
    }

    void advance(std::uint64_t units) { location_ += units * common_.code_align; }
    std::int64_t factored() { return times(reader_.sleb(), common_.data_align); }
    void define_cfa(std::uint64_t base, std::int64_t offset) {
        state_.kind = CfaState::Kind::reg;
        state_.base = base;
        state_.offset = offset;
    }
    static SavedRegister at_cfa(std::int64_t offset) { return {SavedRegister::Kind::at_cfa, 0, offset}; }

    /// One form is known: the register's place counted from another register.
    static SavedRegister saved_by(std::string_view expression) {
        DwarfReader reader(expression);
        const auto operation = static_cast<std::uint8_t>(reader.fixed(1));
        const auto offset = reader.sleb();
        if (reader.failed() || !reader.at_end() || operation < kBase0 || operation > kBase31) {
            return {SavedRegister::Kind::other, 0, 0};
        }
        return {SavedRegister::Kind::at_base, static_cast<std::uint8_t>(operation - kBase0), offset};
    }

    static SavedRegister* find(CfaState& state, std::uint64_t number) {
        switch (number) {
        case MT_DWARF_BX:
            return &state.bx;
        case MT_DWARF_BP:
            return &state.bp;
        case MT_DWARF_SP:
            return &state.sp;
        case MT_DWARF_RA:
            return &state.ra;
        default:
            return nullptr;
        }
    }
    void set(std::uint64_t number, SavedRegister saved) {
        if (auto* place = find(state_, number)) {
            *place = saved;
        }
    }
    void restore(std::uint64_t number) {
        auto initial = common_.initial;
        if (const auto* saved = find(initial, number)) {
            set(number, *saved);
        }
    }

    const CommonEntry& common_;
    DwarfReader reader_;
    std::uint64_t address_;
    std::uint64_t location_;
    CfaState state_;
    std::vector<CfaState> remembered_;
};

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

// ---- numbers ------------------------------------------------------------------------------------------------------------------

std::uint64_t DwarfReader::fixed(std::size_t size) {
    std::uint64_t value = 0;
    if (size > sizeof(value) || all_.size() - at_ < size) {
        failed_ = true;
        at_ = all_.size();
        return 0;
    }
    std::memcpy(&value, all_.data() + at_, size);
    at_ += size;
    return value;
}

std::uint64_t DwarfReader::uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const auto byte = fixed(1);
        if (failed_) {
            return 0;
        }
        value |= shift < 64 ? (byte & 0x7f) << shift : 0;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
}

std::int64_t DwarfReader::sleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;;) {
        const auto byte = fixed(1);
        if (failed_) {
            return 0;
        }
        value |= shift < 64 ? (byte & 0x7f) << shift : 0;
        shift += 7;
        if ((byte & 0x80) == 0) {
            if (shift < 64 && (byte & 0x40) != 0) {
                value |= ~std::uint64_t{0} << shift;
            }
            return static_cast<std::int64_t>(value);
        }
    }
}

std::string_view DwarfReader::bytes(std::uint64_t count) {
    if (all_.size() - at_ < count) {
        failed_ = true;
        at_ = all_.size();
        return {};
    }
    const auto view = all_.substr(at_, count);
    at_ += count;
    return view;
}

std::string_view DwarfReader::string() {
    const auto end = all_.find('\0', at_);
    if (end == std::string_view::npos) {
        failed_ = true;
        at_ = all_.size();
        return {};
    }
    const auto view = all_.substr(at_, end - at_);
    at_ = end + 1;
    return view;
}

std::uint64_t read_pointer(DwarfReader& reader, std::uint8_t encoding, std::uint64_t address) {
    const auto place = address + reader.position();
    std::uint64_t value = 0;
    switch (encoding & 0x0f) {
    case 0x00: // absolute
    case 0x04: // 8 bytes
    case 0x0c:
        value = reader.fixed(8);
        break;
    case 0x01:
        value = reader.uleb();
        break;
    case 0x02:
        value = reader.fixed(2);
        break;
    case 0x03:
        value = reader.fixed(4);
        break;
    case 0x09:
        value = static_cast<std::uint64_t>(reader.sleb());
        break;
    case 0x0a:
        value = static_cast<std::uint64_t>(static_cast<std::int16_t>(reader.fixed(2)));
        break;
    case 0x0b:
        value = static_cast<std::uint64_t>(static_cast<std::int32_t>(reader.fixed(4)));
        break;
    default:
        reader.fixed(~std::size_t{0});
        return 0;
    }
    switch (encoding & 0xf0) {
    case 0x00:
        return value;
    case 0x10: // relative to its own place
        return value + place;
    default:
        reader.fixed(~std::size_t{0});
        return 0;
    }
}

void run_cfa_program(const CommonEntry& common, const CfaProgram& program, const CfaState& state, const CfaRowSink& row) {
    Program(common, program, state).run(row);
}

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
