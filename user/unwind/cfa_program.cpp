#include "unwind/cfa_program.hpp"

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

/// DW_OP_breg0: the first of 32, register n + a number.
constexpr std::uint8_t kBase0 = 0x70;
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

} // namespace

void run_cfa_program(const CommonEntry& common, const CfaProgram& program, const CfaState& state, const CfaRowSink& row) {
    Program(common, program, state).run(row);
}

} // namespace memtrace
