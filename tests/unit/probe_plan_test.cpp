// Placements in files: made ones, and the allocators that this machine has, against what objdump makes of them.
#include "kernel/probe_plan.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "proc/elf_file.hpp"

#if defined(__x86_64__)

namespace memtrace {
namespace {

namespace fs = std::filesystem;

std::uint16_t function_number(std::string_view name) {
    const auto& table = function_table();
    for (std::size_t i = 0; i < table.size(); ++i) {
        if (table[i].name == name) {
            return static_cast<std::uint16_t>(i);
        }
    }
    ADD_FAILURE() << name;
    return 0;
}

// ---- made files ---------------------------------------------------------------------------------------------------------------

/// A file that is nothing but code, at a linked address that is not its offset.
class MadeFile : public testing::Test {
protected:
    static constexpr std::uint64_t kAddress = 0x40'0000;
    static constexpr std::size_t kSize = 3 << 20;

    void SetUp() override {
        path_ = fs::temp_directory_path() / ("memtrace-probe-plan-" + std::to_string(::getpid()));
        object_.file = {1, 2};
        object_.open_path = path_;
        object_.code = {{0, kSize, kAddress, true}};
    }
    void TearDown() override { fs::remove(path_); }

    void put(std::size_t at, std::initializer_list<int> bytes) {
        for (const int byte : bytes) {
            code_[at++] = static_cast<char>(byte);
        }
    }
    /// test %rdi,%rdi; je; push
    void put_free(std::size_t at) { put(at, {0x48, 0x85, 0xff, 0x74, 0x01, 0x55, 0xc3}); }
    void put_jump(std::size_t at, std::size_t target) {
        const auto distance = static_cast<std::uint32_t>(target - at - 5);
        put(at, {0xe9, static_cast<int>(distance & 255), static_cast<int>(distance >> 8 & 255),
                 static_cast<int>(distance >> 16 & 255), static_cast<int>(distance >> 24)});
    }
    void add(const char* name, std::uint64_t offset, std::uint64_t size) {
        object_.points.push_back({function_number(name), name, offset, size});
    }
    void write() { std::ofstream(path_, std::ios::binary) << code_; }
    ProbePlan plan() {
        write();
        return ProbePlanner(LongNops::stepped).plan(object_);
    }

