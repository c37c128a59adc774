// Unwind information of real objects, as compilers and linkers leave it: in .eh_frame, in .debug_frame, compressed or not.
#include "unwind/object_table.hpp"

#include <fcntl.h>
#include <gelf.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"
#include "proc/elf_handle.hpp"
#include "symbol_fixture.hpp"
#include "unwind_rule_at.hpp"

namespace memtrace {
namespace {

using symbol_test::read_file;
using symbol_test::run;
using symbol_test::TemporaryDirectory;
using symbol_test::write_file;

// Linkers leave a section as it is where it would not get smaller: so there are some more functions.
constexpr const char* kSource = R"(
#include <stdio.h>
#define FUNCTION(n) int function_##n(int value) { volatile int room[n]; return room[value]; }
#define TEN(n) FUNCTION(n##0) FUNCTION(n##1) FUNCTION(n##2) FUNCTION(n##3) FUNCTION(n##4) FUNCTION(n##5) FUNCTION(n##6) FUNCTION(n##7)
TEN(5) TEN(6) TEN(7) TEN(8) TEN(9)
__attribute__((noinline)) int inner(int value) { char room[200]; return snprintf(room, 200, "%d", value); }
int main(int argc, char** argv) { (void)argv; return inner(argc) == 7; }
)";

class UnwindObjectTest : public ::testing::Test {
protected:
    /// A program that has .eh_frame for what the linker adds alone, unless `flags` say otherwise.
    std::string program(const std::string& flags) {
        const auto path = directory_.path("program");
        write_file(path + ".c", kSource);
        run("gcc -O2 -g -fno-asynchronous-unwind-tables -fno-unwind-tables " + flags + " -o " + path + " " + path + ".c 2>&1");
        return path;
    }
    static std::optional<UnwindTable> table_of(const std::string& path) {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const auto object = UnwindObject::from_file(fd.get());
        return object ? object->build() : std::nullopt;
    }
    /// The rule behind inner's `sub $...,%rsp`.
    static mt_unwind_rule rule_in_inner(const std::string& path) {
        const auto address = std::stoull(run("nm " + path + " | sed -n 's/ T inner$//p'"), nullptr, 16);
        const auto table = table_of(path);
        const bool described = table && address + 16 - table->first() < table->size();
        return described ? rule_at(*table, address + 16) : mt_unwind_rule{};
    }
    /// How the section is described by readelf: "" where there is none, "C" among its flags where it is compressed.
    static std::string described(const std::string& path, const std::string& name) {
        return run("readelf -SW " + path + " | sed -n 's/.* [.]" + name + " //p'");
    }
    /// Changes what the compressed .debug_frame claims to be unpacked.
    static void set_claim(const std::string& path, std::uint64_t size) {
        auto bytes = read_file(path);
        elf_version(EV_CURRENT);
        const ElfHandle elf(elf_memory(bytes.data(), bytes.size()));
        GElf_Shdr header;
        ASSERT_NE(find_section(elf.get(), ".debug_frame", header, [](const GElf_Shdr&) { return true; }), nullptr);
        std::memcpy(bytes.data() + header.sh_offset + offsetof(Elf64_Chdr, ch_size), &size, sizeof(size));
        write_file(path, bytes);
    }

    TemporaryDirectory directory_;
};

TEST_F(UnwindObjectTest, DebugFrameCountsWhereEhFrameSaysNothing) {
    const auto expected = rule_in_inner(program("-fasynchronous-unwind-tables"));
    ASSERT_EQ(expected.cfa, MT_CFA_REGISTER);
    ASSERT_GT(expected.offset, 200);
    for (const std::string flags : {"-gz=none", "-gz", "-gz=zlib", "-gz=zlib-gnu"}) {
        const auto path = program(flags);
        ASSERT_NE(described(path, "eh_frame"), "") << "the linker's";
        if (flags == "-gz=zlib-gnu") {
            ASSERT_NE(described(path, "zdebug_frame"), "");
        } else {
            ASSERT_EQ(described(path, "debug_frame").find(" C ") != std::string::npos, flags != "-gz=none");
        }
        EXPECT_EQ(rule_in_inner(path).cfa, MT_CFA_REGISTER) << flags;
        EXPECT_EQ(rule_in_inner(path).offset, expected.offset) << flags;
        const auto start = std::stoull(run("nm " + path + " | sed -n 's/ T _start$//p'"), nullptr, 16);
        EXPECT_EQ(rule_at(*table_of(path), start).cfa, MT_CFA_END) << "of .eh_frame";
        run("strip --strip-debug " + path);
        EXPECT_EQ(rule_in_inner(path).cfa, MT_CFA_NONE) << flags;
    }
}

TEST_F(UnwindObjectTest, TheIdentityTellsOfBoth) {
    const auto identity = [](const std::string& path) {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        return UnwindObject::from_file(fd.get())->identity();
    };
    const auto with = identity(program("-gz"));
    EXPECT_GT(with.eh_frame.size, 0u);
    EXPECT_GT(with.debug_frame.size, 0u);
    run("strip --strip-debug " + directory_.path("program"));
    const auto without = identity(directory_.path("program"));
    EXPECT_EQ(without.eh_frame, with.eh_frame);
    EXPECT_EQ(without.debug_frame.size, 0u);
    EXPECT_NE(without, with);
}

TEST_F(UnwindObjectTest, AFalseClaimOfTheUnpackedSizeIsNotBelieved) {
    const auto path = program("-gz=zlib");
    ASSERT_EQ(rule_in_inner(path).cfa, MT_CFA_REGISTER);
    // Terabytes, more than is read, and what could be but is not.
    for (const std::uint64_t size :
         {std::uint64_t{1} << 42, kMaxFrameSection + 1, kMaxFrameSection, std::uint64_t{1}, std::uint64_t{0}}) {
        set_claim(path, size);
        EXPECT_EQ(rule_in_inner(path).cfa, MT_CFA_NONE) << size;
        EXPECT_TRUE(table_of(path)) << ".eh_frame still counts";
    }
}

TEST_F(UnwindObjectTest, ADamagedStreamCostsNoMoreThanItself) {
    const auto path = program("-gz=zlib");
    const auto whole = read_file(path);
    const auto at = whole.find("\x78\x9c"); // where zlib's streams begin, the first of them
    ASSERT_NE(at, std::string::npos);
    auto bytes = whole;
    for (std::size_t i = at; i + 1 < bytes.size(); ++i) {
        if (bytes[i] == '\x78' && bytes[i + 1] == '\x9c') {
            bytes[i + 2] = static_cast<char>(bytes[i + 2] ^ 0xff);
        }
    }
    write_file(path, bytes);
    EXPECT_EQ(rule_in_inner(path).cfa, MT_CFA_NONE);
}

} // namespace
} // namespace memtrace
