// Damaged files: cut short, bytes changed, counts out of all proportion. Whatever comes out, it must come, and not crash.
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/fd.hpp"
#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;

class SymbolDamageTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        TemporaryDirectory directory;
        Program program(directory, "whole", "-g");
        whole_ = read_file(program.path);
        for (const auto& [mark, address] : program.addresses()) {
            addresses_.push_back(address);
        }
    }

    /// Looks up every call of the program in a damaged copy of it, as a file that is mapped or one that is read. Returns how many
    /// functions still had a name.
    static std::size_t names_in(const std::string& bytes, bool mapped) {
        UniqueFd fd(::memfd_create("damaged", MFD_CLOEXEC));
        EXPECT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
        EXPECT_EQ(::fchmod(fd.get(), mapped ? 0644 : 0666), 0);
        Symbolizer symbolizer;
        EXPECT_TRUE(symbolizer.add_module(kModule, ModuleFile{"/damaged", "", "", fd.get()}));
        std::size_t named = 0;
        for (const auto address : addresses_) {
            symbolizer.follows_call(Frame{kModule, address});
            const auto lines = resolve(symbolizer, address);
            EXPECT_FALSE(lines.empty());
            named += lines.back().function.empty() ? 0 : 1;
        }
        return named;
    }

    static std::string whole_;
    static std::vector<std::uint64_t> addresses_;
};

std::string SymbolDamageTest::whole_;
std::vector<std::uint64_t> SymbolDamageTest::addresses_;

TEST_F(SymbolDamageTest, WholeFileHasAllNames) {
    EXPECT_EQ(names_in(whole_, false), addresses_.size());
    EXPECT_EQ(names_in(whole_, true), addresses_.size());
}

TEST_F(SymbolDamageTest, CutAtManyLengths) {
    // Each length near the beginning, where the headers are, and near the end, where the section table is; steps between.
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < 400; ++i) {
        lengths.push_back(i);
        lengths.push_back(whole_.size() - 1 - i * 7 % 4000);
    }
    for (std::size_t length = 400; length < whole_.size(); length += 61) {
        lengths.push_back(length);
    }
    for (const auto length : lengths) {
        names_in(whole_.substr(0, length), length % 2 == 0);
    }
    EXPECT_EQ(names_in(whole_.substr(0, 63), true), 0u);
}

TEST_F(SymbolDamageTest, ChangedBytes) {
    std::mt19937 random(5);
    for (int i = 0; i < 4000; ++i) {
        std::string bytes = whole_;
        const int changes = 1 << (random() % 7);
        for (int change = 0; change < changes; ++change) {
            bytes[random() % bytes.size()] = static_cast<char>(random());
        }
        names_in(bytes, i % 2 == 0);
    }
}

TEST_F(SymbolDamageTest, ChangedBytesInOneSectionEach) {
    Elf64_Ehdr header;
    std::memcpy(&header, whole_.data(), sizeof(header));
    std::mt19937 random(6);
    for (unsigned index = 0; index < header.e_shnum; ++index) {
        Elf64_Shdr section;
        std::memcpy(&section, whole_.data() + header.e_shoff + index * sizeof(section), sizeof(section));
        if (section.sh_type == SHT_NOBITS || section.sh_size == 0) {
            continue;
        }
        for (int i = 0; i < 100; ++i) {
            std::string bytes = whole_;
            // Also at the very beginning, where lengths and versions stand.
            const std::size_t reach = i % 2 == 0 ? section.sh_size : std::min<std::size_t>(section.sh_size, 64);
            for (int change = 0; change <= i / 25; ++change) {
                bytes[section.sh_offset + random() % reach] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
            }
            names_in(bytes, i % 2 == 0);
        }
    }
}

TEST_F(SymbolDamageTest, StringsThatRunOffTheirSection) {
    Elf64_Ehdr header;
    std::memcpy(&header, whole_.data(), sizeof(header));
    for (unsigned index = 0; index < header.e_shnum; ++index) {
        Elf64_Shdr section;
        std::memcpy(&section, whole_.data() + header.e_shoff + index * sizeof(section), sizeof(section));
        for (const std::uint64_t tail : {1, 8, 100, 100'000}) {
            if (section.sh_type == SHT_NOBITS || section.sh_size == 0) {
                continue;
            }
            std::string bytes = whole_;
            const auto count = std::min(tail, section.sh_size);
            bytes.replace(section.sh_offset + section.sh_size - count, count, std::string(count, 'x'));
            names_in(bytes, true);
            names_in(bytes, false);
        }
    }
}

TEST_F(SymbolDamageTest, HugeCountsAndOffsets) {
    const std::vector<std::uint64_t> values{
        0, 1, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff, 0xfffffffffffff000};
    auto with = [](std::size_t offset, std::uint64_t value, std::size_t size) {
        std::string bytes = whole_;
        std::memcpy(bytes.data() + offset, &value, size);
        return bytes;
    };
    for (const auto value : values) {
        for (std::size_t offset = 16; offset < sizeof(Elf64_Ehdr); offset += 2) {
            names_in(with(offset, value, 2), value % 2 == 0);
        }
        for (std::size_t offset = 24; offset < 48; offset += 8) {
            names_in(with(offset, value, 8), value % 2 == 0);
        }
    }
    Elf64_Ehdr header;
    std::memcpy(&header, whole_.data(), sizeof(header));
    const std::size_t tables[] = {header.e_phoff, header.e_shoff};
    const std::size_t sizes[] = {header.e_phnum * sizeof(Elf64_Phdr), header.e_shnum * sizeof(Elf64_Shdr)};
    for (int table = 0; table < 2; ++table) {
        for (std::size_t at = 0; at + 8 <= sizes[table]; at += 8) {
            for (const auto value : values) {
                names_in(with(tables[table] + at, value, 8), at % 16 == 0);
            }
        }
    }
}

TEST_F(SymbolDamageTest, FilesThatAreNoElf) {
    for (const std::string& bytes :
         {std::string(),
          std::string("\x7f"
                      "ELF"),
          std::string(100'000, '\xff'), std::string(64, '\0'), std::string("!<arch>\n") + std::string(200, 'x')}) {
        EXPECT_EQ(names_in(bytes, true), 0u);
    }
}

} // namespace
} // namespace memtrace
