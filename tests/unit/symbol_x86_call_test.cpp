#include "symbol/x86_call.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <sstream>
#include <vector>

#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(X86Call, DirectCallGivesItsDisplacement) {
    EXPECT_EQ(direct_call_before(Bytes{0xe8, 0x10, 0x00, 0x00, 0x00}), 0x10);
    EXPECT_EQ(direct_call_before(Bytes{0x90, 0xe8, 0xfb, 0xff, 0xff, 0xff}), -5);
    EXPECT_EQ(direct_call_before(Bytes{0x66, 0x66, 0x48, 0xe8, 0x01, 0x02, 0x03, 0x04}), 0x04030201); // __tls_get_addr's padding
    EXPECT_EQ(direct_call_before(Bytes{0xe9, 0x10, 0x00, 0x00, 0x00}), std::nullopt);                 // jmp
    EXPECT_EQ(direct_call_before(Bytes{0xe8, 0x10, 0x00, 0x00}), std::nullopt);                       // cut off
    EXPECT_EQ(direct_call_before(Bytes{}), std::nullopt);
}

TEST(X86Call, IndirectCallsOfEachLength) {
    const std::vector<std::pair<const char*, Bytes>> calls{
        {"call *%rax", {0xff, 0xd0}},
        {"call *%r11", {0x41, 0xff, 0xd3}},
        {"notrack call *%rdx", {0x3e, 0xff, 0xd2}},
        {"call *(%rax)", {0xff, 0x10}},
        {"call *(%rsp)", {0xff, 0x14, 0x24}},
        {"call *(%rbx,%rcx,8)", {0xff, 0x14, 0xcb}},
        {"call *0x8(%rax)", {0xff, 0x50, 0x08}},
        {"call *0x8(%rbp)", {0xff, 0x55, 0x08}},
        {"call *0x8(%rsp)", {0xff, 0x54, 0x24, 0x08}},
        {"call *0x0(%r13,%rax,8)", {0x41, 0xff, 0x54, 0xc5, 0x00}},
        {"call *0x1000(%rip)", {0xff, 0x15, 0x00, 0x10, 0x00, 0x00}},
        {"call *0x100(%rbx)", {0xff, 0x93, 0x00, 0x01, 0x00, 0x00}},
        {"call *0x100(%rsp)", {0xff, 0x94, 0x24, 0x00, 0x01, 0x00, 0x00}},
        {"call *0x0(,%rax,8)", {0xff, 0x14, 0xc5, 0x00, 0x00, 0x00, 0x00}},
        {"call *%fs:0x10", {0x64, 0xff, 0x14, 0x25, 0x10, 0x00, 0x00, 0x00}},
    };
    for (const auto& [text, bytes] : calls) {
        EXPECT_TRUE(indirect_call_before(bytes)) << text;
        Bytes longer{0x48, 0x89, 0xc7};
        longer.insert(longer.end(), bytes.begin(), bytes.end());
        EXPECT_TRUE(indirect_call_before(longer)) << text;
    }
}

TEST(X86Call, OtherInstructionsAreNoCalls) {
    const std::vector<std::pair<const char*, Bytes>> others{
        {"nothing", {}},
        {"one byte", {0xff}},
        {"jmp *%rax", {0xff, 0xe0}},
        {"push (%rax)", {0xff, 0x30}},
        {"inc (%rax)", {0xff, 0x00}},
        {"half of call *0x8(%rax)", {0x90, 0xff, 0x50}},
        {"half of call *0x8(%rsp)", {0x90, 0xff, 0x54, 0x24}},
        {"call *%rax; nop", {0xff, 0xd0, 0x90}},
        {"jmp *0x1000(%rip)", {0xff, 0x25, 0x00, 0x10, 0x00, 0x00}},
        {"lcall *(%rax)", {0xff, 0x18}},
        {"mov %rax,%rdi", {0x48, 0x89, 0xc7}},
        {"syscall", {0x0f, 0x05}},
    };
    for (const auto& [text, bytes] : others) {
        EXPECT_FALSE(indirect_call_before(bytes)) << text;
    }
}

TEST(X86Call, AssemblerAgreesOnAllAddressingModes) {
    symbol_test::TemporaryDirectory directory;
    const std::vector<std::string> bases{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    std::ostringstream text;
    std::size_t expected = 0;
    for (const auto& base : bases) {
        text << "call *%" << base << "\n";
        ++expected;
        for (const char* displacement : {"", "0x10", "-0x70", "0x12345", "-0x12345"}) {
            for (const char* segment : {"", "%fs:"}) {
                text << "call *" << segment << displacement << "(%" << base << ")\n";
                ++expected;
                for (const char* index : {"rax", "rbp", "r12", "r15"}) {
                    text << "call *" << segment << displacement << "(%" << base << ",%" << index << ",8)\n";
                    text << "call *" << segment << displacement << "(,%" << index << ",4)\n";
                    expected += 2;
                }
            }
        }
    }
    text << "call *0x1234(%rip)\n";
    ++expected;
    symbol_test::write_file(directory.path("modes.s"), text.str());
    symbol_test::run("as --64 -o " + directory.path("modes.o") + " " + directory.path("modes.s"));
    std::istringstream listing(symbol_test::run("objdump -dw " + directory.path("modes.o")));
    std::string line;
    std::size_t seen = 0;
    while (std::getline(listing, line)) {
        const auto first = line.find(":\t");
        const auto second = line.find('\t', first + 2);
        if (first == std::string::npos || second == std::string::npos) {
            continue;
        }
        std::istringstream hex(line.substr(first + 2, second - first - 2));
        Bytes code;
        for (std::string byte; hex >> byte;) {
            code.push_back(static_cast<std::uint8_t>(std::stoul(byte, nullptr, 16)));
        }
        ++seen;
        EXPECT_TRUE(indirect_call_before(code)) << line;
    }
    EXPECT_EQ(seen, expected);
}

TEST(X86Call, RandomBytesSeldomPass) {
    std::mt19937 random(7);
    std::size_t passed = 0;
    constexpr std::size_t kTries = 100'000;
    for (std::size_t i = 0; i < kTries; ++i) {
        Bytes code(kLongestCall);
        for (auto& byte : code) {
            byte = static_cast<std::uint8_t>(random());
        }
        passed += indirect_call_before(code) ? 1 : 0;
    }
    EXPECT_GT(passed, 0u);
    EXPECT_LT(passed, kTries / 500);
}

} // namespace
} // namespace memtrace
