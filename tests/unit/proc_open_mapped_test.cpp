// open_mapped(): the file of a mapping and no other, though the process maps and unmaps meanwhile. Tried on this process.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "proc/maps.hpp"

namespace memtrace {
namespace {

/// Two files, and a page where either is mapped.
class OpenMapped : public ::testing::Test {
protected:
    OpenMapped() : directory_(std::filesystem::temp_directory_path() / ("open_mapped." + std::to_string(::getpid()))) {
        std::filesystem::create_directory(directory_);
        for (const auto& name : {first_, second_}) {
            std::ofstream(directory_ / name) << std::string(4096, 'x');
        }
    }
    ~OpenMapped() override {
        ::munmap(page_, kPage);
        std::filesystem::remove_all(directory_);
    }
    OpenMapped(const OpenMapped&) = delete;
    OpenMapped& operator=(const OpenMapped&) = delete;

    void map(const std::string& name) {
        const UniqueFd fd(::open((directory_ / name).c_str(), O_RDONLY | O_CLOEXEC));
        ASSERT_TRUE(fd);
        page_ = ::mmap(page_, kPage, PROT_READ, MAP_PRIVATE | (page_ != nullptr ? MAP_FIXED : 0), fd.get(), 0);
        ASSERT_NE(page_, MAP_FAILED);
    }
    [[nodiscard]] Mapping mapping() const {
        const auto mappings = read_maps(::getpid());
        for (const auto& mapping : mappings ? *mappings : std::vector<Mapping>()) {
            if (mapping.start == reinterpret_cast<std::uint64_t>(page_)) {
                return mapping;
            }
        }
        return {};
    }
    [[nodiscard]] bool is(const UniqueFd& fd, const std::string& name) const {
        struct stat one{};
        struct stat other{};
        return ::fstat(fd.get(), &one) == 0 && ::stat((directory_ / name).c_str(), &other) == 0 && one.st_ino == other.st_ino;
    }

    static constexpr std::size_t kPage = 4096;
    const std::string first_ = "first";
    const std::string second_ = "second";
    std::filesystem::path directory_;
    void* page_ = nullptr;
};

TEST_F(OpenMapped, WhatIsStillMapped) {
    map(first_);
    const auto fd = open_mapped(::getpid(), mapping());
    ASSERT_TRUE(fd) << fd.error().message;
    EXPECT_TRUE(is(*fd, first_));
    EXPECT_TRUE(std::filesystem::equivalent(path_of(*fd), directory_ / first_));
}

TEST_F(OpenMapped, AnotherFileLiesThereNow) {
    map(first_);
    const auto before = mapping();
    map(second_);
    const auto fd = open_mapped(::getpid(), before); // by its path
    ASSERT_TRUE(fd) << fd.error().message;
    EXPECT_TRUE(is(*fd, first_));
}

TEST_F(OpenMapped, AnotherFileLiesThereAndThePathIsGone) {
    map(first_);
    const auto before = mapping();
    map(second_);
    std::filesystem::remove(directory_ / first_);
    EXPECT_FALSE(open_mapped(::getpid(), before));
}

TEST_F(OpenMapped, AnotherFileHasThePathNow) {
    map(first_);
    const auto before = mapping();
    map(second_);
    std::filesystem::rename(directory_ / second_, directory_ / first_);
    EXPECT_FALSE(open_mapped(::getpid(), before));
}

TEST_F(OpenMapped, DeletedButMapped) {
    map(first_);
    std::filesystem::remove(directory_ / first_);
    EXPECT_TRUE(open_mapped(::getpid(), mapping()));
}

TEST_F(OpenMapped, NothingIsThere) {
    map(first_);
    auto gone = mapping();
    gone.start += 1ull << 40;
    gone.end += 1ull << 40;
    gone.path = "/nowhere";
    EXPECT_FALSE(open_mapped(::getpid(), gone));
}

} // namespace
} // namespace memtrace