    fs::path path_;
    std::string code_ = std::string(kSize, '\x90');
    ProbeObject object_;
};

TEST_F(MadeFile, EachFunctionIsPlacedByItsOwnArguments) {
    put_free(0x100);
    put(0x200, {0x31, 0xff, 0x55});
    add("free", 0x100, 7);
    add("malloc", 0x200, 3);
    object_.hooks.push_back({HookKind::jump, "longjmp", 0x200, 3});
    const auto found = plan();
    ASSERT_EQ(found.points.size(), 2U);
    ASSERT_EQ(found.hooks.size(), 1U);
    EXPECT_EQ(found.points[0].offset, 3U);
    EXPECT_EQ(found.points[0].instruction, "jz 0x400106");
    EXPECT_EQ(found.points[1].offset, 0U);
    EXPECT_EQ(found.hooks[0].offset, 2U) << "a hook reads no argument";
}

TEST_F(MadeFile, AColdPartThatJumpsBackIsSeenWhereverItLies) {
    for (const std::size_t cold : {std::size_t{0}, std::size_t{0x10'0000 - 3}, std::size_t{0x20'0000 - 1}, kSize - 5}) {
        code_.assign(kSize, '\x90');
        put_free(0x1000);
        put_free(0x2000);
        put_jump(cold, 0x1003);
        object_.points.clear();
        add("free", 0x1000, 7);
        add("cfree", 0x2000, 7);
        const auto found = plan();
        EXPECT_EQ(found.points[0].offset, 0U) << cold;
        EXPECT_EQ(found.points[0].reason, "code elsewhere jumps back behind the entry");
        EXPECT_EQ(found.points[0].cost, HitCost::stepped);
        EXPECT_EQ(found.points[1].offset, 3U) << cold;
    }
}

TEST_F(MadeFile, AJumpToTheEntryOrBehindTheProbeIsNoHindrance) {
    put_free(0x1000);
    put_jump(0x8000, 0x1000);
    put_jump(0x9000, 0x1004);
    add("free", 0x1000, 7);
    EXPECT_EQ(plan().points[0].offset, 3U);
}

// A call of the second would hit the first one's probe.
TEST_F(MadeFile, AFunctionThatRunsIntoAnotherIsProbedAtItsEntry) {
    put(0x1000, {0x48, 0x85, 0xff}); // test %rdi,%rdi
    put_free(0x1003);
    add("cfree", 0x1000, 10);
    add("free", 0x1003, 7);
    const auto found = plan();
    EXPECT_EQ(found.points[0].offset, 0U);
    EXPECT_EQ(found.points[0].reason, "another function begins before the first that is emulated");
    EXPECT_EQ(found.points[1].offset, 3U);
}

TEST_F(MadeFile, AFunctionWithoutASizeIsPlacedToo) {
    put_free(0x1000);
    add("free", 0x1000, 0);
    EXPECT_EQ(plan().points[0].offset, 3U);
}

TEST_F(MadeFile, AFunctionAtTheEndOfTheFileIsCut) {
    put(kSize - 3, {0x48, 0x85, 0xff});
    add("free", kSize - 3, 200);
    add("malloc", kSize + 4096, 10);
    const auto found = plan();
    EXPECT_EQ(found.points[0].offset, 0U);
    EXPECT_EQ(found.points[1].offset, 0U);
}

TEST_F(MadeFile, AFileThatCannotBeReadIsProbedAtTheEntries) {
    add("free", 0x1000, 7);
    const auto found = ProbePlanner(LongNops::stepped).plan(object_);
    EXPECT_EQ(found.points[0].offset, 0U);
    EXPECT_EQ(found.points[0].cost, HitCost::stepped);
    EXPECT_NE(found.points[0].reason.find("cannot read"), std::string::npos);
}

// An inode may be used again for another file: a placement kept for the old one would lie anywhere.
TEST_F(MadeFile, AFileThatHasChangedIsLookedAtAgain) {
    ProbePlanner planner(LongNops::stepped);
    put_free(0x1000);
    add("free", 0x1000, 7);
    write();
    EXPECT_EQ(planner.plan(object_).points[0].offset, 3U);
    EXPECT_EQ(planner.plan(object_).points[0].offset, 3U);
    put(0x1000, {0xf3, 0x0f, 0x1e, 0xfa, 0x55});
    write();
    EXPECT_EQ(planner.plan(object_).points[0].offset, 4U);
}

TEST(Relocated, ArgumentsAreNamedByTheRegistersThatHoldThem) {
    Placement placement;
    placement.registers = {0, 2, 3, 3, 4, 5, 7};
    const auto moved = relocated(*parse_signature("f(ptr,size)"), placement);
    EXPECT_EQ(moved.ptr, 2);
    EXPECT_EQ(moved.size, 3);
    EXPECT_EQ(moved.count, 0);
    EXPECT_EQ(moved.out, 0);
}

// ---- what this machine has ----------------------------------------------------------------------------------------------------

std::optional<std::string> find_library(const std::string& prefix) {
    for (const auto& entry : fs::directory_iterator("/usr/lib/x86_64-linux-gnu")) {
        if (entry.path().filename().string().starts_with(prefix)) {
            return fs::canonical(entry.path());
        }
    }
    return std::nullopt;
}

class Library : public testing::TestWithParam<const char*> {};

TEST_P(Library, NoMallocAndNoFreeIsSingleStepped) {
    const auto path = find_library(GetParam());
    ASSERT_TRUE(path) << "install-deps.sh installs it";
    const auto elf = read_elf(*path, [](std::string_view name) { return name == "malloc" || name == "free"; }, false);
    ASSERT_TRUE(elf);
    ProbeObject object;
    object.open_path = *path;
    for (const auto& segment : elf->segments) {
        if (segment.executable) {
            object.code.push_back(segment);
        }
    }
    for (const auto& function : elf->functions) {
        object.points.push_back({function_number(function.name), function.name, function.file_offset, function.size});
    }
    ASSERT_GE(object.points.size(), 2U);
    const auto found = ProbePlanner(LongNops::stepped).plan(object);
    for (std::size_t i = 0; i < found.points.size(); ++i) {
        EXPECT_EQ(found.points[i].cost, HitCost::emulated) << object.points[i].symbol << ": " << found.points[i].reason;
        EXPECT_LT(found.points[i].offset, object.points[i].size);
    }
}
INSTANTIATE_TEST_SUITE_P(Placed, Library,
                         testing::Values("libc.so.6", "libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so"),
                         [](const testing::TestParamInfo<const char*>& about) {
                             return std::string(about.param).substr(0, std::string_view(about.param).find('.'));
                         });

/// An instruction as objdump prints it.
struct Line {
    std::string mnemonic;
    std::vector<std::string> operands;
};

Line parse_line(std::string text) {
    text = text.substr(0, text.find('#'));
    text = text.substr(0, text.find('<'));
    Line line;
    std::istringstream words(text);
    words >> line.mnemonic;
    std::string rest;
    std::getline(words, rest);
    int depth = 0;
    std::string operand;
    for (const char c : rest) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == ',' && depth == 0) {
            line.operands.push_back(operand);
            operand.clear();
        } else if (c != ' ') {
            operand += c;
        }
    }
    if (!operand.empty()) {
        line.operands.push_back(operand);
    }
    return line;
}

