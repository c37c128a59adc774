// The attach cookie's packing and the size of an array, as the kernel half computes them.
#include "bpf/signature.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace {

void expect_round_trip(const mt_signature& in) {
    const auto cookie = mt_signature_pack(in);
    const auto out = mt_signature_unpack(cookie);
    EXPECT_EQ(out.size, in.size);
    EXPECT_EQ(out.count, in.count);
    EXPECT_EQ(out.ptr, in.ptr);
    EXPECT_EQ(out.out, in.out);
    EXPECT_EQ(out.function, in.function);
    EXPECT_EQ(out.slot, in.slot);
    EXPECT_EQ(cookie >> 48, 0U) << "the upper 16 bits are kept free";
}

TEST(Signature, EveryCombinationOfArgumentsComesBack) {
    for (unsigned roles = 0; roles <= 0xffff; ++roles) {
        mt_signature s{};
        s.size = roles & 15;
        s.count = roles >> 4 & 15;
        s.ptr = roles >> 8 & 15;
        s.out = roles >> 12 & 15;
        expect_round_trip(s);
        if (::testing::Test::HasFailure()) {
            FAIL() << "first at " << roles;
        }
    }
}

TEST(Signature, FunctionsAndSlotsUpToTheLastComeBackBesideFullArguments) {
    for (const unsigned value : {0U, 1U, 2U, 255U, 256U, 0x7fffU, 0x8000U, 0xfffeU, 0xffffU}) {
        const auto half = static_cast<__u16>(value);
        expect_round_trip({0, 0, 0, 0, half, 0});
        expect_round_trip({0, 0, 0, 0, 0, half});
        expect_round_trip({6, 6, 6, 6, half, static_cast<__u16>(~half)});
    }
}

// The layout that the comment above the code gives, written out by hand.
TEST(Signature, BitsLieWhereTheHeaderSays) {
    EXPECT_EQ(mt_signature_pack({1, 0, 0, 0, 0, 0}), 0x1U);
    EXPECT_EQ(mt_signature_pack({0, 1, 0, 0, 0, 0}), 0x10U);
    EXPECT_EQ(mt_signature_pack({0, 0, 1, 0, 0, 0}), 0x100U);
    EXPECT_EQ(mt_signature_pack({0, 0, 0, 1, 0, 0}), 0x1000U);
    EXPECT_EQ(mt_signature_pack({0, 0, 0, 0, 1, 0}), 0x1'0000U);
    EXPECT_EQ(mt_signature_pack({0, 0, 0, 0, 0, 1}), 0x1'0000'0000U);
    EXPECT_EQ(mt_signature_pack({6, 5, 4, 3, 0xabcd, 0xef01}), 0xef01'abcd'3456U);
}

TEST(Signature, AnArgumentNumberTooLargeDoesNotSpillIntoItsNeighbour) {
    const auto out = mt_signature_unpack(mt_signature_pack({0xff, 0, 0xff, 0, 0, 0}));
    EXPECT_EQ(out.size, 15U);
    EXPECT_EQ(out.count, 0U);
    EXPECT_EQ(out.ptr, 15U);
    EXPECT_EQ(out.out, 0U);
    EXPECT_EQ(out.function, 0U);
}

TEST(Signature, MarkOfASteppedProbeTouchesNoField) {
    const auto cookie = mt_signature_pack({6, 5, 4, 3, 0xabcd, 0xffff});
    EXPECT_EQ(cookie & MT_COOKIE_STEPPED, 0U);
    const auto out = mt_signature_unpack(cookie | MT_COOKIE_STEPPED);
    EXPECT_EQ(mt_signature_pack(out), cookie);
}

// What 128 bits say.
__u64 product(__u64 count, __u64 size) {
    const auto exact = static_cast<unsigned __int128>(count) * size;
    return exact >> 64 != 0 ? ~0ULL : static_cast<__u64>(exact);
}

// Every power of two, one less and one more; and the neighbours of the largest factor that still fits.
TEST(TotalSize, EveryPairOfEdgesIsExactOrAllOnes) {
    std::vector<__u64> edges{0, 3, 5, 6, 7, 10, 0xffff'ffff'ffff'fffe, 0xaaaa'aaaa'aaaa'aaaa, 0x5555'5555'5555'5555};
    for (int shift = 0; shift < 64; ++shift) {
        const auto power = 1ULL << shift;
        edges.insert(edges.end(), {power - 1, power, power + 1, ~power});
    }
    for (const auto count : edges) {
        for (const auto size : edges) {
            ASSERT_EQ(mt_total_size(count, size), product(count, size)) << count << " * " << size;
        }
        for (const __u64 size : {count != 0 ? ~0ULL / count : 0, count > 1 ? ~0ULL / count + 1 : 0}) {
            ASSERT_EQ(mt_total_size(count, size), product(count, size)) << count << " * " << size;
        }
    }
}

TEST(TotalSize, RandomPairsOfEveryWidthAreExactOrAllOnes) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 2'000'000; ++i) {
        const auto widths = random();
        const auto count = random() >> (widths & 63);
        const auto size = random() >> (widths >> 6 & 63);
        ASSERT_EQ(mt_total_size(count, size), product(count, size)) << count << " * " << size;
    }
}

} // namespace
