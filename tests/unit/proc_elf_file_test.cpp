// Real files, and the same ones cut and bent.
#include "proc/elf_file.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "proc/maps.hpp"

namespace memtrace {
namespace {

bool is_malloc_or_free(std::string_view name) {
    return name == "malloc" || name == "free";
}
bool everything(std::string_view) {
    return true;
}
bool nothing(std::string_view) {
    return false;
}

std::vector<std::string> names(const ElfFile& file) {
    std::vector<std::string> out;
    for (const auto& function : file.functions) {
        out.push_back(function.name);
    }
    return out;
}

/// A mapping of this process and an address in it.
Mapping mapping_of(std::uint64_t address) {
    const auto mappings = read_maps(::getpid());
    for (const auto& mapping : mappings ? *mappings : std::vector<Mapping>()) {
        if (mapping.start <= address && address < mapping.end) {
            return mapping;
        }
    }
    ADD_FAILURE() << "nothing is mapped at " << address;
    return {};
}

/// Of a function that nothing but the C library defines (a sanitizer, say, has a malloc of its own).
constexpr const char* kLibcFunction = "gnu_get_libc_version";
std::uint64_t libc_address() {
    return reinterpret_cast<std::uint64_t>(::dlsym(RTLD_DEFAULT, kLibcFunction));
}

/// Small programs, compiled once.
class ElfPrograms : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        auto pattern = (std::filesystem::temp_directory_path() / "memtrace-elf-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        std::ofstream(path("small.c"))
            << "#include <stdlib.h>\n"
               "void* keep(unsigned long n) { return malloc(n); }\n"
               "static __attribute__((noinline)) int hidden(int n) { return n + 1; }\n"
               "int main(int argc, char** argv) { (void)argv; return keep(1) == 0 ? hidden(argc) : 0; }\n";
        std::ofstream(path("go.c")) << "__attribute__((section(\".go.buildinfo\"), used)) static const char info[32] = \"x\";\n"
                                       "int main(void) { return 0; }\n";
        compile("-O1 -Wl,--build-id=0x00112233445566778899aabbccddeeff", "small.c", "dynamic");
        compile("-O1 -static -Wl,--build-id=none", "small.c", "static");
        compile("-O1 -s", "small.c", "stripped");
        compile("-O1", "go.c", "go");
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(directory_); }

