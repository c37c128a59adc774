#include "kernel/placement.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <ostream>
#include <random>
#include <regex>
#include <set>

#if defined(__x86_64__)

namespace memtrace {
namespace {

std::vector<std::uint8_t> bytes_of(const std::string& hex) {
    std::vector<std::uint8_t> bytes;
    std::size_t at = 0;
    while (at < hex.size()) {
        if (hex[at] == ' ') {
            ++at;
            continue;
        }
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(hex.substr(at, 2), nullptr, 16)));
        at += 2;
    }
    return bytes;
}

constexpr std::uint8_t arguments(std::initializer_list<int> numbers) {
    std::uint8_t mask = 0;
    for (const int number : numbers) {
        mask = static_cast<std::uint8_t>(mask | 1 << number);
    }
    return mask;
}

Placement place(const std::string& hex, std::uint8_t wanted = arguments({1}), LongNops long_nops = LongNops::stepped,
                std::uint64_t size = 0) {
    const auto code = bytes_of(hex);
    return place_probe({code, size, 0x1000, wanted, long_nops});
}

struct Case {
    const char* name;
    const char* code;
    std::uint8_t wanted;
    std::uint64_t offset;
    HitCost cost;
    const char* registers; ///< those of the arguments 1, 2, ... up to the last that is wanted
    const char* reason = "";
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.name;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
    return std::regex_replace(info.param.name, std::regex("[^A-Za-z0-9]"), "_");
}

constexpr auto kEmulated = HitCost::emulated;
constexpr auto kStepped = HitCost::stepped;

void check(const Case& c) {
    const auto found = place(c.code, c.wanted);
    EXPECT_EQ(found.offset, c.offset) << found.reason;
    EXPECT_EQ(found.cost, c.cost) << found.reason;
    std::string registers;
    for (std::size_t n = 1; c.wanted >> n != 0; ++n) {
        registers += std::to_string(found.registers[n]);
    }
    EXPECT_EQ(registers, c.registers);
    EXPECT_NE(found.reason.find(c.reason), std::string::npos) << found.reason;
    EXPECT_FALSE(found.reason.empty());
}

class RealPrologue : public testing::TestWithParam<Case> {};
TEST_P(RealPrologue, IsProbedWhereItIsCheap) {
    check(GetParam());
}

