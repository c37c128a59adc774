// Who holds which part of an address space.
#include "model/page_regions.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace memtrace {
namespace {

constexpr PageSiteId kA{1};
constexpr PageSiteId kB{2};

std::uint64_t held(const PageRegions& regions, PageSiteId site) {
    const auto found = regions.usage().find(site);
    return found == regions.usage().end() ? 0 : found->second.mapped_bytes - found->second.unmapped_bytes;
}

TEST(PageRegions, MappedAndUnmappedWhole) {
    PageRegions regions;
    regions.map(0x1000, 0x5000, kA, 1);
    EXPECT_EQ(held(regions, kA), 0x4000U);
    regions.unmap(0x1000, 0x5000, 2);
    EXPECT_EQ(held(regions, kA), 0U);
    EXPECT_EQ(regions.total().mapped_bytes, 0x4000U);
    EXPECT_EQ(regions.total().unmapped_bytes, 0x4000U);
    EXPECT_EQ(regions.total().events, 1U);
}

TEST(PageRegions, HeadTailAndMiddleAreCutOff) {
    PageRegions regions;
    regions.map(0x1000, 0x9000, kA, 1);
    regions.unmap(0x0000, 0x2000, 2);
    EXPECT_EQ(held(regions, kA), 0x7000U);
    regions.unmap(0x8000, 0xf000, 2);
    EXPECT_EQ(held(regions, kA), 0x6000U);
    regions.unmap(0x4000, 0x5000, 2);
    EXPECT_EQ(held(regions, kA), 0x5000U);
    regions.unmap(0x2000, 0x8000, 2); // what is left of it, in two pieces
    EXPECT_EQ(held(regions, kA), 0U);
}

TEST(PageRegions, MappingOverAnotherTakesItsPlace) {
    PageRegions regions;
    regions.map(0x1000, 0x9000, kA, 1);
    regions.map(0x3000, 0x5000, kB, 2);
    EXPECT_EQ(held(regions, kA), 0x6000U);
    EXPECT_EQ(held(regions, kB), 0x2000U);
    regions.unmap(0x0000, 0xa000, 3);
    EXPECT_EQ(held(regions, kA), 0U);
    EXPECT_EQ(held(regions, kB), 0U);
}

TEST(PageRegions, WhatIsUnknownOrEmptyChangesNothing) {
    PageRegions regions;
    regions.unmap(0x1000, 0x2000, 1);
    regions.map(0x5000, 0x5000, kA, 1);
    regions.map(0x6000, 0x5000, kA, 1);
    EXPECT_EQ(regions.total().mapped_bytes, 0U);
    EXPECT_EQ(regions.total().unmapped_bytes, 0U);
}

// A thread moves its memory away; before it can say so, another thread is given the addresses and says so.
TEST(PageRegions, ACallTakesAwayNothingThatIsYoungerThanIt) {
    PageRegions regions;
    regions.map(0x1000, 0x3000, kA, 10);
    regions.map(0x1000, 0x3000, kB, 30);
    regions.unmap(0x1000, 0x3000, 20);
    EXPECT_EQ(held(regions, kA), 0U);
    EXPECT_EQ(held(regions, kB), 0x2000U);
    regions.unmap(0x1000, 0x3000, 31);
    EXPECT_EQ(held(regions, kB), 0U);
}

// Against a table of single pages.
TEST(PageRegions, AgreesWithATableOfPages) {
    constexpr std::uint64_t kPages = 64;
    std::mt19937 random(7);
    for (int round = 0; round < 50; ++round) {
        PageRegions regions;
        std::vector<std::uint32_t> owner(kPages, 0);
        for (std::uint64_t step = 1; step < 200; ++step) {
            const std::uint64_t start = random() % kPages;
            const std::uint64_t end = start + random() % (kPages - start + 1);
            const std::uint32_t site = random() % 4; // 0: unmap
            if (site == 0) {
                regions.unmap(start, end, step);
            } else {
                regions.map(start, end, PageSiteId{site}, step);
            }
            std::fill(owner.begin() + static_cast<std::ptrdiff_t>(start), owner.begin() + static_cast<std::ptrdiff_t>(end), site);
            std::map<std::uint32_t, std::uint64_t> expected;
            for (const auto page : owner) {
                ++expected[page];
            }
            for (std::uint32_t id = 1; id < 4; ++id) {
                ASSERT_EQ(held(regions, PageSiteId{id}), expected[id]) << "round " << round << ", step " << step;
            }
        }
    }
}

} // namespace
} // namespace memtrace
