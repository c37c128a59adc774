// The hash that stands for a stack, and the key that stands for a site.
#include "bpf/stack_hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "bpf/types.h"

namespace {

using Stack = std::vector<__u64>;

__u64 hash_of(const Stack& stack) {
    __u64 hash = MT_HASH_SEED;
    for (const auto address : stack) {
        hash = mt_hash_step(hash, address);
    }
    return hash;
}

void expect_all_distinct(std::vector<__u64> hashes) {
    std::sort(hashes.begin(), hashes.end());
    const auto twin = std::adjacent_find(hashes.begin(), hashes.end());
    EXPECT_EQ(twin, hashes.end()) << "of " << hashes.size();
}

// Return addresses of programs differ in few bits and are close together: what a weak mix would confuse. With a good one the chance
// of any collision among 3 million is 2.4e-7.
TEST(StackHash, ThreeMillionStacksOfNearbyAddressesDoNotCollide) {
    std::mt19937_64 random(7);
    std::vector<__u64> code;
    for (const __u64 base : {0x0000'5555'5555'4000ULL, 0x0000'7fff'f7c0'0000ULL, 0x0000'7fff'f7fc'1000ULL}) {
        for (__u64 i = 0; i < 32; ++i) {
            code.push_back(base + i * 16 + 5);
        }
    }
    std::vector<Stack> stacks;
    std::vector<__u64> hashes;
    for (std::size_t i = 0; i < 3'000'000; ++i) {
        Stack stack(6 + random() % 10);
        for (auto& address : stack) {
            address = code[random() % code.size()];
        }
        hashes.push_back(hash_of(stack));
    }
    expect_all_distinct(std::move(hashes));
}

// Exhaustive where random draws would hardly look: all stacks of three frames out of 128 neighbouring addresses.
TEST(StackHash, EveryStackOfThreeNeighbouringFramesIsDistinct) {
    std::vector<__u64> hashes;
    for (__u64 a = 0; a < 128; ++a) {
        for (__u64 b = 0; b < 128; ++b) {
            for (__u64 c = 0; c < 128; ++c) {
                hashes.push_back(hash_of({0x401000 + a, 0x401000 + b, 0x401000 + c}));
            }
        }
    }
    expect_all_distinct(std::move(hashes));
}

TEST(StackHash, OrderAndLengthMatter) {
    EXPECT_NE(hash_of({1, 2}), hash_of({2, 1}));
    EXPECT_NE(hash_of({1, 2, 3}), hash_of({1, 2}));
    EXPECT_NE(hash_of({1, 1}), hash_of({1}));
    Stack recursion;
    std::vector<__u64> hashes;
    for (int depth = 0; depth < MT_MAX_FRAMES; ++depth) {
        recursion.push_back(0x401234);
        hashes.push_back(hash_of(recursion));
    }
    expect_all_distinct(std::move(hashes));
}

TEST(StackHash, EveryOrderOfTheSameFramesIsDistinct) {
    Stack stack{0x401010, 0x401020, 0x401030, 0x401040, 0x401050, 0x401060, 0x401070, 0x401080};
    std::vector<__u64> hashes;
    do {
        hashes.push_back(hash_of(stack));
    } while (std::next_permutation(stack.begin(), stack.end()));
    EXPECT_EQ(hashes.size(), 40'320U);
    expect_all_distinct(std::move(hashes));
}

// A bit that changes in any frame changes about half of the hash once two more frames have been mixed in.
TEST(StackHash, OneBitOfOneFrameChangesManyBitsOfTheHash) {
    const Stack base{0x7ffff7c91235, 0x555555555199, 0x5555555551f0, 0x7ffff7c29d90};
    for (std::size_t frame = 0; frame + 2 < base.size(); ++frame) {
        for (int bit = 0; bit < 64; ++bit) {
            auto changed = base;
            changed[frame] ^= 1ULL << bit;
            EXPECT_GE(__builtin_popcountll(hash_of(changed) ^ hash_of(base)), 10) << "frame " << frame << ", bit " << bit;
        }
    }
}

TEST(SiteKey, TopBitIsSetSoNoSiteIsTheOverflowSite) {
    std::mt19937_64 random(3);
    for (int i = 0; i < 100'000; ++i) {
        EXPECT_EQ(mt_site_key(random(), static_cast<__u32>(random()), static_cast<__u32>(random() & 0xffff)) >> 63, 1U);
    }
    EXPECT_EQ(MT_OVERFLOW_SITE_KEY(~0U) >> 63, 0U);
    EXPECT_NE(MT_OVERFLOW_SITE_KEY(0x10001U), MT_OVERFLOW_SITE_KEY(0x10002U));
}

TEST(SiteKey, StackProcessAndFunctionAllMatter) {
    std::vector<__u64> keys;
    for (__u64 stack = 0; stack < 100; ++stack) {
        for (__u32 slot = 0; slot < 20; ++slot) {
            for (__u32 generation = 1; generation <= 10; ++generation) {
                for (__u32 function = 0; function < 20; ++function) {
                    keys.push_back(mt_site_key(hash_of({0x401000 + stack}), generation << 16 | slot, function));
                }
            }
        }
    }
    EXPECT_EQ(keys.size(), 400'000U);
    expect_all_distinct(std::move(keys));
}

TEST(ProcessKey, SlotIsItsLowHalf) {
    EXPECT_EQ(MT_PROCESS_SLOT(0x0001'0003U), 3U);
    EXPECT_EQ(MT_PROCESS_SLOT(0xffff'ffffU), 0xffffU);
    EXPECT_EQ(MT_PROCESS_SLOT(0x0001'0003U + 0x1'0000U), 3U) << "an exec keeps the slot";
}

} // namespace