// Bytes as they lie in the libraries of Debian 12 (glibc 2.36, jemalloc 5.3.0-1, gperftools 2.10, mimalloc 2.0.9) and of Debian 13
// (glibc 2.41, jemalloc 5.3.0-3, gperftools 2.16, mimalloc 3.0.1), whose later three begin with endbr64.
INSTANTIATE_TEST_SUITE_P(
    Libraries, RealPrologue,
    testing::Values(
        Case{"glibc 12 malloc", "4154 55 53 4889fb 4883ec10", arguments({1}), 0, kEmulated, "1"},
        Case{"glibc 12 free", "4885ff 0f84bf000000 55 488d77f0 53", arguments({1}), 3, kEmulated, "1"},
        Case{"glibc 12 posix_memalign", "803d0102140000 4154 4989d4 55", arguments({1, 3}), 7, kEmulated, "123"},
        Case{"glibc 12 reallocarray", "4889f0 48f7e2 4889c6 7005 e940b8f8ff", arguments({1, 2, 3}), 0, kStepped, "123",
             "argument 3 is overwritten at +3"},
        Case{"glibc 13 free", "4885ff 0f847f010000 4157 4156", arguments({1}), 3, kEmulated, "1"},
        Case{"glibc 13 calloc", "4156 4889f8 4155 4154 55 53", arguments({1, 2}), 0, kEmulated, "12"},
        Case{"jemalloc 12 malloc", "4881ff00100000 0f8793000000 488d155c7f2c00", arguments({1}), 7, kEmulated, "1"},
        Case{"jemalloc 12 free",
             "4889f8 488b150e530a00 4889f9 48c1e81a 4881e1000000c0 25f0000000 6448030425 00000000 4801d0 483b88b0010000 "
             "0f858a000000",
             arguments({1}), 48, kEmulated, "1"},
        Case{"jemalloc 13 malloc", "f30f1efa 4881ff00100000 0f87ff000000", arguments({1}), 11, kEmulated, "1"},
        Case{"tcmalloc 12 malloc", "488b0559ab0000 4885c0 7575 488b0505a10000", arguments({1}), 10, kEmulated, "1"},
        Case{"tcmalloc 13 malloc", "f30f1efa 488b0575910000 4885c0 7579 488b05098a0000", arguments({1}), 14, kEmulated, "1"},
        Case{"tcmalloc 13 calloc", "f30f1efa 4889f8 55 48f7e6", arguments({1, 2}), 7, kEmulated, "12"},
        Case{"mimalloc 12 malloc", "488b0549b40000 4889fe 64488b38 4881fe00040000 7729", arguments({1}), 21, kEmulated, "2",
             "argument 1 has moved"},
        Case{"mimalloc 12 calloc", "488b15c9ad0000 4889f8 64488b3a 4883f801 7408 48f7e6", arguments({1, 2}), 18, kEmulated, "72"},
        Case{"mimalloc 12 realloc", "488b0549a90000 4889f2 4889fe 64488b00 4889c7 e9f74effff", arguments({1, 2}), 20, kEmulated,
             "23"},
        Case{"mimalloc 12 free", "4889f9 4885ff 745d 488d7fff", arguments({1}), 6, kEmulated, "1"},
        Case{"mimalloc 13 free",
             "f30f1efa 488b15f5190200 4889f9 4889f8 4889fe 48c1e91d 48c1e810 488b14ca 25ff1f0000 488b3cc2 64488b1425 00000000 "
             "488b07 "
             "4839d0 751e",
             arguments({1}), 56, kEmulated, "2"},
        Case{"mimalloc 13 reallocarray", "f30f1efa e917faffff", arguments({1, 2, 3}), 4, kEmulated, "123"}),
    name_of);

// gcc 12 and clang 19.
INSTANTIATE_TEST_SUITE_P(
    Compilers, RealPrologue,
    testing::Values(
        Case{"not optimized", "55 4889e5 4883ec20 48897de8 488b45e8", arguments({1}), 0, kEmulated, "1"},
        Case{"not optimized with endbr64", "f30f1efa 55 4889e5 4883ec20", arguments({1}), 4, kEmulated, "1"},
        Case{"O3 wrapper", "53 e800000000 4889c3", arguments({1}), 0, kEmulated, "1"},
        Case{"O3 NULL check and tail call", "4885ff 740b e900000000 660f1f440000 c3", arguments({1}), 3, kEmulated, "1"},
        Case{"O3 far branch over to a tail call", "4885ff 0f8500000000 c3", arguments({1}), 3, kEmulated, "1"},
        Case{"loop that begins with the function", "4889f8 488b3f 4885ff 75f5 c3", arguments({1}), 9, kEmulated, "7"},
        Case{"loop that begins behind endbr64", "f30f1efa 0f1f4000 4889f8 488b3f 4885ff 75f5 c3", arguments({1}), 0, kStepped,
             "1", "jumps back behind its entry"},
        Case{"frame without a push", "4883ec18 4889742408", arguments({1}), 0, kStepped, "1", "the stack pointer moves at +0"},
        Case{"realigned stack", "4c8d542408 4883e4e0 41ff72f8 55", arguments({1}), 0, kStepped, "1",
             "the stack pointer moves at +5"},
        Case{"cold part split off", "4881ff00100000 0f8712345678 c3", arguments({1}), 7, kEmulated, "1"},
        Case{"variadic: flags of al", "84c0 7437 0f29442450", arguments({1}), 2, kEmulated, "1"},
        Case{"patchable entry", "90 90 90 90 90 53 e800000000", arguments({1}), 0, kEmulated, "1"},
        Case{"call of a profiler", "e800000000 53", arguments({1}), 0, kEmulated, "1"},
        Case{"jump table", "83ff05 0f8712000000 89ff", arguments({1}), 3, kEmulated, "1"}),
    name_of);

