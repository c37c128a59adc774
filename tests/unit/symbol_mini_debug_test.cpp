// .gnu_debugdata: names in a stripped program, as Fedora's binaries carry them.
#include "symbol/mini_debug_info.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;

class MiniDebugTest : public ::testing::Test {
protected:
    /// The program stripped, with its function symbols in a .gnu_debugdata of these bytes; by default, what belongs there.
    void build(const std::string& packed = "") {
        program_ = std::make_unique<Program>(directory_, "mini", "-g");
        addresses_ = program_->addresses();
        // As GDB's manual has it ("MiniDebugInfo").
        run("cd " + directory_.path("") +
            " && objcopy --only-keep-debug mini mini.debug && objcopy --strip-debug mini.debug symbols" +
            " && xz -9 -k -f symbols");
        if (!packed.empty()) {
            write_file(directory_.path("symbols.xz"), packed);
        }
        run("cd " + directory_.path("") + " && strip mini && objcopy --add-section .gnu_debugdata=symbols.xz mini");
    }

    std::string name_of(const std::string& mark) {
        auto symbolizer = symbolizer_of(program_->path);
        return resolve(symbolizer, addresses_.at(mark))[0].function;
    }

    TemporaryDirectory directory_;
    std::unique_ptr<Program> program_;
    std::map<std::string, std::uint64_t> addresses_;
};

TEST_F(MiniDebugTest, NamesOfStaticFunctionsInAStrippedProgram) {
    build();
    EXPECT_EQ(name_of("plain"), "plain_c");
    EXPECT_EQ(name_of("static").substr(0, 20), "shop::in_a_file(int)");
    EXPECT_EQ(name_of("inlined"), "shop::Basket<int>::grow(int)"); // symbols know nothing of what is inlined
}

TEST_F(MiniDebugTest, DamagedDataGiveNoNamesAndDoNoHarm) {
    build();
    const std::string whole = read_file(directory_.path("symbols.xz"));
    std::mt19937 random(3);
    for (int i = 0; i < 12; ++i) {
        auto bytes = whole;
        if (i % 2 == 0) {
            bytes.resize(bytes.size() * static_cast<std::size_t>(i) / 12);
        } else {
            bytes[random() % bytes.size()] ^= 0x40;
        }
        build(bytes.empty() ? "x" : bytes);
        EXPECT_EQ(name_of("static"), "") << i;
    }
}

TEST_F(MiniDebugTest, WhatUnpacksToNoElfFileIsNone) {
    write_file(directory_.path("text"), "no ELF at all");
    run("cd " + directory_.path("") + " && xz -f text");
    build(read_file(directory_.path("text.xz")));
    EXPECT_EQ(name_of("static"), "");
}

TEST_F(MiniDebugTest, WhatUnpacksToTooMuchIsRefused) {
    // Bytes behind its end do an ELF file no harm: the size alone decides.
    build();
    for (const auto& [megabytes, name] : {std::pair{4, "plain_c"}, {160, ""}}) {
        run("cd " + directory_.path("") + " && { cat symbols; head -c " + std::to_string(megabytes) +
            "M /dev/zero; } | xz -1 > padded.xz");
        build(read_file(directory_.path("padded.xz")));
        EXPECT_EQ(name_of("static").empty(), std::string(name).empty()) << megabytes;
        EXPECT_EQ(name_of("plain"), name) << megabytes;
    }
}

TEST_F(MiniDebugTest, DecoderThatWantsTooMuchMemoryIsRefused) {
    run("cd " + directory_.path("") + " && echo x > large && xz --lzma2=preset=6,dict=512MiB -k -f large");
    build(read_file(directory_.path("large.xz")));
    EXPECT_EQ(name_of("static"), "");
}

TEST_F(MiniDebugTest, FullSymbolTableIsPreferred) {
    build();
    // A debug file beside it, with other names for the same places, must win.
    run("cd " + directory_.path("") + " && objcopy --redefine-sym plain_c=renamed_c mini.debug .mini.debug && mv .mini.debug " +
        "mini.debug && objcopy --add-gnu-debuglink=mini.debug mini");
    EXPECT_NE(name_of("plain"), "");
    auto symbolizer = symbolizer_of(program_->path);
    EXPECT_EQ(resolve(symbolizer, addresses_.at("static"))[0].line, program_->line("static"));
}

} // namespace
} // namespace memtrace
