// Names and lines of a real program against what the program says of itself and what addr2line says of it.
#include "symbol/symbolizer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/fd.hpp"
#include "symbol_truth.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;

class SymbolizerTest : public ::testing::Test {
protected:
    TemporaryDirectory directory_;
};

TEST_F(SymbolizerTest, NamesLinesAndInlinedFramesOfAPositionIndependentProgram) {
    Program program(directory_, "pie", "-g");
    auto symbolizer = symbolizer_of(program.path);
    expect_truth(program, symbolizer);
}

TEST_F(SymbolizerTest, ProgramLinkedToAFixedAddress) {
    Program program(directory_, "fixed", "-g -no-pie");
    auto symbolizer = symbolizer_of(program.path);
    expect_truth(program, symbolizer);
}

TEST_F(SymbolizerTest, StaticProgram) {
    Program program(directory_, "static", "-g -static");
    auto symbolizer = symbolizer_of(program.path);
    expect_truth(program, symbolizer);
}

TEST_F(SymbolizerTest, CompressedDebugSectionsOfDwarf4) {
    Program program(directory_, "packed", "-gdwarf-4 -gz");
    auto symbolizer = symbolizer_of(program.path);
    expect_truth(program, symbolizer);
}

TEST_F(SymbolizerTest, UnitsWithoutAranges) {
    // clang writes no .debug_aranges.
    Program program(directory_, "clang", "-g", "clang++-19");
    auto symbolizer = symbolizer_of(program.path);
    expect_truth(program, symbolizer);
    expect_agreement(directory_, program.path);
}

TEST_F(SymbolizerTest, FileThatOthersMayWriteIsReadInsteadOfMapped) {
    Program program(directory_, "writable", "-g");
    ASSERT_EQ(::chmod(program.path.c_str(), 0777), 0);
    auto symbolizer = symbolizer_of(program.path);
    ASSERT_EQ(resolve(symbolizer, program.addresses().at("main"))[0].function, "main");
    // Had it been mapped, this would be the end of the test program.
    ASSERT_EQ(::truncate(program.path.c_str(), 100), 0);
    for (std::uint64_t address = 0x1000; address < 0x3000; ++address) {
        EXPECT_FALSE(resolve(symbolizer, address).empty());
    }
}

TEST_F(SymbolizerTest, AgreesWithAddr2lineOnEveryByteOfGccsCode) {
    Program program(directory_, "pie", "-g");
    expect_agreement(directory_, program.path);
}

TEST_F(SymbolizerTest, AgreesWithAddr2lineOnDwarf4AtLowOptimization) {
    Program program(directory_, "fixed", "-gdwarf-4 -O1 -no-pie");
    expect_agreement(directory_, program.path);
}

/// Where `text` begins on the line of a mark, from 1.
std::uint32_t column_of(const std::string& mark, const std::string& text) {
    std::istringstream source(kProgram);
    std::string line;
    while (std::getline(source, line) && !line.ends_with("// @" + mark)) {
    }
    return static_cast<std::uint32_t>(line.find(text)) + 1;
}

TEST_F(SymbolizerTest, ColumnsOfTheCallAndOfWhatIsInlined) {
    for (const std::string compiler : {"g++", "clang++-19"}) {
        Program program(directory_, "columns-" + compiler, "-g", compiler);
        auto symbolizer = symbolizer_of(program.path);
        const auto lines = resolve(symbolizer, program.addresses().at("inlined"));
        ASSERT_EQ(lines.size(), 3u);
        const std::pair<const char*, const char*> calls[] = {{"inlined", "note"}, {"take", "first"}, {"grow", "take"}};
        for (std::size_t i = 0; i < 3; ++i) {
            const auto [mark, callee] = calls[i];
            const auto start = column_of(mark, callee);
            // GCC names the parenthesis, clang the function's name.
            EXPECT_TRUE(lines[i].column == start || lines[i].column == start + std::string(callee).size())
                << compiler << " " << mark << ": " << lines[i].column << ", the call begins at " << start;
        }
    }
}

TEST_F(SymbolizerTest, FileWithoutColumnsSaysNone) {
    Program program(directory_, "plain", "-g -gno-column-info");
    auto symbolizer = symbolizer_of(program.path);
    for (const auto& line : resolve(symbolizer, program.addresses().at("inlined"))) {
        EXPECT_NE(line.line, 0u);
        EXPECT_EQ(line.column, 0u);
    }
}