class Adversary : public testing::TestWithParam<Case> {};
TEST_P(Adversary, IsProbedAtItsEntry) {
    check(GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Arguments, Adversary,
    testing::Values(Case{"mov edi to itself", "89ff 53", arguments({1}), 0, kStepped, "1", "argument 1 is overwritten at +0"},
                    Case{"xor esi", "31f6 53", arguments({1, 2}), 0, kStepped, "12", "argument 2 is overwritten at +0"},
                    Case{"low byte", "40b701 53", arguments({1}), 0, kStepped, "1", "argument 1"},
                    Case{"low word", "66bf0100 53", arguments({1}), 0, kStepped, "1", "argument 1"},
                    Case{"high byte of rdx", "b600 53", arguments({3}), 0, kStepped, "123", "argument 3"},
                    Case{"swapped", "4887f7 53", arguments({1, 2}), 0, kStepped, "12", "is overwritten at +0"},
                    Case{"perhaps overwritten", "480f44fe 53", arguments({1}), 0, kStepped, "1", "argument 1"},
                    Case{"sign extended in place", "4863ff 53", arguments({1}), 0, kStepped, "1", "argument 1"},
                    Case{"by a multiplication", "48f7e7 53", arguments({3}), 0, kStepped, "123", "argument 3"},
                    Case{"by a division", "4899 48f7ff 53", arguments({3}), 0, kStepped, "123", "argument 3"},
                    Case{"copied in half", "89f8 31ff 53", arguments({1}), 0, kStepped, "1", "argument 1 is overwritten at +2"},
                    Case{"copied, then the copy overwritten", "4889f8 31c0 31ff 53", arguments({1}), 0, kStepped, "1",
                         "argument 1 is overwritten at +5"},
                    Case{"copied where nobody looks", "4989fa 31ff 53", arguments({1}), 0, kStepped, "1",
                         "a register that is not read at +5"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Paths, Adversary,
    testing::Values(
        Case{"return", "c3 53", arguments({1}), 0, kStepped, "1", "control may leave at +0"},
        Case{"return behind a test", "4885ff c3 53", arguments({1}), 0, kStepped, "1", "control may leave at +3"},
        Case{"indirect jump", "ff2500000000 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"indirect call", "ffd0 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"jump with a bound prefix", "f2e900000000 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"jump with a size prefix", "4885ff 66e900000000 53", arguments({1}), 0, kStepped, "1", "at +3"},
        Case{"conditional jump with a hint", "3e7400 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"jrcxz", "e300 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"loop", "e200 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"transaction", "c7f800000000 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"system call", "0f05 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"breakpoint", "cc 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"undefined", "0f0b 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"halt", "f4 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"cpuid", "0fa2 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"thread pointer", "f3480faed7 53", arguments({1}), 0, kStepped, "1", "control may leave"},
        Case{"segment register", "8ed8 53", arguments({2}), 0, kStepped, "12", "control may leave"},
        Case{"jump to the probe", "4885ff 53 ebfd", arguments({1}), 0, kStepped, "1", "jumps back behind its entry"},
        Case{"jump between", "4889f8 4885ff 53 ebfa", arguments({1}), 0, kStepped, "1", "jumps back behind its entry"},
        Case{"jump into the middle of what is skipped", "4885ff 53 ebfb", arguments({1}), 0, kStepped, "1", "jumps back"},
        Case{"branch to itself", "4885ff 74fe", arguments({1}), 0, kStepped, "1", "jumps back behind its entry"},
        Case{"call of what follows", "4885ff 53 e8faffffff", arguments({1}), 0, kStepped, "1", "jumps back behind its entry"},
        Case{"far conditional jump back", "4885ff 53 0f84f9ffffff", arguments({1}), 0, kStepped, "1", "jumps back"},
        Case{"jump behind bytes that do not decode", "4885ff 53 06 ebfc", arguments({1}), 0, kStepped, "1", "jumps back"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Effects, Adversary,
    testing::Values(
        Case{"store", "48893e 53", arguments({1}), 0, kStepped, "1", "memory is written at +0"},
        Case{"store into the red zone", "48897c24f8 53", arguments({1}), 0, kStepped, "1", "memory is written at +0"},
        Case{"store over the return address", "48893c24 53", arguments({1}), 0, kStepped, "1", "memory is written at +0"},
        Case{"atomic", "f0ff00 53", arguments({1}), 0, kStepped, "1", "memory is written at +0"},
        Case{"exchange with memory", "488706 53", arguments({1}), 0, kStepped, "1", "memory is written at +0"},
        Case{"string store", "f3aa 53", arguments({6}), 0, kStepped, "123456", "control may leave at +0"},
        Case{"pop", "58 53", arguments({1}), 0, kStepped, "1", "at +0"},
        Case{"leave", "c9 53", arguments({1}), 0, kStepped, "1", "at +0"},
        Case{"stack pointer replaced", "4889c4 53", arguments({1}), 0, kStepped, "1", "the stack pointer moves"},
        Case{"stack pointer by half", "89c4 53", arguments({1}), 0, kStepped, "1", "the stack pointer moves"},
        Case{"push of a constant", "6a00 53", arguments({1}), 0, kStepped, "1", "at +0"},
        Case{"push of memory", "ff7708 53", arguments({1}), 0, kStepped, "1", "at +0"},
        Case{"frame pointer", "4889fd 53", arguments({1}), 0, kStepped, "1", "a register of the caller is overwritten"},
        Case{"rbx", "31db 53", arguments({1}), 0, kStepped, "1", "a register of the caller is overwritten"},
        Case{"r12", "4d89c4 53", arguments({1}), 0, kStepped, "1", "a register of the caller is overwritten"},
        Case{"r15 by a byte", "41b700 53", arguments({1}), 0, kStepped, "1", "a register of the caller is overwritten"},
        Case{"bytes that do not decode", "4885ff 06 53", arguments({1}), 0, kStepped, "1", "does not decode"},
        Case{"nothing but prefixes", "66666666 66666666 66666666 66666666", arguments({1}), 0, kStepped, "1", "does not decode"},
        Case{"cut in an instruction", "4885ff 0f84bf00", arguments({1}), 0, kStepped, "1", "what is at +3 does not decode"},
        Case{"no code", "", arguments({1}), 0, kStepped, "1", "no instruction"}),
    name_of);

TEST(Placement, WhatIsNotReadMayBeOverwritten) {
    EXPECT_EQ(place("31f6 53", arguments({1})).offset, 2U);
    EXPECT_EQ(place("89ff 53", 0).offset, 2U);
    EXPECT_EQ(place("48f7e6 53", arguments({1})).offset, 3U) << "mul writes rax and rdx";
}

TEST(Placement, AnArgumentIsReadFromItsOwnRegisterIfItIsStillThere) {
    const auto found = place("4889fe 4889f8 53", arguments({1}));
    EXPECT_EQ(found.offset, 6U);
    EXPECT_EQ(found.registers[1], 1);
}

TEST(Placement, AnArgumentCanComeBack) {
    const auto found = place("4889f8 31ff 4889c7 31c0 53", arguments({1}));
    EXPECT_EQ(found.offset, 10U);
    EXPECT_EQ(found.registers[1], 1);
}

// xchg %r8,%rax is 90 with a prefix, and no nop.
TEST(Placement, OnlyABareNopIsTakenForOne) {
    EXPECT_EQ(place("90 53").offset, 0U);
    EXPECT_EQ(place("4885ff 90 53").offset, 3U);
    EXPECT_EQ(place("4885ff 6690 53").offset, 5U) << "some kernels refuse it: stepped over";
    EXPECT_EQ(place("4885ff 4990 53").offset, 5U);
    EXPECT_EQ(place("4990 53", arguments({5})).reason, "argument 5 is overwritten at +0");
}

TEST(Placement, EveryBarePushIsEmulated) {
    for (int number = 0; number < 16; ++number) {
        char hex[16];
        std::snprintf(hex, sizeof(hex), "4885ff%s%02x", number >= 8 ? "41" : "", 0x50 + number % 8);
        const auto found = place(hex);
        EXPECT_EQ(found.offset, 3U) << hex;
        EXPECT_EQ(found.cost, kEmulated);
    }
    EXPECT_EQ(place("4885ff 4053 53").offset, 0U) << "the kernel knows no other prefix of push";
}

TEST(Placement, EveryBareConditionalJumpIsEmulated) {
    for (int condition = 0; condition < 16; ++condition) {
        char near[24];
        char far[32];
        std::snprintf(near, sizeof(near), "4885ff %02x10", 0x70 + condition);
        std::snprintf(far, sizeof(far), "4885ff 0f%02x10000000", 0x80 + condition);
        EXPECT_EQ(place(near).offset, 3U) << near;
        EXPECT_EQ(place(far).offset, 3U) << far;
    }
}

TEST(Placement, LongNopsAreTakenWhereTheKernelEmulatesThem) {
    const struct {
        const char* code;
        bool known;
    } nops[] = {
        {"0f1f00", true},           {"0f1f4000", true},      {"0f1f440000", true},  {"0f1f8000000000", true},
        {"0f1f840000000000", true}, {"660f1f440000", false}, {"0f1f440008", false}, {"662e0f1f840000000000", false},
    };
    for (const auto& nop : nops) {
        const auto size = bytes_of(nop.code).size();
        const auto behind_test = std::string("4885ff") + nop.code + "53";
        EXPECT_EQ(place(behind_test, arguments({1}), LongNops::stepped).offset, 3 + size) << nop.code;
        EXPECT_EQ(place(behind_test, arguments({1}), LongNops::emulated).offset, nop.known ? 3 : 3 + size) << nop.code;
    }
}

// The kernel would write a return address where the function may keep its variables.
TEST(Placement, ANopThatBecomesACallIsTakenOnlyBeforeTheFirstInstruction) {
    constexpr auto kRewritten = LongNops::rewritten;
    EXPECT_EQ(place("0f1f440000 53", arguments({1}), kRewritten).offset, 0U);
    EXPECT_EQ(place("0f1f440000 53", arguments({1}), kRewritten).cost, kEmulated);
    EXPECT_EQ(place("f30f1efa 0f1f440000 53", arguments({1}), kRewritten).offset, 4U);
    EXPECT_EQ(place("4885ff 0f1f440000 53", arguments({1}), kRewritten).offset, 8U);
    EXPECT_EQ(place("4885ff 0f1f440000 c3", arguments({1}), kRewritten).offset, 0U);
    EXPECT_EQ(place("4885ff 0f1f4000 53", arguments({1}), kRewritten).offset, 3U) << "another length stays as it is";
}

TEST(Placement, TheProbeStaysWithinTheFunction) {
    const std::string code = "4885ff 0f84bf000000 55";
    EXPECT_EQ(place(code, arguments({1}), LongNops::stepped, 10).offset, 3U);
    EXPECT_EQ(place(code, arguments({1}), LongNops::stepped, 9).offset, 3U);
    for (std::uint64_t size = 1; size < 9; ++size) {
        EXPECT_EQ(place(code, arguments({1}), LongNops::stepped, size).offset, 0U) << size;
    }
}

TEST(Placement, ALongStraightFunctionIsLeftAlone) {
    std::string code;
    for (int i = 0; i < 200; ++i) {
        code += "4885ff";
    }
    EXPECT_EQ(place(code + "53").offset, 0U);
}

TEST(Placement, InstructionsAreNamed) {
    EXPECT_EQ(place("4885ff 740b").instruction, "jz 0x1010");
    EXPECT_EQ(place("4154").instruction, "push %r12");
    EXPECT_EQ(place("4885ff c3").instruction, "test %rdi, %rdi") << "where the probe is";
}

TEST(FarJumps, AreFoundWhereverTheyLie) {
    const std::uint64_t text_address = 0x400000;
    std::vector<std::uint8_t> text(1000, 0x90);
    const auto put = [&](std::size_t at, const std::string& opcode, std::int64_t target) {
        for (const auto byte : bytes_of(opcode)) {
            text[at++] = byte;
        }
        const auto displacement = static_cast<std::int32_t>(target - static_cast<std::int64_t>(at) - 4);
        std::memcpy(text.data() + at, &displacement, 4);
    };
    const AddressRange range{text_address + 101, text_address + 103};
    EXPECT_TRUE(far_jumps_into(text, text_address, range).empty());
    for (const std::int64_t target : {99, 100, 101, 102, 103, 104}) {
        for (const std::size_t at : {0U, 1U, 50U, 990U}) {
            for (const auto* opcode : {"e9", "0f80", "0f8f"}) {
                std::fill(text.begin(), text.end(), 0x90);
                put(at, opcode, target);
                const auto found = far_jumps_into(text, text_address, range);
                if (target >= 101 && target <= 103) {
                    ASSERT_EQ(found.size(), 1U) << opcode << " at " << at << " to " << target;
                    EXPECT_EQ(found[0], text_address + static_cast<std::uint64_t>(target));
                } else {
                    EXPECT_TRUE(found.empty()) << opcode << " at " << at << " to " << target;
                }
            }
        }
    }
    std::fill(text.begin(), text.end(), 0x90);
    put(50, "e8", 102);
    EXPECT_TRUE(far_jumps_into(text, text_address, range).empty()) << "a call is no jump";
    put(994, "e9", 102);
    text.resize(998);
    EXPECT_TRUE(far_jumps_into(text, text_address, range).empty()) << "cut off";
    EXPECT_TRUE(far_jumps_into({}, text_address, range).empty());
}

// Far jumps, against the obvious way to look for them.
TEST(FarJumps, AreThoseOfASimpleSearch) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 200; ++round) {
        std::vector<std::uint8_t> text(400);
        const std::uint64_t text_address = random() >> 20;
        const AddressRange range{text_address + 150, text_address + 150 + random() % 100};
        for (auto& byte : text) {
            const auto dice = random() % 8;
            byte = static_cast<std::uint8_t>(dice == 0   ? 0xe9
                                             : dice == 1 ? 0x0f
                                             : dice == 2 ? 0x80 | random() % 16
                                             : dice < 6  ? 0
                                                         : random());
        }
        std::multiset<std::uint64_t> expected;
        for (std::size_t at = 0; at + 5 <= text.size(); ++at) {
            for (const std::size_t opcode : {1U, 2U}) {
                const bool is_jump = opcode == 1 ? text[at] == 0xe9 : text[at] == 0x0f && text[at + 1] >> 4 == 8;
                if (!is_jump || at + opcode + 4 > text.size()) {
                    continue;
                }
                std::int32_t displacement;
                std::memcpy(&displacement, text.data() + at + opcode, 4);
                const std::uint64_t target =
                    text_address + at + opcode + 4 + static_cast<std::uint64_t>(std::int64_t{displacement});
                if (target >= range.first && target <= range.last) {
                    expected.insert(target);
                }
            }
        }
        const auto found = far_jumps_into(text, text_address, range);
        EXPECT_EQ(std::multiset<std::uint64_t>(found.begin(), found.end()), expected);
    }
}

} // namespace
} // namespace memtrace

#endif
