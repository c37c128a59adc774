// What is told of call sites: what has changed, whatever order the kernel half's map gives them in.
#include "app/site_book.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

namespace memtrace {
namespace {

mt_site site_of(std::uint64_t allocs, std::uint64_t frees, std::uint64_t bytes) {
    mt_site site{};
    site.allocs = allocs << MT_OBJECT_SHIFT;
    site.frees = frees << MT_OBJECT_SHIFT;
    site.allocated_bytes = allocs * bytes;
    site.freed_bytes = frees * bytes;
    return site;
}

class SiteBookTest : public testing::Test {
protected:
    void read(const std::vector<std::pair<std::uint64_t, mt_site>>& entries) {
        book_.begin_sites();
        for (const auto& [key, site] : entries) {
            if (!book_.see(key, site)) {
                book_.define(key, ids_.contains(key) ? ids_[key] : SiteId{static_cast<std::uint32_t>(key)});
                EXPECT_TRUE(book_.see(key, site));
            }
        }
    }
    std::map<std::uint32_t, SiteSample> tell() {
        std::map<std::uint32_t, SiteSample> told;
        allocated_ = book_.tell([&](const Event& event) {
            const auto& sample = std::get<SiteSample>(event);
            EXPECT_TRUE(told.emplace(sample.site.value, sample).second) << "told twice";
        });
        return told;
    }

    SiteBook book_;
    std::map<std::uint64_t, SiteId> ids_;
    std::uint64_t allocated_ = 0;
};

TEST_F(SiteBookTest, OnlyWhatHasChangedIsTold) {
    read({{1, site_of(1, 0, 10)}, {2, site_of(2, 0, 10)}, {3, site_of(3, 1, 10)}});
    EXPECT_EQ(tell().size(), 3U);
    EXPECT_EQ(allocated_, 60U);
    read({{1, site_of(1, 0, 10)}, {2, site_of(5, 1, 10)}, {3, site_of(3, 1, 10)}});
    const auto told = tell();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told.at(2).allocs, 5U);
    EXPECT_EQ(told.at(2).frees, 1U);
    EXPECT_EQ(told.at(2).allocated_bytes, 50U);
    EXPECT_EQ(allocated_, 30U);
    EXPECT_TRUE(tell().empty());
}

TEST_F(SiteBookTest, TheOrderOfTheMapDoesNotMatter) {
    std::vector<std::pair<std::uint64_t, mt_site>> entries;
    for (std::uint64_t key = 1; key <= 500; ++key) {
        entries.emplace_back(key * 0x100000001ULL, site_of(key, 0, 8));
        ids_[key * 0x100000001ULL] = SiteId{static_cast<std::uint32_t>(key)};
    }
    read(entries);
    EXPECT_EQ(tell().size(), 500U);
    std::reverse(entries.begin(), entries.end());
    entries.erase(entries.begin() + 100, entries.begin() + 200); // a map that changes while it is read may leave some out
    read(entries);
    EXPECT_TRUE(tell().empty());
    entries[7].second = site_of(1'000, 0, 8);
    read(entries);
    EXPECT_EQ(tell().at(493).allocs, 1'000U);
}

TEST_F(SiteBookTest, EntriesOfOneSiteAddUp) {
    ids_ = {{10, SiteId{1}}, {11, SiteId{1}}};
    read({{10, site_of(1, 0, 10)}, {11, site_of(2, 1, 10)}});
    EXPECT_EQ(tell().at(1).allocs, 3U);
    read({{11, site_of(4, 1, 10)}, {10, site_of(1, 0, 10)}});
    const auto told = tell();
    EXPECT_EQ(told.at(1).allocs, 5U);
    EXPECT_EQ(told.at(1).frees, 1U);
    EXPECT_EQ(book_.sites(), 1U);
}

TEST_F(SiteBookTest, BlocksAreCountedByCohort) {
    read({{1, site_of(3, 0, 10)}, {2, site_of(1, 0, 10)}});
    const std::vector<std::uint64_t> starts{100, 200};
    book_.begin_ages(starts);
    const mt_weight one{10, MT_OBJECT_ONE, 0, 0};
    for (const std::uint64_t born : {150, 199, 200}) {
        mt_live_block block{};
        block.site = 1;
        block.born_ns = born;
        book_.see_block(block, one, 180, 160);
    }
    mt_live_block unknown{};
    unknown.site = 77;
    book_.see_block(unknown, one, 180, 160);
    auto told = tell();
    EXPECT_EQ(told.at(1).births, (std::vector<std::uint64_t>{2, 1}));
    EXPECT_EQ(told.at(1).oldest_ns, 150U);
    EXPECT_EQ(told.at(1).aged_objects, 1U);
    EXPECT_EQ(told.at(1).aged_bytes, 10U);
    EXPECT_EQ(told.at(1).unverified_objects, 1U);
    EXPECT_TRUE(told.at(2).births.empty());

    book_.begin_ages(starts); // all gone: that is news once
    told = tell();
    EXPECT_EQ(told.at(1).births, (std::vector<std::uint64_t>{0, 0}));
    EXPECT_EQ(told.at(1).oldest_ns, 0U);
    book_.begin_ages(starts);
    EXPECT_TRUE(tell().empty());
}

} // namespace
} // namespace memtrace