TEST_F(SymbolizerTest, InlinedFunctionsWithoutALinkageNameHaveTheirScope) {
    write_file(directory_.path("local.cpp"), R"(
int sold;
namespace shop {
struct Till {
    template <class F> [[gnu::noinline]] int run(F f) { return f(3) + sold; }
    int go(int n);
};
int Till::go(int n) {
    struct Local {
        [[gnu::always_inline]] int add(int x) { return sold += x; }    // @add
    };
    Local local;
    return run([&](int k) { return local.add(k) + n; });
}
}
int main() {
    shop::Till till;
    return till.go(2);
}
)");
    const auto path = directory_.path("local");
    // GCC gives neither of them a linkage name; clang does.
    const std::map<std::string, std::vector<std::string>> expected{
        {"g++", {"shop::Till::go::Local::add", "shop::Till::go::{lambda}::operator()"}},
        {"clang++-19", {"shop::Till::go(int)::Local::add(int)", "shop::Till::go(int)::$_0::operator()(int) const"}}};
    for (const auto& [compiler, functions] : expected) {
        run(compiler + " -std=c++17 -O2 -g -o " + path + " " + path + ".cpp");
        auto symbolizer = symbolizer_of(path);
        std::istringstream symbol(run("nm -S --defined-only " + path + " | grep Till3run"));
        std::string start;
        std::string size;
        symbol >> start >> size;
        std::set<std::string> names;
        for (std::uint64_t i = 0; i < std::stoull(size, nullptr, 16); ++i) {
            for (const auto& line : resolve(symbolizer, std::stoull(start, nullptr, 16) + i + 1)) {
                names.insert(line.function);
            }
        }
        for (const auto& function : functions) {
            EXPECT_EQ(names.count(function), 1u) << compiler << " " << function << "\n" << ::testing::PrintToString(names);
        }
    }
}

TEST_F(SymbolizerTest, FunctionThatStandsWithinATypeWithinAFunction) {
    // GCC puts the plain function behind a lambda without captures there, and gives it no linkage name.
    write_file(directory_.path("lambda.cpp"), R"(
int sold;
int main() {
    int (*volatile buy)(int) = [](int n) {
        return sold += n;
    };
    return buy(1);
}
)");
    const auto path = directory_.path("lambda");
    run("g++ -O2 -g -o " + path + " " + path + ".cpp");
    auto symbolizer = symbolizer_of(path);
    const auto start = std::stoull(run("nm " + path + " | sed -n 's/ .*_FUN.*//p'"), nullptr, 16);
    const auto lines = resolve(symbolizer, start + 1);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0].function, "main::{lambda}::operator()");
    EXPECT_EQ(lines[0].line, 5u);
    EXPECT_EQ(lines[1].function, "main::{lambda(int)#1}::_FUN(int)");
}

TEST_F(SymbolizerTest, LineTablesOnlyTakeTheNameFromTheSymbol) {
    Program program(directory_, "lines", "-gline-tables-only", "clang++-19");
    auto symbolizer = symbolizer_of(program.path);
    const auto lines = resolve(symbolizer, program.addresses().at("inlined"));
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0].line, program.line("inlined"));
    EXPECT_EQ(lines[2].function, "shop::Basket<int>::grow(int)");
}

TEST_F(SymbolizerTest, DynamicSymbolsOnlyGiveNamesWithoutLines) {
    Program program(directory_, "dynamic", "-g -rdynamic");
    const auto addresses = program.addresses();
    run("strip " + program.path);
    auto symbolizer = symbolizer_of(program.path);
    const std::vector<SymbolLine> expected{{"plain_c", "", 0, false}};
    EXPECT_EQ(resolve(symbolizer, addresses.at("plain")), expected);
    EXPECT_EQ(resolve(symbolizer, addresses.at("inlined"))[0].function, "shop::Basket<int>::grow(int)");
    // A static function is not in .dynsym, and the one before it has an end.
    EXPECT_EQ(resolve(symbolizer, addresses.at("static"))[0].function, "");
}

TEST_F(SymbolizerTest, NoSymbolsAtAllGiveOneNamelessLine) {
    Program program(directory_, "bare", "-s");
    auto symbolizer = symbolizer_of(program.path);
    EXPECT_EQ(resolve(symbolizer, program.addresses().at("plain")), std::vector<SymbolLine>(1));
}