/// All instructions of a file by address.
std::map<std::uint64_t, Line> disassemble(const std::string& path) {
    std::map<std::uint64_t, Line> lines;
    const std::string command = "objdump -d -w --no-show-raw-insn '" + path + "'";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
    std::array<char, 4096> text{};
    while (pipe && std::fgets(text.data(), static_cast<int>(text.size()), pipe.get()) != nullptr) {
        char* end = nullptr;
        const auto address = std::strtoull(text.data(), &end, 16);
        if (end != text.data() && end[0] == ':' && end[1] == '\t') {
            lines[address] = parse_line(end + 2);
        }
    }
    return lines;
}

/// Names of a register and its parts. rdi, rsi, rdx, rcx, r8, r9.
const std::array<std::set<std::string>, 7> kNames = {{
    {},
    {"%rdi", "%edi", "%di", "%dil"},
    {"%rsi", "%esi", "%si", "%sil"},
    {"%rdx", "%edx", "%dx", "%dl", "%dh"},
    {"%rcx", "%ecx", "%cx", "%cl", "%ch"},
    {"%r8", "%r8d", "%r8w", "%r8b"},
    {"%r9", "%r9d", "%r9w", "%r9b"},
}};

bool begins_with_any(const std::string& text, std::initializer_list<const char*> beginnings) {
    return std::any_of(beginnings.begin(), beginnings.end(), [&](const char* beginning) { return text.starts_with(beginning); });
}

bool only_reads(const Line& line) {
    return begins_with_any(line.mnemonic, {"cmp", "test", "nop", "endbr64", "bt", "comis", "ucomis", "vucomis", "vcomis", "ptest",
                                           "prefetch", "data16", "cs", "bnd", "xchg"}) &&
           line.mnemonic != "btr" && line.mnemonic != "bts" && line.mnemonic != "btc" && !line.mnemonic.starts_with("cmpxchg") &&
           !(line.mnemonic == "xchg" && line.operands != std::vector<std::string>{"%ax", "%ax"});
}

/// What objdump's text says is written: the last operand, and what multiplications and their like write beside it.
bool writes(const Line& line, int argument) {
    const auto& names = kNames[static_cast<std::size_t>(argument)];
    if (only_reads(line) || line.operands.empty()) {
        return argument == 3 && begins_with_any(line.mnemonic, {"cqto", "cltd", "cwtd", "rdtsc"});
    }
    if (argument == 3 && line.operands.size() == 1 && begins_with_any(line.mnemonic, {"mul", "imul", "div", "idiv"})) {
        return true;
    }
    return names.contains(line.operands.back()) || (line.mnemonic == "xchg" && names.contains(line.operands.front()));
}

