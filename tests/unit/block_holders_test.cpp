#include "analyze/block_holders.hpp"

#include <gtest/gtest.h>

#include <map>

#include "told.hpp"

namespace memtrace {
namespace {

using test::Telling;

constexpr std::uint64_t kA = 0x1000; ///< objects, each in a block of its own
constexpr std::uint64_t kB = 0x2000;
constexpr std::uint64_t kFirst = 0x9000; ///< blocks of 64 bytes
constexpr std::uint64_t kSecond = 0xa000;
constexpr std::uint64_t kGlobal = 0x50000;
constexpr std::uint64_t kStack = 0x70000;
constexpr std::uint64_t kHandle = kSecond + 16;

/// A holds B by a handle in kSecond; B holds A.
class Memory : public testing::Test {
protected:
    Memory() {
        told.create(kA);
        told.create(kB);
        told.acquire(kB, kHandle, 1);
        told.acquire(kA, kB + 8, 1);
        told.pass(10);
        words[kHandle] = kB;
        words[kB + 8] = kA;
    }
    /// Address of who holds what the handle lies in; 0: nobody.
    std::uint64_t owner(bool free_outside = false) {
        BlockHolders holders(told.ledger, {{kSecond, kSecond + 64}, {kA, kA + 64}, {kFirst, kFirst + 64}, {kB, kB + 64}});
        for (const auto root : roots) {
            holders.add_root(root);
        }
        for (auto word = words.begin(); word != words.end();) { // what lies side by side comes together
            const auto start = word->first;
            std::vector<std::uint64_t> run;
            for (; word != words.end() && word->first == start + 8 * run.size(); ++word) {
                run.push_back(word->second);
            }
            holders.add_words(start, run, free_outside);
        }
        EXPECT_TRUE(holders.settle());
        const auto held = holders.held();
        EXPECT_LE(held.size(), 1U);
        if (held.empty()) {
            return 0;
        }
        EXPECT_EQ(told.ledger.handles()[held[0].handle].address, kHandle);
        return told.ledger.objects()[held[0].owner].address;
    }

    Telling told;
    std::map<std::uint64_t, std::uint64_t> words;
    std::vector<std::uint64_t> roots;
};

TEST_F(Memory, OfAVectorIsTheObjects) {
    words[kA + 24] = kSecond;
    EXPECT_EQ(owner(), kA);
}

TEST_F(Memory, ThatNothingLeadsToIsNobodys) {
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, OfAListIsTheObjectsByAChain) {
    words[kA + 24] = kFirst;
    words[kFirst] = kSecond;
    words[kSecond] = kFirst; // and back
    words[kSecond + 8] = kA + 24;
    EXPECT_EQ(owner(), kA);
}

TEST_F(Memory, ThatAChainOfNobodyLeadsToIsNobodys) {
    words[kA + 24] = kSecond;
    words[kFirst] = kSecond; // by what is this one held?
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, ThatAGlobalLeadsToAsWellIsNobodys) {
    words[kA + 24] = kSecond;
    words[kGlobal] = kSecond + 8;
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, ThatAGlobalLeadsToByAChainIsNobodys) {
    words[kA + 24] = kSecond;
    words[kGlobal] = kFirst;
    words[kFirst + 32] = kSecond;
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, ThatARegisterLeadsToAsWellIsNobodys) {
    words[kA + 24] = kSecond;
    roots = {kSecond};
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, ThatAMarkedPointerLeadsToIsNobodys) {
    words[kA + 24] = kSecond;
    words[kFirst] = kSecond | std::uint64_t{0x8001} << 48;
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, OfTwoObjectsIsNobodys) {
    words[kA + 24] = kSecond;
    words[kB + 24] = kSecond;
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, OfAStaticObjectIsNobodys) {
    told.create(kGlobal);
    words[kGlobal + 24] = kSecond;
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, OldPointersInFreeMemoryMeanNothing) {
    words[kA + 24] = kSecond;
    words[kFirst + 0x200] = kSecond;
    EXPECT_EQ(owner(true), kA);
    EXPECT_EQ(owner(false), 0U) << "where not all blocks are known it may be one";
}

// Whoever comes to a block by a strong handle holds the handle's object.
TEST_F(Memory, ThatAHandleLeadsToIsItsObjects) {
    told.acquire(kA, kStack, 2);
    told.pass(10);
    words[kStack] = kA;
    words[kStack + 8] = kSecond; // what counts, in the same memory
    EXPECT_EQ(owner(), kA);
    words[kStack] = kFirst; // something else is there by now
    EXPECT_EQ(owner(), 0U);
}

TEST_F(Memory, ThatAHandleOfAStaticObjectLeadsToIsNobodys) {
    told.create(kGlobal);
    told.acquire(kGlobal, kStack, 1);
    told.pass(10);
    words[kStack] = kGlobal;
    words[kStack + 8] = kSecond;
    EXPECT_EQ(owner(), 0U);
}

} // namespace
} // namespace memtrace
