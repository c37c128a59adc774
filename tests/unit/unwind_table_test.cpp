#include "unwind/table.hpp"

#include <gtest/gtest.h>

#include "frame_section_builder.hpp"
#include "unwind_rule_at.hpp"

namespace {

using namespace memtrace;

constexpr std::uint64_t kCode = 0x1000;

std::optional<UnwindTable> build(const FrameSectionBuilder& section) {
    return build_table({section.bytes(), FrameSectionBuilder::kAddress, false});
}

UnwindTable table_of(const Bytes& program, std::uint32_t size = 64) {
    FrameSectionBuilder section;
    section.function(section.common(), kCode, size, program);
    auto table = build(section);
    EXPECT_TRUE(table);
    return *table;
}

TEST(UnwindTable, APrologueMovesTheFrame) {
    // push %rbp; mov %rsp,%rbp; ...; leave; ret
    const auto table = table_of({0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x4c, 0x0c, 7, 8});
    EXPECT_EQ(rule_at(table, kCode).base, MT_DWARF_SP);
    EXPECT_EQ(rule_at(table, kCode).offset, 8);
    EXPECT_EQ(rule_at(table, kCode).bp, MT_SAVED_SAME);
    EXPECT_EQ(rule_at(table, kCode + 1).offset, 16);
    EXPECT_EQ(rule_at(table, kCode + 1).bp, MT_SAVED_AT_CFA);
    EXPECT_EQ(rule_at(table, kCode + 1).bp_offset, -16);
    EXPECT_EQ(rule_at(table, kCode + 4).base, MT_DWARF_BP);
    EXPECT_EQ(rule_at(table, kCode + 15).offset, 16);
    EXPECT_EQ(rule_at(table, kCode + 16).base, MT_DWARF_SP);
    EXPECT_EQ(rule_at(table, kCode + 63).offset, 8);
    EXPECT_EQ(table.rows(), 4u);
}

TEST(UnwindTable, WhatIsRememberedIsRestored) {
    const auto table = table_of({0x0a, 0x48, 0x0e, 32, 0x83, 3, 0x48, 0x0b});
    EXPECT_EQ(rule_at(table, kCode + 8).offset, 32);
    EXPECT_EQ(rule_at(table, kCode + 8).bx, MT_SAVED_AT_CFA);
    EXPECT_EQ(rule_at(table, kCode + 8).bx_offset, -24);
    EXPECT_EQ(rule_at(table, kCode + 16).offset, 8);
    EXPECT_EQ(rule_at(table, kCode + 16).bx, MT_SAVED_SAME);
}

TEST(UnwindTable, GapsHaveNoUnwindInformation) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, kCode + 1000, 16);
    section.function(common, kCode, 16); // not in order
    const auto table = build(section);
    ASSERT_TRUE(table);
    EXPECT_EQ(rule_at(*table, kCode + 15).cfa, MT_CFA_REGISTER);
    EXPECT_EQ(rule_at(*table, kCode + 16).cfa, MT_CFA_NONE);
    EXPECT_EQ(rule_at(*table, kCode + 999).cfa, MT_CFA_NONE);
    EXPECT_EQ(rule_at(*table, kCode + 1000).cfa, MT_CFA_REGISTER);
    EXPECT_EQ(table->size(), 1016u);
}

TEST(UnwindTable, OfTwoFunctionsForOneAddressTheOneThatBeginsLaterCounts) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, kCode, 64, {0x50, 0x0e, 16, 0x60, 0x0e, 24});
    section.function(common, kCode + 32, 16, {0x0e, 40});
    const auto table = build(section);
    ASSERT_TRUE(table);
    EXPECT_EQ(rule_at(*table, kCode + 31).offset, 16);
    EXPECT_EQ(rule_at(*table, kCode + 32).offset, 40);
    EXPECT_EQ(table->size(), 48u);
}

