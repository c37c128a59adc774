// What an entry or a return means while a call is in flight, situation by situation.
#include "bpf/inflight.h"

#include <gtest/gtest.h>

namespace {

constexpr __u64 kSp = 0x7fff'ffff'e000;
constexpr __u64 kTrue = 0x5555'5555'5199; ///< the call's true return address
constexpr __u64 kTrampoline = 0x7fff'ffff'f000;
constexpr __u64 kUnknown = 0;
constexpr __u64 kOther = 0x5555'5555'51f0;
constexpr __u64 kPopped = 8; ///< what x86-64's return takes off the stack

mt_call in_flight() {
    mt_call call{};
    call.sp = kSp;
    call.return_address = kTrue;
    return call;
}

TEST(ClassifyEntry, NothingInFlightIsOutermostWhateverElseIsSo) {
    const mt_call idle{};
    EXPECT_EQ(mt_classify_entry(&idle, kSp, kTrampoline, kTrampoline), MT_ENTRY_OUTERMOST);
    EXPECT_EQ(mt_classify_entry(&idle, kSp, 0, kUnknown), MT_ENTRY_OUTERMOST);
    EXPECT_EQ(mt_classify_entry(&idle, 0, 0, 0), MT_ENTRY_OUTERMOST);
}

TEST(ClassifyEntry, CallFromWithinTheCallIsNested) {
    const auto call = in_flight();
    EXPECT_EQ(mt_classify_entry(&call, kSp - 8, kTrampoline, kTrampoline), MT_ENTRY_NESTED);
    EXPECT_EQ(mt_classify_entry(&call, kSp - 4096, kTrampoline, kTrampoline), MT_ENTRY_NESTED);
}

// calloc that jumps to another probed function: the word at its SP has been replaced already.
TEST(ClassifyEntry, TailCallAtTheSameStackPointerIsNested) {
    const auto call = in_flight();
    EXPECT_EQ(mt_classify_entry(&call, kSp, kTrampoline, kTrampoline), MT_ENTRY_NESTED);
}

// After a longjmp the caller calls again from the same place: a call instruction has written a true address.
TEST(ClassifyEntry, NewCallInTheAbandonedOnesPlaceIsStale) {
    const auto call = in_flight();
    EXPECT_EQ(mt_classify_entry(&call, kSp, kTrue, kTrampoline), MT_ENTRY_STALE);
    EXPECT_EQ(mt_classify_entry(&call, kSp, kOther, kTrampoline), MT_ENTRY_STALE);
}

TEST(ClassifyEntry, AbandonedByLongjmpWithTheStackPointerAboveIsStale) {
    const auto call = in_flight();
    for (const __u64 word : {kTrampoline, kTrue, kOther}) { // the word does not matter: the stack was given up
        EXPECT_EQ(mt_classify_entry(&call, kSp + 8, word, kTrampoline), MT_ENTRY_STALE);
        EXPECT_EQ(mt_classify_entry(&call, kSp + 65536, word, kUnknown), MT_ENTRY_STALE);
    }
}

TEST(ClassifyEntry, AbandonedWithTheWordOverwrittenIsStaleFromAnyDepth) {
    const auto call = in_flight();
    for (const __u64 word : {__u64{0}, kOther, kTrue}) {
        EXPECT_EQ(mt_classify_entry(&call, kSp - 512, word, kTrampoline), MT_ENTRY_STALE) << word;
    }
}

// The one case that the header says is missed.
TEST(ClassifyEntry, AbandonedButDeeperWithTheWordIntactLooksNested) {
    const auto call = in_flight();
    EXPECT_EQ(mt_classify_entry(&call, kSp - 512, kTrampoline, kTrampoline), MT_ENTRY_NESTED);
}

TEST(ClassifyEntry, WithoutATrampolineTheTrueAddressMeansANewCall) {
    const auto call = in_flight();
    EXPECT_EQ(mt_classify_entry(&call, kSp, kTrue, kUnknown), MT_ENTRY_STALE);
    EXPECT_EQ(mt_classify_entry(&call, kSp, kTrampoline, kUnknown), MT_ENTRY_NESTED);
    EXPECT_EQ(mt_classify_entry(&call, kSp - 64, kTrampoline, kUnknown), MT_ENTRY_NESTED);
    EXPECT_EQ(mt_classify_entry(&call, kSp - 64, kTrue, kUnknown), MT_ENTRY_STALE);
}

TEST(InsideDeclined, TheSameCallAgainAndOneAboveAreNot) {
    auto call = in_flight();
    call.cookie = 5;
    EXPECT_TRUE(mt_may_be_inside_declined(&call, kSp - 64, 5)) << "an inner call, or one that is deeper later";
    EXPECT_TRUE(mt_may_be_inside_declined(&call, kSp, 6)) << "a tail call";
    EXPECT_FALSE(mt_may_be_inside_declined(&call, kSp, 5)) << "in a loop";
    EXPECT_FALSE(mt_may_be_inside_declined(&call, kSp + 64, 6));
}

TEST(OwnReturn, OnlyThePlaceOfTheCallIsItsOwn) {
    const auto call = in_flight();
    EXPECT_TRUE(mt_is_own_return(&call, kSp + kPopped, kPopped));
    EXPECT_FALSE(mt_is_own_return(&call, kSp, kPopped));
    EXPECT_FALSE(mt_is_own_return(&call, kSp - 64 + kPopped, kPopped)) << "an inner call's";
    EXPECT_FALSE(mt_is_own_return(&call, kSp + 64 + kPopped, kPopped)) << "of a call that was in flight before attaching";
}

TEST(OwnReturn, WhereTheAddressIsInARegisterNothingIsPopped) {
    const auto call = in_flight();
    EXPECT_TRUE(mt_is_own_return(&call, kSp, 0));
    EXPECT_FALSE(mt_is_own_return(&call, kSp + 8, 0));
}

TEST(OwnReturn, NothingInFlightOwnsNoReturn) {
    const mt_call idle{};
    EXPECT_FALSE(mt_is_own_return(&idle, kPopped, kPopped)) << "0 + 8 is no place of a call";
    EXPECT_FALSE(mt_is_own_return(&idle, 0, 0));
    EXPECT_FALSE(mt_is_own_return(&idle, kSp + kPopped, kPopped));
}

} // namespace