TEST_F(SymbolizerTest, UnknownModulesAndAddressesAreNameless) {
    Program program(directory_, "pie", "-g");
    auto symbolizer = symbolizer_of(program.path);
    for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x10}, UINT64_MAX}) {
        EXPECT_EQ(resolve(symbolizer, address), std::vector<SymbolLine>(1)) << address;
    }
    EXPECT_EQ(symbolizer.resolve(Frame{ModuleId{}, 0x1234}), std::vector<SymbolLine>(1));
    EXPECT_EQ(symbolizer.resolve(Frame{ModuleId{77}, 0x1234}), std::vector<SymbolLine>(1));
    EXPECT_TRUE(symbolizer.follows_call(Frame{ModuleId{77}, 0x1234}));
}

TEST_F(SymbolizerTest, FileMayBeGoneBeforeTheFirstLookUp) {
    Program program(directory_, "gone", "-g");
    const auto addresses = program.addresses();
    auto symbolizer = symbolizer_of(program.path);
    ASSERT_EQ(::unlink(program.path.c_str()), 0);
    EXPECT_EQ(resolve(symbolizer, addresses.at("static"))[0].line, program.line("static"));
}

TEST_F(SymbolizerTest, DescriptorIsBorrowedOnlyWhileAdding) {
    Program program(directory_, "by_fd", "-g");
    const auto addresses = program.addresses();
    UniqueFd fd(::open(program.path.c_str(), O_RDONLY | O_CLOEXEC));
    Symbolizer symbolizer;
    ASSERT_TRUE(symbolizer.add_module(kModule, ModuleFile{"/elsewhere", "/nonexistent", "", fd.get()}));
    ASSERT_NE(::fcntl(fd.get(), F_GETFD), -1);
    fd.reset();
    EXPECT_EQ(resolve(symbolizer, addresses.at("plain"))[0].function, "plain_c");
}

TEST_F(SymbolizerTest, ModulesOfManyProcessesShareAFile) {
    Program program(directory_, "shared", "-g");
    const auto addresses = program.addresses();
    Symbolizer symbolizer;
    auto open_files = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
    ASSERT_TRUE(symbolizer.add_module(ModuleId{1}, ModuleFile{program.path, program.path, "/proc/self/root", -1}));
    const auto before = open_files();
    for (std::uint32_t id = 2; id < 50; ++id) {
        ASSERT_TRUE(symbolizer.add_module(ModuleId{id}, ModuleFile{program.path, program.path, "/proc/self/root", -1}));
    }
    EXPECT_EQ(open_files(), before);
    Symbolizer moved = std::move(symbolizer);
    EXPECT_EQ(moved.resolve(Frame{ModuleId{49}, addresses.at("plain")})[0].function, "plain_c");
}

TEST_F(SymbolizerTest, WhatIsNoRegularFileIsNotOpened) {
    const auto fifo = directory_.path("fifo");
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    Symbolizer symbolizer;
    for (const std::string& path : {fifo, std::string("/dev/zero"), std::string("/tmp"), directory_.path("missing")}) {
        EXPECT_FALSE(symbolizer.add_module(kModule, ModuleFile{path, path, "", -1})) << path;
    }
    UniqueFd device(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    EXPECT_FALSE(symbolizer.add_module(kModule, ModuleFile{"/dev/zero", "", "", device.get()}));
}

TEST_F(SymbolizerTest, EveryCallInTheFileIsRecognized) {
    Program program(directory_, "calls", "-static");
    std::istringstream listing(run("objdump -d --no-show-raw-insn " + program.path));
    auto symbolizer = symbolizer_of(program.path);
    std::size_t calls = 0;
    std::size_t others = 0;
    std::size_t mistaken = 0;
    bool after_call = false;
    std::string line;
    while (std::getline(listing, line)) {
        const auto colon = line.find(":\t");
        if (colon == std::string::npos) {
            continue;
        }
        const std::uint64_t address = std::stoull(line.substr(0, colon), nullptr, 16);
        const bool follows = symbolizer.follows_call(Frame{kModule, address});
        if (after_call) {
            ++calls;
            EXPECT_TRUE(follows) << line;
        } else {
            ++others;
            mistaken += follows ? 1 : 0;
        }
        const auto text = line.substr(colon + 2);
        // A call of a weak function that is not there ("call 0") leads out of the program, and never returns.
        after_call =
            (text.starts_with("call") || text.find(" call") != std::string::npos) && text.find(" 0 <") == std::string::npos;
    }
    EXPECT_GT(calls, 3000u);
    EXPECT_GT(others, 50'000u);
    EXPECT_LT(mistaken, others / 1000) << "of " << others;
}

} // namespace
} // namespace memtrace