TEST(UnwindTable, AnotherSectionFillsTheGaps) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, kCode + 16, 16, {0x0e, 16});
    section.function(common, kCode + 48, 16, {0x0e, 24});
    FrameSectionBuilder more;
    const auto more_common = more.common();
    more.function(more_common, kCode, 8, {0x0e, 32});
    more.function(more_common, kCode + 8, 64, {0x44, 0x0e, 40, 0x60, 0x0e, 48}); // around both, with rows in gap and code
    more.function(more_common, kCode + 1000, 8, {0x0e, 56});
    const auto table = build_table({section.bytes(), FrameSectionBuilder::kAddress, false},
                                   {more.bytes(), FrameSectionBuilder::kAddress, false});
    ASSERT_TRUE(table);
    const std::pair<std::uint64_t, int> wanted[] = {{0, 32},  {7, 32},  {8, 8},   {12, 40}, {15, 40},
                                                    {16, 16}, {31, 16}, {32, 40}, {43, 40}, {44, 48},
                                                    {48, 24}, {63, 24}, {64, 48}, {71, 48}, {1000, 56}};
    for (const auto& [address, offset] : wanted) {
        EXPECT_EQ(rule_at(*table, kCode + address).offset, offset) << address;
    }
    EXPECT_EQ(rule_at(*table, kCode + 72).cfa, MT_CFA_NONE);
    EXPECT_EQ(table->size(), 1008u);
}

TEST(UnwindTable, WhereNoCodeIsNothingIsDescribed) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, 1, 16);
    section.function(common, kCode, 16);
    section.function(common, kCode + 100, 16);
    const auto table = build_table({section.bytes(), FrameSectionBuilder::kAddress, false, kCode, kCode + 100});
    ASSERT_TRUE(table);
    EXPECT_EQ(table->first(), kCode);
    EXPECT_EQ(table->size(), 16u);
}

TEST(UnwindTable, ALinkageTableIsKnownByItsExpression) {
    const auto table =
        table_of({0x0e, 16, 0x46, 0x0e, 24, 0x4a, 0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22});
    EXPECT_EQ(rule_at(table, kCode + 6).offset, 24);
    const auto plt = rule_at(table, kCode + 16);
    EXPECT_EQ(plt.cfa, MT_CFA_PLT);
    EXPECT_EQ(plt.offset, 8);
    EXPECT_EQ(plt.addend, 11);
}

TEST(UnwindTable, ARealignedStackIsFoundThroughItsFrame) {
    // CFA = *(rbp - 8); rbp at rbp + 0; rbx at rbp - 24
    const auto table = table_of({0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0, 0x10, 3, 2, 0x76, 0x68});
    const auto rule = rule_at(table, kCode);
    EXPECT_EQ(rule.cfa, MT_CFA_DEREF);
    EXPECT_EQ(rule.base, MT_DWARF_BP);
    EXPECT_EQ(rule.offset, -8);
    EXPECT_EQ(rule.addend, 0);
    EXPECT_EQ(rule.bp, MT_SAVED_AT_BP);
    EXPECT_EQ(rule.bp_offset, 0);
    EXPECT_EQ(rule.bx, MT_SAVED_AT_BP);
    EXPECT_EQ(rule.bx_offset, -24);
}

TEST(UnwindTable, AssemblyKeepsTheOldStackPointerOnTheNewStack) {
    // CFA = *(rsp + 200) + 8
    const auto rule = rule_at(table_of({0x0f, 6, 0x77, 0xc8, 1, 0x06, 0x23, 8}), kCode);
    EXPECT_EQ(rule.cfa, MT_CFA_DEREF);
    EXPECT_EQ(rule.base, MT_DWARF_SP);
    EXPECT_EQ(rule.offset, 200);
    EXPECT_EQ(rule.addend, 8);
}

TEST(UnwindTable, ASignalFrameIsKnown) {
    FrameSectionBuilder section;
    const Bytes program{0x0f, 4, 0x77, 0xa0, 1, 0x06, 0x10, 16, 3, 0x77, 0xa8, 1, 0x10, 7, 3, 0x77, 0xa0, 1};
    section.function(section.common({0x0c, 7, 8, 0x90, 1}, "S"), kCode, 10, program);
    const auto table = build(section);
    ASSERT_TRUE(table);
    const auto rule = rule_at(*table, kCode);
    EXPECT_EQ(rule.cfa, MT_CFA_SIGNAL);
    EXPECT_EQ(rule.base, MT_DWARF_SP);
    EXPECT_EQ(rule.offset, 0);
    // Without the mark it is an expression that returns to somewhere else.
    EXPECT_EQ(rule_at(table_of(program), kCode).cfa, MT_CFA_UNSUPPORTED);
}

TEST(UnwindTable, TheFirstFunctionHasNoCaller) {
    EXPECT_EQ(rule_at(table_of({0x07, 16}), kCode).cfa, MT_CFA_END);
}

