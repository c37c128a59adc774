#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "frame_section_builder.hpp"
#include "unwind/table_cache.hpp"

namespace {

using namespace memtrace;
namespace fs = std::filesystem;

class UnwindCache : public testing::Test {
protected:
    UnwindCache() {
        char name[] = "/tmp/memtrace-unwind-XXXXXX";
        base_ = mkdtemp(name);
        FrameSectionBuilder section;
        const auto common = section.common();
        section.function(common, 0x1000, 700, {0x41, 0x0e, 16, 0x86, 2});
        table_ = build_table({section.bytes(), FrameSectionBuilder::kAddress, false});
    }
    ~UnwindCache() override { fs::remove_all(base_); }
    [[nodiscard]] std::string directory() const { return base_ + "/cache"; }
    [[nodiscard]] std::string file() const { return directory() + "/0123abcd.unwind"; }
    void damage(std::size_t offset) const {
        std::fstream out(file(), std::ios::in | std::ios::out | std::ios::binary);
        out.seekg(static_cast<std::streamoff>(offset));
        const char byte = static_cast<char>(out.get() ^ 1);
        out.seekp(static_cast<std::streamoff>(offset));
        out.put(byte);
    }

    const ObjectIdentity identity_{"0123abcd", {0x4000, TableCache::kSmallest}, {}};
    std::string base_;
    std::optional<UnwindTable> table_;
};

TEST_F(UnwindCache, WhatIsStoredIsFoundAgain) {
    const TableCache cache(directory());
    EXPECT_FALSE(cache.load(identity_));
    cache.store(identity_, *table_);
    const auto found = cache.load(identity_);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->words(), table_->words());
    EXPECT_EQ(found->first(), table_->first());
    EXPECT_EQ(std::distance(fs::directory_iterator(directory()), {}), 1) << "no temporary file stays";
}

TEST_F(UnwindCache, AnotherObjectIsNotMistakenForIt) {
    const TableCache cache(directory());
    cache.store(identity_, *table_);
    auto other = identity_;
    other.eh_frame.address += 16;
    EXPECT_FALSE(cache.load(other));
    other = identity_;
    other.eh_frame.size += 16;
    EXPECT_FALSE(cache.load(other));
    other = identity_;
    other.debug_frame.size = 16;
    EXPECT_FALSE(cache.load(other));
}

TEST_F(UnwindCache, EachDamagedByteIsNoticed) {
    const TableCache cache(directory());
    cache.store(identity_, *table_);
    const auto size = fs::file_size(file());
    for (std::size_t offset = 0; offset < size; ++offset) {
        damage(offset);
        EXPECT_FALSE(cache.load(identity_)) << "byte " << offset;
        damage(offset);
    }
    EXPECT_TRUE(cache.load(identity_));
    fs::resize_file(file(), size - 4);
    EXPECT_FALSE(cache.load(identity_));
}

TEST_F(UnwindCache, WhatOthersCanWriteToIsNotTrusted) {
    const TableCache cache(directory());
    cache.store(identity_, *table_);
    ASSERT_EQ(chmod(directory().c_str(), 0777), 0);
    EXPECT_FALSE(cache.load(identity_));
    fs::remove(file());
    cache.store(identity_, *table_);
    EXPECT_FALSE(fs::exists(file()));
}

TEST_F(UnwindCache, LinksAreNotFollowed) {
    const TableCache cache(directory());
    cache.store(identity_, *table_);
    fs::rename(file(), base_ + "/elsewhere");
    fs::create_symlink(base_ + "/elsewhere", file());
    EXPECT_FALSE(cache.load(identity_));
}

TEST_F(UnwindCache, SmallAndNamelessObjectsAreNotKept) {
    const TableCache cache(directory());
    cache.store({"", {0x4000, TableCache::kSmallest}, {}}, *table_);
    cache.store({"0123abcd", {0x4000, TableCache::kSmallest - 1}, {}}, *table_);
    cache.store({"../escape", {0x4000, TableCache::kSmallest}, {}}, *table_);
    EXPECT_FALSE(fs::exists(directory()));
}

TEST_F(UnwindCache, TheOldestGo) {
    const TableCache cache(directory());
    for (std::size_t i = 0; i < TableCache::kMostFiles + 5; ++i) {
        auto identity = identity_;
        identity.build_id = std::to_string(1000 + i);
        cache.store(identity, *table_);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(directory()), {}), static_cast<std::ptrdiff_t>(TableCache::kMostFiles));
}

TEST_F(UnwindCache, WhereNothingCanBeWrittenNothingHappens) {
    const TableCache cache("/proc/self/nowhere");
    cache.store(identity_, *table_);
    EXPECT_FALSE(cache.load(identity_));
    EXPECT_FALSE(TableCache("").load(identity_));
}

} // namespace