    static std::string path(const std::string& name) { return directory_ / name; }
    static void compile(const std::string& flags, const std::string& source, const std::string& name) {
        ASSERT_EQ(std::system(("gcc " + flags + " -o " + path(name) + " " + path(source)).c_str()), 0) << name;
    }
    static ElfFile read(const std::string& name, bool (*wanted)(std::string_view), bool with_symtab) {
        const auto file = read_elf(path(name), wanted, with_symtab);
        EXPECT_TRUE(file) << (file ? "" : file.error().message);
        return file ? *file : ElfFile{};
    }
    static std::string bytes_of(const std::string& file) {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    static inline std::filesystem::path directory_;
};

// ---- the C library of this process --------------------------------------------------------------------------------------------

TEST(ReadElf, FunctionsOfTheCLibraryLieWhereTheyAreCalled) {
    const auto mapping = mapping_of(libc_address());
    const auto libc =
        read_elf(mapping.path, [](std::string_view name) { return name == kLibcFunction || name == "strlen"; }, false);
    ASSERT_TRUE(libc) << libc.error().message;
    EXPECT_TRUE(libc->is_64bit);
    EXPECT_TRUE(libc->is_native);
    EXPECT_TRUE(libc->is_dynamic);
    EXPECT_FALSE(libc->is_go);
    EXPECT_GE(libc->build_id.size(), 16U);
    EXPECT_EQ(libc->build_id.find_first_not_of("0123456789abcdef"), std::string::npos);
    const auto found = std::find_if(libc->functions.begin(), libc->functions.end(),
                                    [](const ElfFunction& function) { return function.name == kLibcFunction; });
    ASSERT_NE(found, libc->functions.end());
    EXPECT_EQ(found->file_offset, libc_address() - mapping.start + mapping.file_offset);
    EXPECT_EQ(libc->address_of(found->file_offset), found->address);
    EXPECT_GT(found->size, 0U);
    EXPECT_TRUE(std::is_sorted(libc->functions.begin(), libc->functions.end(),
                               [](const auto& a, const auto& b) { return a.file_offset < b.file_offset; }));
    const auto all = names(*libc);
    EXPECT_EQ(std::count(all.begin(), all.end(), "strlen"), 0) << "an IFUNC's symbol is its resolver, not the function";
}

TEST(ReadElf, NamesComeWithoutTheirVersions) {
    const auto libc = read_elf(mapping_of(libc_address()).path, everything, true);
    ASSERT_TRUE(libc);
    EXPECT_GT(libc->functions.size(), 1'000U);
    for (const auto& function : libc->functions) {
        EXPECT_EQ(function.name.find('@'), std::string::npos) << function.name;
        EXPECT_FALSE(function.name.empty());
    }
}

// ---- programs of several kinds ------------------------------------------------------------------------------------------------

TEST_F(ElfPrograms, SymtabIsReadOnlyWhenAskedFor) {
    EXPECT_TRUE(names(read("dynamic", [](std::string_view n) { return n == "keep" || n == "hidden"; }, false)).empty());
    const auto file = read("dynamic", [](std::string_view n) { return n == "keep" || n == "hidden" || n == "malloc"; }, true);
    auto found = names(file);
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, (std::vector<std::string>{"hidden", "keep"})) << "malloc is only asked for here, not defined";
    EXPECT_EQ(file.build_id, "00112233445566778899aabbccddeeff");
    EXPECT_TRUE(file.is_dynamic);
}

TEST_F(ElfPrograms, StaticProgramHasItsOwnMalloc) {
    const auto file = read("static", is_malloc_or_free, true);
    auto found = names(file);
    EXPECT_TRUE(std::find(found.begin(), found.end(), "malloc") != found.end());
    EXPECT_FALSE(file.is_dynamic);
    EXPECT_EQ(file.build_id, "");
    EXPECT_TRUE(std::any_of(file.segments.begin(), file.segments.end(), [](const auto& segment) { return segment.executable; }));
}

TEST_F(ElfPrograms, StrippedProgramHasNoFunctionsButIsRead) {
    const auto file = read("stripped", [](std::string_view n) { return n == "keep" || n == "main"; }, true);
    EXPECT_TRUE(file.functions.empty());
    EXPECT_FALSE(file.segments.empty());
}

TEST_F(ElfPrograms, GoIsToldByItsSections) {
    EXPECT_TRUE(read("go", nothing, false).is_go);
    EXPECT_FALSE(read("dynamic", nothing, false).is_go);
    if (const auto tool = read_elf("/usr/bin/go", nothing, false)) { // a real one, where there is one
        EXPECT_TRUE(tool->is_go);
    }
}

TEST_F(ElfPrograms, OtherMachinesAreNotNative) {
    auto bytes = bytes_of(path("dynamic"));
    bytes[18] = 0x15; // e_machine: PowerPC 64
    bytes[19] = 0;
    std::ofstream(path("foreign"), std::ios::binary) << bytes;
    const auto file = read("foreign", nothing, true);
    EXPECT_TRUE(file.is_64bit);
    EXPECT_FALSE(file.is_native);
}

TEST_F(ElfPrograms, WhatIsNoElfFileIsAnError) {
    std::ofstream(path("text")) << "#!/bin/sh\necho\n";
    std::ofstream(path("empty"));
    for (const char* name : {"text", "empty"}) {
        const auto file = read_elf(path(name), everything, true);
        ASSERT_FALSE(file);
        EXPECT_EQ(file.error().message, path(name) + " is no ELF file");
    }
    EXPECT_FALSE(read_elf(directory_, everything, true));
    EXPECT_EQ(read_elf(path("missing"), everything, true).error().errnum, ENOENT);
    EXPECT_FALSE(read_elf("/dev/null", everything, true));
}

// A fifo without a writer must not hold the tool up.
TEST_F(ElfPrograms, FifoIsRefusedAtOnce) {
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
    EXPECT_FALSE(read_elf(path("fifo"), everything, true));
}

// ---- damage -------------------------------------------------------------------------------------------------------------------

/// Every figure must at least agree with the file that it is said to be of.
void expect_sane(const ElfFile& file) {
    for (const auto& function : file.functions) {
        const bool inside = std::any_of(file.segments.begin(), file.segments.end(), [&](const ElfSegment& segment) {
            return segment.executable && function.file_offset - segment.file_offset < segment.file_size;
        });
        EXPECT_TRUE(inside) << function.name;
    }
    EXPECT_LE(file.build_id.size(), 128U);
}

TEST_F(ElfPrograms, CLibraryTruncatedAtEvery997thByte) {
    const auto copy = path("libc-cut");
    std::filesystem::copy_file(mapping_of(libc_address()).path, copy);
    auto size = std::filesystem::file_size(copy);
    unsigned refused = 0;
    for (; size > 997; size -= 997) {
        std::filesystem::resize_file(copy, size);
        const auto file = read_elf(copy, is_malloc_or_free, true);
        file ? expect_sane(*file) : void(++refused);
    }
    std::filesystem::resize_file(copy, 40); // not even a header
    EXPECT_FALSE(read_elf(copy, is_malloc_or_free, true));
    EXPECT_EQ(refused, 0U) << "with a header it is read as far as it goes";
}

TEST_F(ElfPrograms, EveryBentByteOfASmallProgramIsBorne) {
    const auto copy = path("bent");
    auto bytes = bytes_of(path("dynamic"));
    std::ofstream(copy, std::ios::binary) << bytes;
    const int fd = ::open(copy.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    std::mt19937 random(17);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        // The headers of the file and of its segments at every byte, the rest at some.
        if (at > 1'024 && at < bytes.size() - 2'048 && random() % 8 != 0) {
            continue;
        }
        for (const int mask : {0xff, 1 << (random() % 8)}) {
            const char bent = static_cast<char>(bytes[at] ^ mask);
            ASSERT_EQ(::pwrite(fd, &bent, 1, static_cast<off_t>(at)), 1);
            if (const auto file = read_elf(copy, everything, true)) {
                expect_sane(*file);
            }
        }
        ASSERT_EQ(::pwrite(fd, &bytes[at], 1, static_cast<off_t>(at)), 1);
    }
    ::close(fd);
}

TEST_F(ElfPrograms, ManyBentBytesAtOnceAreBorne) {
    const auto whole = bytes_of(path("dynamic"));
    const auto copy = path("shaken");
    std::mt19937 random(23);
    for (int round = 0; round < 1'000; ++round) {
        auto bytes = whole;
        for (unsigned i = 0; i < 1 + random() % 40; ++i) {
            // Half of them where the headers are.
            const auto range = random() % 2 == 0 ? std::size_t{1'024} : bytes.size();
            bytes[16 + random() % (range - 16)] = static_cast<char>(random());
        }
        std::ofstream(copy, std::ios::binary | std::ios::trunc) << bytes;
        if (const auto file = read_elf(copy, everything, true)) {
            expect_sane(*file);
        }
    }
}

// ---- addresses ----------------------------------------------------------------------------------------------------------------

TEST(ElfFile, AddressOfAnOffset) {
    ElfFile file;
    file.segments = {{0, 0x1000, 0x400000, false}, {0x1000, 0x2000, 0x402000, true}, {0x3000, 0x10, 0x500000, false}};
    EXPECT_EQ(file.address_of(0x1000), 0x402000U);
    EXPECT_EQ(file.address_of(0x2fff), 0x403fffU);
    EXPECT_EQ(file.address_of(0x3000), 0x3000U) << "not in the code";
    EXPECT_EQ(file.address_of(0x10), 0x10U);
    EXPECT_EQ(file.address_of(~0ULL), ~0ULL);
}

} // namespace
} // namespace memtrace
