// Split DWARF: functions in .dwo files beside the program or where it was compiled, and in a .dwp; lines in the program.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <random>

#include "symbol_truth.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;
namespace fs = std::filesystem;

class SplitTest : public ::testing::TestWithParam<const char*> {
protected:
    /// Compiled in directory_/build, where the .dwo is, too.
    void build(const std::string& flags = "") {
        fs::create_directories(directory_.path("build"));
        program_ = std::make_unique<Program>(directory_, "build/split", "-g -gsplit-dwarf " + flags, GetParam());
        for (const auto& entry : fs::directory_iterator(directory_.path("build"))) {
            dwo_ = entry.path().extension() == ".dwo" ? entry.path().string() : dwo_;
        }
        ASSERT_NE(dwo_, "");
    }
    /// Debian 12's packers do not get to an end with what its gcc makes of C++: dwp crashes, llvm-dwp goes on for ever.
    static bool can_pack() { return std::string(GetParam()) != "g++"; }
    void pack() { run("llvm-dwp-19 -o " + program_->path + ".dwp " + dwo_); }
    void expect_all() {
        auto symbolizer = symbolizer_of(program_->path);
        expect_truth(*program_, symbolizer);
    }
    /// At each byte of the code what the same program says that is not split.
    void expect_as_whole() {
        const auto path = directory_.path("whole");
        run(std::string(GetParam()) + " -std=c++17 -O2 -g -o " + path + " " + program_->source + " 2>&1");
        const auto addresses = code_addresses(path);
        ASSERT_GT(addresses.size(), 500u);
        ASSERT_EQ(code_addresses(program_->path), addresses);
        auto whole = symbolizer_of(path);
        auto split = symbolizer_of(program_->path);
        for (const auto address : addresses) {
            ASSERT_EQ(resolve(split, address + 1), resolve(whole, address + 1)) << std::hex << address;
        }
    }
    /// Without the other half: functions by their symbols, with lines, and nothing of what is inlined.
    void expect_symbols_and_lines() {
        auto symbolizer = symbolizer_of(program_->path);
        const auto addresses = program_->addresses();
        const std::vector<SymbolLine> inlined{
            {"shop::Basket<int>::grow(int)", program_->source, program_->line("inlined"), false}};
        EXPECT_EQ(without_columns(resolve(symbolizer, addresses.at("inlined"))), inlined);
        EXPECT_EQ(resolve(symbolizer, addresses.at("main"))[0].function.substr(0, 4), "main"); // or main.cold
        EXPECT_EQ(resolve(symbolizer, addresses.at("main"))[0].line, program_->line("main"));
    }

    TemporaryDirectory directory_;
    std::unique_ptr<Program> program_;
    std::string dwo_;
};

TEST_P(SplitTest, FileWhereItWasCompiled) {
    build();
    expect_all();
    expect_as_whole();
}

TEST_P(SplitTest, FileBesideTheProgramThatWasMoved) {
    build();
    fs::create_directories(directory_.path("moved"));
    fs::rename(dwo_, directory_.path("moved/" + fs::path(dwo_).filename().string()));
    fs::rename(program_->path, directory_.path("moved/split"));
    program_->path = directory_.path("moved/split");
    expect_all();
}

TEST_P(SplitTest, FileBelowTheRootOfTheProcess) {
    build();
    fs::create_directories(directory_.path("root/opt/bin"));
    fs::rename(dwo_, directory_.path("root/opt/bin/" + fs::path(dwo_).filename().string()));
    expect_symbols_and_lines();
    auto symbolizer = symbolizer_of(program_->path, directory_.path("root"), "/opt/bin/server");
    expect_truth(*program_, symbolizer);
}

TEST_P(SplitTest, CompressedSections) {
    build("-gz");
    expect_all();
}

class PackedTest : public SplitTest {};

TEST_P(PackedTest, FileBesideTheProgram) {
    ASSERT_TRUE(can_pack());
    build();
    pack();
    fs::remove(dwo_);
    expect_all();
    expect_as_whole();
}

TEST_P(SplitTest, WithoutTheOtherHalf) {
    build();
    fs::remove(dwo_);
    expect_symbols_and_lines();
}

TEST_P(SplitTest, HalfOfAnotherBuild) {
    build();
    Program other(directory_, "build/other", "-g -gsplit-dwarf -O1 -DOTHER=1", GetParam());
    for (const auto& entry : fs::directory_iterator(directory_.path("build"))) {
        if (entry.path().extension() == ".dwo" && entry.path() != dwo_) {
            fs::copy_file(entry.path(), dwo_, fs::copy_options::overwrite_existing);
        }
    }
    expect_symbols_and_lines();
    if (can_pack()) {
        pack();
        expect_symbols_and_lines();
    }
}

TEST_P(SplitTest, WhatIsNoRegularFileIsNotOpened) {
    build();
    fs::remove(dwo_);
    ASSERT_EQ(::mkfifo(dwo_.c_str(), 0600), 0); // to open it would be to wait for a writer
    ASSERT_EQ(::mkfifo((program_->path + ".dwp").c_str(), 0600), 0);
    expect_symbols_and_lines();
}

TEST_P(SplitTest, DamagedFiles) {
    build();
    const auto addresses = program_->addresses();
    std::vector<std::string> files{dwo_};
    if (can_pack()) {
        pack();
        files.insert(files.begin(), program_->path + ".dwp");
    }
    std::mt19937 random(9);
    for (const auto& file : files) {
        const auto whole = read_file(file);
        for (int i = 0; i < 200; ++i) {
            auto bytes = whole;
            if (i % 4 == 0) {
                bytes.resize(random() % bytes.size());
            }
            for (int change = 0; change < 1 << (i % 6) && !bytes.empty(); ++change) {
                bytes[random() % bytes.size()] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
            }
            write_file(file, bytes);
            auto symbolizer = symbolizer_of(program_->path);
            for (const auto& [mark, address] : addresses) {
                EXPECT_FALSE(resolve(symbolizer, address).empty());
            }
        }
        fs::remove(file); // then the .dwo
    }
}

INSTANTIATE_TEST_SUITE_P(, SplitTest, ::testing::Values("g++", "clang++-19"),
                         [](const auto& compiler) { return compiler.param[0] == 'g' ? "gcc" : "clang"; });
INSTANTIATE_TEST_SUITE_P(, PackedTest, ::testing::Values("clang++-19"), [](const auto&) { return "clang"; });

} // namespace
} // namespace memtrace
