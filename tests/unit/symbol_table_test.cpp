// Which symbol an address gets: an assembler writes tables that no compiler would.
#include "symbol/symbol_table.hpp"

#include <gtest/gtest.h>

#include <random>

#include "symbol/interval_map.hpp"
#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;

TEST(IntervalMap, InnermostRangeOwnsAnAddress) {
    IntervalMap<int> map({{10, 100, 1}, {20, 50, 2}, {30, 40, 3}, {45, 60, 4}, {200, 300, 5}});
    const std::map<std::uint64_t, int> expected{{9, 0},  {10, 1}, {20, 2}, {29, 2}, {30, 3},  {39, 3},  {40, 2},
                                                {45, 4}, {59, 4}, {60, 1}, {99, 1}, {100, 0}, {200, 5}, {300, 0}};
    for (const auto& [address, owner] : expected) {
        const int* found = map.find(address);
        EXPECT_EQ(found != nullptr ? *found : 0, owner) << address;
    }
}

TEST(IntervalMap, AgreesWithASlowSearchOnRandomRanges) {
    std::mt19937 random(3);
    for (int round = 0; round < 50; ++round) {
        std::vector<IntervalMap<std::size_t>::Interval> ranges;
        for (std::size_t i = 0; i < 60; ++i) {
            const std::uint64_t start = random() % 200;
            ranges.push_back({start, start + random() % 40, i});
        }
        IntervalMap<std::size_t> map(ranges);
        for (std::uint64_t address = 0; address < 250; ++address) {
            const IntervalMap<std::size_t>::Interval* best = nullptr;
            for (const auto& range : ranges) {
                if (address >= range.start && address < range.end && (best == nullptr || range.start >= best->start)) {
                    best = &range;
                }
            }
            const auto* found = map.find(address);
            ASSERT_EQ(found != nullptr, best != nullptr) << address;
            if (found != nullptr) {
                EXPECT_EQ(*found, best->payload) << address;
            }
        }
    }
}

class SymbolChoiceTest : public ::testing::Test {
protected:
    /// Name at an offset in .text of the assembled text, which must begin with a global label `text`.
    std::string name_at(std::uint64_t offset) {
        return resolve(*symbolizer_, text_ + offset + 1)[0].function; // a return address names the byte before it
    }

    void assemble(const std::string& body, const std::string& flags = "") {
        write_file(directory_.path("code.s"),
                   ".text\n.globl text\ntext:\n" + body + "\n.section .note.GNU-stack,\"\",@progbits\n");
        const auto path = directory_.path("code.so");
        run("gcc -shared -nostdlib " + flags + " -o " + path + " " + directory_.path("code.s"));
        text_ = std::stoull(run("nm " + path + " | sed -n 's/ T text$//p'"), nullptr, 16);
        symbolizer_.emplace(symbolizer_of(path));
    }

    TemporaryDirectory directory_;
    std::optional<Symbolizer> symbolizer_;
    std::uint64_t text_ = 0;
};

/// A function symbol of `size` bytes at the current place.
std::string function(const std::string& name, int size, const std::string& binding = ".globl") {
    return binding + " " + name + "\n.type " + name + ",@function\n" + name + ":\n" +
           (size > 0 ? ".size " + name + "," + std::to_string(size) + "\n" : "");
}

TEST_F(SymbolChoiceTest, NobodyOwnsWhatLiesBehindASizedFunction) {
    // Of the label at the beginning only the first four bytes are left over: the next function ends it.
    assemble(".skip 4,0x90\n" + function("sized", 8) + ".skip 16,0x90\n" + function("next", 4) + ".skip 4,0x90");
    EXPECT_EQ(name_at(0), "text");
    EXPECT_EQ(name_at(4), "sized");
    EXPECT_EQ(name_at(11), "sized");
    EXPECT_EQ(name_at(12), "");
    EXPECT_EQ(name_at(19), "");
    EXPECT_EQ(name_at(20), "next");
    EXPECT_EQ(name_at(24), "");
}

TEST_F(SymbolChoiceTest, UnsizedFunctionReachesToTheNextOne) {
    assemble(function("open", 0) + ".skip 8,0x90\nloop:\n.skip 8,0x90\n" + function("next", 8) + ".skip 8,0x90\n" +
             function("last", 0) + ".skip 8,0x90");
    EXPECT_EQ(name_at(0), "open");
    EXPECT_EQ(name_at(15), "open"); // a local label in it is a jump target
    EXPECT_EQ(name_at(16), "next");
    EXPECT_EQ(name_at(24), "last");
    EXPECT_EQ(name_at(31), "last");
    EXPECT_EQ(name_at(32), ""); // the end of the section
}

TEST_F(SymbolChoiceTest, UnsizedMarkInASizedFunctionIsNoFunction) {
    assemble(function("outer", 16) + ".skip 4,0x90\n" + function("mark", 0) + ".skip 20,0x90");
    EXPECT_EQ(name_at(8), "outer");
    EXPECT_EQ(name_at(20), "");
}

TEST_F(SymbolChoiceTest, LabelOnlyWhereNoFunctionIs) {
    assemble(".skip 8,0x90\n.globl entry\nentry:\n.skip 8,0x90\n" + function("proper", 8) + "inside:\n.skip 8,0x90");
    EXPECT_EQ(name_at(0), "text");
    EXPECT_EQ(name_at(8), "entry");
    EXPECT_EQ(name_at(16), "proper");
}

TEST_F(SymbolChoiceTest, SmallerFunctionWithinALargerOne) {
    assemble(function("outer", 24) + ".skip 8,0x90\n" + function("inner", 8) + ".skip 24,0x90");
    EXPECT_EQ(name_at(0), "outer");
    EXPECT_EQ(name_at(8), "inner");
    EXPECT_EQ(name_at(16), "outer");
    EXPECT_EQ(name_at(24), "");
}

TEST_F(SymbolChoiceTest, OneOfManyNamesWhateverTheirOrder) {
    const std::vector<std::string> best_first{
        function("alloc", 8),        function("allot", 8),         function("allocate", 8),      function("grant", 8, ".weak"),
        function("__libc_alloc", 8), function("aaa", 8, ".local"), function("__a", 8, ".local"),
    };
    const std::vector<std::string> names{"alloc", "allot", "allocate", "grant", "__libc_alloc", "aaa", "__a"};
    for (std::size_t from = 0; from < names.size(); ++from) {
        std::vector<std::string> rest(best_first.begin() + static_cast<std::ptrdiff_t>(from), best_first.end());
        for (const bool reversed : {false, true}) {
            std::string body;
            for (const auto& one : rest) {
                body = reversed ? one + body : body + one;
            }
            assemble(body + ".skip 8,0x90");
            EXPECT_EQ(name_at(4), names[from]);
        }
    }
}

TEST_F(SymbolChoiceTest, VersionIsNotPartOfTheName) {
    const auto script = directory_.path("versions");
    write_file(script, "V1 { };\nV2 { };\n");
    // Each version under a label of its own, as ld writes them to .symtab: fetch@V1, fetch@@V2.
    assemble(function("__old", 8) + ".symver __old,fetch@V1\n.skip 8,0x90\n" + function("__new", 8) +
                 ".symver __new,fetch@@V2\n.skip 8,0x90",
             "-Wl,--version-script=" + script);
    EXPECT_NE(run("nm " + directory_.path("code.so")).find("fetch@V1"), std::string::npos);
    EXPECT_EQ(name_at(0), "fetch");
    EXPECT_EQ(name_at(8), "fetch");
}

} // namespace
} // namespace memtrace