bool is_emulated_line(const Line& line) {
    return line.mnemonic == "nop" || line.mnemonic == "push" || line.mnemonic == "call" ||
           (line.mnemonic.starts_with('j') && !line.mnemonic.ends_with("cxz"));
}

struct Checked {
    std::size_t functions = 0;
    std::size_t behind_entry = 0;
    std::size_t emulated = 0;
};

void check_function(const std::map<std::uint64_t, Line>& lines, const ElfFunction& function, const Placement& found,
                    std::uint8_t wanted, Checked& checked) {
    const std::string where = function.name + "+" + std::to_string(found.offset) + " (" + found.reason + ")";
    ++checked.functions;
    ASSERT_LT(found.offset, function.size) << where;
    const auto probed = lines.find(function.address + found.offset);
    ASSERT_NE(probed, lines.end()) << where << " is in the middle of an instruction";
    checked.emulated += found.cost == HitCost::emulated ? 1 : 0;
    EXPECT_EQ(is_emulated_line(probed->second), found.cost == HitCost::emulated) << where << ": " << probed->second.mnemonic;
    if (found.offset == 0) {
        return;
    }
    ++checked.behind_entry;
    for (auto line = lines.find(function.address); line != probed; ++line) {
        ASSERT_NE(line, lines.end()) << where;
        const auto& [address, skipped] = *line;
        const auto& last = skipped.operands.empty() ? std::string() : skipped.operands.back();
        for (int argument = 1; argument <= 6; ++argument) {
            const auto number = static_cast<std::size_t>(argument);
            const bool in_place = (wanted >> argument & 1) != 0 && found.registers[number] == argument;
            EXPECT_FALSE(in_place && writes(skipped, argument))
                << where << ": argument " << argument << " by " << skipped.mnemonic;
        }
        EXPECT_FALSE(!only_reads(skipped) && last.ends_with(')')) << where << " steps over a store: " << skipped.mnemonic;
        EXPECT_FALSE(!only_reads(skipped) && (last == "%rsp" || last == "%rbp" || last == "%rbx")) << where;
        EXPECT_FALSE(is_emulated_line(skipped) || begins_with_any(skipped.mnemonic, {"ret", "syscall", "pop", "leave", "int"}))
            << where << " steps over " << skipped.mnemonic;
    }
}

TEST(EveryFunction, OfTheCLibraryIsProbedOnAnInstructionWithItsArgumentsInPlace) {
    const auto path = find_library("libc.so.6");
    ASSERT_TRUE(path);
    const auto lines = disassemble(*path);
    ASSERT_GT(lines.size(), 100'000U) << "objdump, of binutils, is needed";
    const auto elf = read_elf(*path, [](std::string_view) { return true; }, false);
    ASSERT_TRUE(elf);
    std::ifstream file(*path, std::ios::binary);
    Checked checked;
    for (const auto& function : elf->functions) {
        std::vector<std::uint8_t> code(std::min<std::uint64_t>(function.size, 1 << 16));
        file.seekg(static_cast<std::streamoff>(function.file_offset));
        file.read(reinterpret_cast<char*>(code.data()), static_cast<std::streamsize>(code.size()));
        if (code.empty()) {
            continue;
        }
        for (const std::uint8_t wanted : {0b10, 0b110, 0b1000, 0b1111110}) {
            const auto found = place_probe({code, function.size, function.address, wanted, LongNops::stepped});
            check_function(lines, function, found, wanted, checked);
        }
    }
    EXPECT_GT(checked.functions, 4U * 2'000);
    EXPECT_GT(checked.behind_entry, checked.functions / 10);
    EXPECT_GT(checked.emulated, checked.functions / 2);
}

} // namespace
} // namespace memtrace

#endif