TEST(UnwindTable, WhatHasNoFormIsUnsupported) {
    EXPECT_EQ(rule_at(table_of({0x0f, 2, 0x30, 0x31}), kCode).cfa, MT_CFA_UNSUPPORTED); // an expression of constants
    EXPECT_EQ(rule_at(table_of({0x09, 16, 2}), kCode).cfa, MT_CFA_UNSUPPORTED);         // return address in rdx
    EXPECT_EQ(rule_at(table_of({0x90, 2}), kCode).cfa, MT_CFA_UNSUPPORTED);             // return address elsewhere
    EXPECT_EQ(rule_at(table_of({0x87, 2}), kCode).cfa, MT_CFA_UNSUPPORTED);             // stack pointer saved
    EXPECT_EQ(rule_at(table_of({0x16, 6, 1, 0x30}), kCode).bp, MT_SAVED_LOST);          // a value, not a place
    EXPECT_EQ(rule_at(table_of({0x86, 0xff, 0xff, 3}), kCode).bp, MT_SAVED_LOST);       // too far away for 16 bits
    EXPECT_EQ(rule_at(table_of({0x0e, 0xff, 0xff, 0xff, 0xff, 0x7f}), kCode).cfa, MT_CFA_UNSUPPORTED);
}

TEST(UnwindTable, WhatMakesNoSenseEndsTheFunctionsRows) {
    const auto table = table_of({0x48, 0x0e, 16, 0x48, 0x3f, 0x48, 0x0e, 24}); // 0x3f: no such instruction
    EXPECT_EQ(rule_at(table, kCode + 8).offset, 16);
    EXPECT_EQ(rule_at(table, kCode + 16).cfa, MT_CFA_UNSUPPORTED);
    EXPECT_EQ(rule_at(table, kCode + 63).cfa, MT_CFA_UNSUPPORTED);
    EXPECT_EQ(rule_at(table_of({0x0b}), kCode).cfa, MT_CFA_UNSUPPORTED);         // nothing to restore
    EXPECT_EQ(rule_at(table_of({0x0f, 100, 0}), kCode).cfa, MT_CFA_UNSUPPORTED); // longer than the program
}

TEST(UnwindTable, NoFunctionNoTable) {
    FrameSectionBuilder section;
    EXPECT_FALSE(build(section));
    section.common();
    EXPECT_FALSE(build(section));
    section.raw(std::string("\xff\xff\xff\x7f", 4)); // longer than the section
    EXPECT_FALSE(build(section));
}

TEST(UnwindTable, AFunctionWithoutItsCommonEntryIsLeftOut) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, kCode, 16);
    section.function(common + 4, kCode + 16, 16); // refers into the middle
    section.function(section.bytes().size() + 1000, kCode + 32, 16);
    const auto table = build(section);
    ASSERT_TRUE(table);
    EXPECT_EQ(table->size(), 16u);
}

TEST(UnwindTable, FarApartIsNotOneTable) {
    FrameSectionBuilder section;
    const auto common = section.common();
    section.function(common, kCode, 16);
    section.function(common, kCode + 0x7f000000, 16);
    const auto table = build(section);
    ASSERT_TRUE(table);
    EXPECT_EQ(table->size(), 16u);
}

TEST(UnwindTable, GoesThroughAFileUnchanged) {
    const auto table = table_of({0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6}, 5000);
    const auto again = UnwindTable::from_words(table.first(), table.words());
    ASSERT_TRUE(again);
    EXPECT_EQ(again->words(), table.words());
}

TEST(UnwindTable, ADamagedFileIsNoTable) {
    const auto table = table_of({0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6}, 5000);
    const auto& header = table.header();
    const auto damaged = [&](std::size_t word, std::uint32_t value) {
        auto words = table.words();
        words[word] = value;
        return !UnwindTable::from_words(table.first(), words);
    };
    for (std::size_t word = 0; word < MT_BLOCK_WORDS; ++word) {
        EXPECT_TRUE(damaged(word, table.words()[word] + 256)) << "header word " << word;
    }
    EXPECT_TRUE(damaged(header.index_at + 1, 0));
    EXPECT_TRUE(damaged(header.index_at + 3, ~0u));
    EXPECT_TRUE(damaged(header.rows_at, 1));
    EXPECT_TRUE(damaged(header.rows_at + 1, table.words()[header.rows_at]));
    EXPECT_TRUE(damaged(header.rows_at + 1, ~0u << MT_ROW_RULE_SHIFT));
    EXPECT_TRUE(damaged(header.rules_at + MT_RULE_WORDS, ~0u));
    auto cut = table.words();
    cut.resize(cut.size() - MT_BLOCK_WORDS);
    EXPECT_FALSE(UnwindTable::from_words(table.first(), cut));
    EXPECT_FALSE(UnwindTable::from_words(table.first(), {}));
}

} // namespace
