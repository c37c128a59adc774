// What the ledger makes of programs: of right ones nothing, whatever their threads do; of wrong ones the error, and only that.
#include "model/references.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "bpf/contract.h"
#include "tests/unit/told.hpp"

namespace memtrace {
namespace {

using test::Telling;

constexpr std::uint64_t kA = 0x1000;
constexpr std::uint64_t kB = 0x2000;
constexpr std::uint64_t kOnStack = 0x7000;
constexpr std::uint64_t kOther = 0x7100;

// ---- right programs ------------------------------------------------------------------------------------------------------------

TEST(References, AnObjectHeldAndGivenBackLeavesNothing) {
    Telling told;
    told.create(kA, 48, "Session");
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kOther, 2);
    told.acquire(kA, 0x7200, 1, false);
    EXPECT_EQ(told.object(kA).strong_count(), 2U);
    EXPECT_EQ(told.object(kA).weak_count(), 1U);
    EXPECT_EQ(told.ledger.type_name(told.object(kA).type), "Session");
    told.release(kA, kOnStack, 1);
    told.release(kA, kOther, 0);
    told.destroy(kA);
    told.release(kA, 0x7200, 0, false);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    EXPECT_EQ(told.ledger.live_objects(), 0U);
    EXPECT_EQ(told.ledger.live_handles(), 0U);
}

TEST(References, MovingAHandleTakesTheReferenceAlong) {
    Telling told;
    told.create(kA);
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 12).move(kA, kOnStack, kOther);
    told.move(kA, kOther, kOther);
    EXPECT_EQ(told.object(kA).strong, 1U);
    const auto& handle = told.ledger.handles().at(told.object(kA).first_handle);
    EXPECT_EQ(handle.address, kOther);
    EXPECT_EQ(handle.acquired.stack.value, 11U) << "where it was taken, not where it was passed on";
    told.release(kA, kOther, 0);
    told.destroy(kA);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, SwappedHandlesOverwriteEachOtherOnlyForAMoment) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kOther, 1);
    told.move(kA, kOnStack, kOther);
    told.move(kB, kOther, kOnStack);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    told.release(kB, kOnStack, 0);
    told.destroy(kB);
    told.release(kA, kOther, 0);
    told.destroy(kA);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, AssigningMayTakeTheNewBeforeGivingBackTheOld) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kOnStack, 1);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.acquire(kB, kOnStack, 2); // to itself
    told.release(kB, kOnStack, 1);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    EXPECT_EQ(told.object(kB).strong, 1U);
}

TEST(References, AReleaseToldAfterTheDestructionByAnotherThreadIsNone) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kOther, 2);
    told.by(2).release(kA, kOther, 0); // thread 1 was the first to give back, and has yet to say so
    told.by(2).destroy(kA);
    told.by(1).release(kA, kOnStack, 1);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, ALateReleaseIsNotTakenForOneOfTheNextObjectAtThatAddress) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kOther, 2);
    told.by(2).release(kA, kOther, 0);
    told.destroy(kA);
    told.create(kA);
    told.acquire(kA, kOther, 1);
    told.by(1).release(kA, kOnStack, 1);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    EXPECT_EQ(told.object(kA).strong, 1U);
}

TEST(References, CountsToldInTheWrongOrderAreNoDrift) {
    Telling told;
    told.create(kA);
    told.by(1).acquire(kA, kOnStack, 1);
    told.by(2).acquire(kA, kOther, 3);
    told.by(1).acquire(kA, 0x7200, 2); // was before, told after
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    EXPECT_EQ(told.object(kA).strong, 3U);
}

TEST(References, MembersAreGivenBackAfterTheirOwnerIsDestroyed) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kA + 8, 1);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.release(kB, kA + 8, 0);
    told.destroy(kB);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, AnnouncedObjectsHaveHandlesThatWereNeverTold) {
    Telling told;
    told.announce(kA, 3, 1);
    EXPECT_EQ(told.object(kA).strong_count(), 3U);
    EXPECT_EQ(told.object(kA).weak_count(), 1U);
    told.release(kA, kOnStack, 2);
    told.move(kA, 0x7200, 0x7300);
    told.release(kA, 0x7300, 1);
    told.release(kA, 0x7400, 0, false);
    told.release(kA, kOther, 0);
    told.destroy(kA);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, AnAnnouncementThatAnotherThreadOvertookIsPutRight) {
    Telling told;
    told.by(2).acquire(kA, kOther, 3); // the object is not known yet, and the announcer read 2 before
    told.by(1).announce(kA, 2);
    told.by(1).release(kA, kOnStack, 2);
    told.pass(60);
    EXPECT_EQ(told.object(kA).strong_count(), 2U);
    told.by(1).release(kA, 0x7200, 1);
    told.by(2).release(kA, kOther, 0);
    told.by(2).destroy(kA);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, AnnouncingWhatWasSeenToBeCreatedChangesNothing) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.announce(kA, 1);
    EXPECT_EQ(told.object(kA).strong_count(), 1U);
    EXPECT_EQ(told.ledger.counters().missed_destroys, 0U);
}

TEST(References, WeakHandlesMayOutliveTheirObject) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kOther, 1, false);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.acquire(kA, 0x7200, 2, false);
    told.pass(3600);
    told.release(kA, kOther, 0, false);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

// Threads copy, move and give back handles of shared objects; each tells of an operation some time after doing it, but before it goes on.
TEST(References, RightProgramsOfManyThreadsGiveNoErrorWhateverTheOrderOfTelling) {
    for (unsigned seed = 0; seed < 300; ++seed) {
        std::mt19937 random(seed);
        Telling told;
        const auto pick = [&](std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); };
        struct Pending {
            enum { nothing, acquire, release, destroy } what = nothing;
            std::size_t object = 0;
            std::uint64_t handle = 0;
            std::uint64_t count = 0;
        };
        constexpr std::size_t kThreads = 4;
        struct Object {
            std::uint64_t address;
            std::uint64_t count;
        };
        std::vector<Object> objects;
        std::vector<Pending> pending(kThreads);
        std::vector<std::vector<std::pair<std::uint64_t, std::size_t>>> held(kThreads); // handle, object
        std::vector<std::uint64_t> free_addresses{0x1000, 0x2000, 0x3000};
        std::uint64_t next_handle = 0x10'0000;
        for (int step = 0; step < 400; ++step) {
            const auto thread = pick(kThreads);
            told.by(static_cast<std::int32_t>(thread + 1));
            auto& mine = pending[thread];
            if (mine.what == Pending::acquire) {
                told.acquire(objects[mine.object].address, mine.handle, mine.count);
                held[thread].emplace_back(mine.handle, mine.object);
                mine = {};
            } else if (mine.what == Pending::release) {
                told.release(objects[mine.object].address, mine.handle, mine.count);
                mine.what = mine.count == 0 ? Pending::destroy : Pending::nothing;
            } else if (mine.what == Pending::destroy) {
                told.destroy(objects[mine.object].address);
                free_addresses.push_back(objects[mine.object].address);
                mine = {};
            } else if (held[thread].empty() || pick(5) == 0) {
                const auto other = pick(kThreads);
                if (!held[other].empty()) { // from a handle that another thread keeps meanwhile
                    const auto object = held[other][pick(held[other].size())].second;
                    const auto handle = next_handle += 16;
                    // Told at once while the other's handle is held: so its holder cannot give it back in between.
                    told.acquire(objects[object].address, handle, ++objects[object].count);
                    held[thread].emplace_back(handle, object);
                } else if (!free_addresses.empty()) {
                    objects.push_back({free_addresses.back(), 0});
                    free_addresses.pop_back();
                    told.create(objects.back().address);
                    mine = {Pending::acquire, objects.size() - 1, next_handle += 16, ++objects.back().count};
                }
            } else {
                const auto which = pick(held[thread].size());
                const auto [handle, object] = held[thread][which];
                switch (pick(3)) {
                case 0:
                    mine = {Pending::acquire, object, next_handle += 16, ++objects[object].count};
                    break;
                case 1:
                    told.move(objects[object].address, handle, next_handle += 16);
                    held[thread][which].first = next_handle;
                    break;
                default:
                    mine = {Pending::release, object, handle, --objects[object].count};
                    held[thread].erase(held[thread].begin() + static_cast<std::ptrdiff_t>(which));
                }
            }
        }
        for (std::size_t thread = 0; thread < kThreads; ++thread) {
            told.by(static_cast<std::int32_t>(thread + 1));
            if (pending[thread].what == Pending::acquire) {
                told.acquire(objects[pending[thread].object].address, pending[thread].handle, pending[thread].count);
            } else if (pending[thread].what == Pending::release) {
                told.release(objects[pending[thread].object].address, pending[thread].handle, pending[thread].count);
                pending[thread].what = pending[thread].count == 0 ? Pending::destroy : Pending::nothing;
            }
            if (pending[thread].what == Pending::destroy) {
                told.destroy(objects[pending[thread].object].address);
            }
        }
        told.pass(60);
        ASSERT_EQ(told.found(), "") << "seed " << seed;
    }
}

// ---- blocks that are kept ------------------------------------------------------------------------------------------------------

constexpr std::uint64_t kWeakAt = 0x7200;

/// Made, held by a weak handle as well, and destroyed.
void make_and_end(Telling& told, std::uint64_t object, std::uint64_t weak_handle) {
    told.by(1, 10).create(object, 4096, "Page");
    told.acquire(object, kOnStack, 1);
    told.by(1, 11).acquire(object, weak_handle, 1, false);
    told.release(object, kOnStack, 0);
    told.by(1, 12).destroy(object);
}

TEST(References, BlockKeptByAWeakHandleOverwrittenBeforeItsObjectEnds) {
    Telling told;
    told.create(kA, 4096, "Page");
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.by(1, 11).acquire(kA, kWeakAt, 1, false);
    told.by(1, 13).acquire(kB, kWeakAt, 1, false);
    told.pass(60);
    EXPECT_EQ(told.found(), "") << "the object keeps the block as well";
    told.release(kA, kOnStack, 0);
    told.by(1, 12).destroy(kA);
    EXPECT_EQ(told.found(), "");
    told.pass(3);
    ASSERT_EQ(told.found(), "block_kept");
    const auto error = told.ledger.errors().front();
    EXPECT_EQ(error.object, kA);
    EXPECT_EQ(error.bytes, 4096U);
    EXPECT_EQ(error.handle, kWeakAt);
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.before.stack.value, 12U) << "the destruction";
    EXPECT_EQ(error.released.stack.value, 13U) << "what overwrote the handle";
    EXPECT_FALSE(error.piles_up);
}

TEST(References, BlockKeptByAWeakHandleOverwrittenLongAfterItsObjectEnded) {
    Telling told;
    make_and_end(told, kA, kWeakAt);
    told.pass(3600);
    EXPECT_EQ(told.found(), "");
    told.create(kB);
    told.by(1, 13).acquire(kB, kWeakAt, 1, false);
    told.pass(3);
    ASSERT_EQ(told.found(), "block_kept");
    EXPECT_EQ(told.ledger.errors().front().before.stack.value, 12U);
    EXPECT_EQ(told.ledger.errors().front().released.stack.value, 13U);
    EXPECT_EQ(told.ledger.live_handles(), 1U) << "that of the other object";
}

TEST(References, BlockKeptByAWeakHandleTakenTwice) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kWeakAt, 1, false);
    told.acquire(kA, kWeakAt, 2, false);
    told.pass(3);
    told.release(kA, kWeakAt, 1, false);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.pass(3);
    EXPECT_EQ(told.found(), "block_kept");
    EXPECT_EQ(told.ledger.counters().unmatched_weak, 0U);
}

TEST(References, BlockKeptByAWeakHandleInsideADestroyedObject) {
    for (const bool holder_first : {false, true}) {
        Telling told;
        told.create(kB);
        told.acquire(kB, kOther, 1);
        const auto end_holder = [&] {
            told.release(kB, kOther, 0);
            told.by(1, 13).destroy(kB);
        };
        make_and_end(told, kA, kB + 8);
        if (!holder_first) {
            told.pass(60);
            EXPECT_EQ(told.found(), "");
        }
        end_holder(); // but not the handle in it
        told.pass(3);
        ASSERT_EQ(told.found(), "block_kept");
        EXPECT_EQ(told.ledger.errors().front().released.stack.value, 13U);
        EXPECT_EQ(told.ledger.live_handles(), 0U);
    }
}

TEST(References, BlockKeptByTheObjectItself) {
    Telling told;
    make_and_end(told, kA, kA + 8);
    told.pass(3);
    EXPECT_EQ(told.found(), "block_kept");
    make_and_end(told, kB, kB + 8);
    told.release(kB, kB + 8, 0, false); // as its members end
    told.pass(3);
    EXPECT_EQ(told.found(), "block_kept") << "and not twice";
}

TEST(References, WeakHandlesThatPileUpAtOnePlaceAreSuspected) {
    Telling told;
    const auto handle_of = [](std::uint64_t i) { return 0x10'0000 + 16 * i; };
    for (std::uint64_t i = 0; i < 100; ++i) {
        make_and_end(told, 0x100'0000 + 0x1'0000 * i, handle_of(i));
        told.pass(1);
    }
    ASSERT_EQ(told.found(), "block_kept*91") << "the others have not been so for long";
    const auto error = told.ledger.errors().front();
    EXPECT_TRUE(error.piles_up);
    EXPECT_EQ(error.object, 0x100'0000U) << "the oldest";
    EXPECT_EQ(error.handle, handle_of(0));
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.before.stack.value, 12U);
    EXPECT_EQ(error.released.stack.value, 0U);
    for (std::uint64_t i = 0; i < 30; ++i) { // it was a cache after all
        told.release(0x100'0000 + 0x1'0000 * i, handle_of(i), 0, false);
    }
    EXPECT_EQ(told.found(), "");
}

TEST(References, ACacheOfWeakHandlesIsNotBlamed) {
    Telling told;
    constexpr std::uint64_t kKeys = 200;
    const auto object_of = [](std::uint64_t key, std::uint64_t turn) { return 0x100'0000 + 0x1'0000 * (2 * key + turn % 2); };
    const auto handle_of = [](std::uint64_t key) { return 0x10'0000 + 16 * key; };
    for (std::uint64_t key = 0; key < kKeys; ++key) { // filled at once, and left alone
        make_and_end(told, object_of(key, 0), handle_of(key));
    }
    told.pass(3600);
    EXPECT_EQ(told.found(), "");
    for (std::uint64_t turn = 1; turn < 4; ++turn) { // what has expired is replaced: the new one is taken first
        for (std::uint64_t key = 0; key < kKeys; ++key) {
            make_and_end(told, object_of(key, turn), handle_of(key));
            told.release(object_of(key, turn - 1), handle_of(key), 0, false);
            told.pass(1);
            ASSERT_EQ(told.found(), "") << "turn " << turn << " key " << key;
        }
    }
    EXPECT_EQ(told.ledger.counters().unmatched_weak, 0U);
    EXPECT_EQ(told.ledger.live_handles(), kKeys);
}

TEST(References, ACacheThatIsFullSomeDayIsNotBlamedForLong) {
    Telling told;
    for (std::uint64_t i = 0; i < 100; ++i) {
        make_and_end(told, 0x100'0000 + 0x1'0000 * i, 0x10'0000 + 16 * i);
        told.pass(1);
    }
    EXPECT_NE(told.found(), "");
    told.pass(120);
    EXPECT_EQ(told.found(), "") << "it has rested for longer than it grew";
}

TEST(References, AWeakHandleMayGoFromAnObjectToTheNextOneInItsPlace) {
    for (const auto between : {0U, 60U}) {
        Telling told;
        make_and_end(told, kA, kWeakAt);
        told.pass(between);
        told.create(kA);
        told.acquire(kA, kOther, 1);
        told.acquire(kA, kWeakAt, 1, false);
        told.release(kA, kWeakAt, 0, false); // the old one's
        told.pass(60);
        EXPECT_EQ(told.found(), "");
        EXPECT_EQ(told.object(kA).weak, 1U);
        told.release(kA, kWeakAt, 0, false);
        told.release(kA, kOther, 0);
        told.destroy(kA);
        told.pass(60);
        EXPECT_EQ(told.found(), "");
        EXPECT_EQ(told.ledger.live_handles(), 0U);
    }
}

TEST(References, AKeptBlockIsKnownLongerThanItsObject) {
    Telling told({.objects = 100, .handles = 100, .errors = 10, .graves = 1, .types = 10});
    make_and_end(told, kA, kWeakAt);
    told.pass(3);
    for (std::uint64_t i = 0; i < 5; ++i) { // takes the place where the destroyed one is remembered
        told.create(kB);
        told.destroy(kB);
    }
    told.move(kA, kWeakAt, kOther, false);
    EXPECT_EQ(told.ledger.live_handles(), 1U);
    told.release(kA, kOther, 0, false);
    EXPECT_EQ(told.ledger.live_handles(), 0U);
    EXPECT_EQ(told.ledger.counters().unknown_objects, 0U);
    told.acquire(kA, kOther, 1);
    told.release(kA, kOther, 0);
    EXPECT_EQ(told.ledger.counters().unknown_objects, 2U) << "of the object nothing is known any more";
}

TEST(References, WhatIsDoneAfterTheEndIsSeenWhileABlockIsKept) {
    Telling told;
    make_and_end(told, kA, kWeakAt);
    told.pass(60);
    told.by(2, 32).acquire(kA, kOther, 1);
    ASSERT_EQ(told.found(), "use_after_destroy");
    EXPECT_EQ(told.ledger.errors().front().released.stack.value, 12U);
}

TEST(References, BlocksAreKeptInMindWithinBoundsAndTheSample) {
    Telling told({.objects = 4, .handles = 100, .errors = 10, .graves = 100, .types = 10});
    for (std::uint64_t i = 0; i < 6; ++i) {
        make_and_end(told, 0x100'0000 + 0x1'0000 * i, 0x10'0000 + 16 * i);
        told.pass(3);
    }
    EXPECT_EQ(told.ledger.live_handles(), 4U);
    EXPECT_EQ(told.ledger.counters().pending_refused, 2U);
    std::uint64_t in_sample = 0;
    for (std::uint64_t i = 0; i < 4; ++i) {
        in_sample += mt_in_sample(0x100'0000 + 0x1'0000 * i, 1) != 0 ? 1 : 0;
    }
    ASSERT_LT(in_sample, 4U);
    told.ledger.keep_sample(1);
    EXPECT_EQ(told.ledger.live_handles(), in_sample);
}

// ---- wrong ones ----------------------------------------------------------------------------------------------------------------

TEST(References, DoubleRelease) {
    Telling told;
    told.create(kA);
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 12).acquire(kA, kOther, 2);
    told.by(1, 21).release(kA, kOnStack, 1);
    told.by(1, 22).release(kA, kOnStack, 0);
    told.by(1, 23).destroy(kA); // too early, as kOther still refers to it: because of the double release
    EXPECT_EQ(told.found(), "") << "another thread may still tell of an acquisition";
    told.pass(3);
    ASSERT_EQ(told.found(), "double_release");
    const auto error = told.ledger.errors().front();
    EXPECT_EQ(error.object, kA);
    EXPECT_EQ(error.handle, kOnStack);
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.before.stack.value, 21U);
    EXPECT_EQ(error.released.stack.value, 22U);
    told.release(kA, kOther, UINT64_MAX); // what follows is no error of its own
    told.pass(60);
    EXPECT_EQ(told.found(), "double_release");
}

TEST(References, DoubleReleaseOfTheLastReference) {
    Telling told;
    told.create(kA);
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 21).release(kA, kOnStack, 0);
    told.destroy(kA);
    told.pass(60);
    told.by(1, 22).release(kA, kOnStack, UINT64_MAX);
    told.pass(3);
    ASSERT_EQ(told.found(), "double_release");
    EXPECT_EQ(told.ledger.errors().front().before.stack.value, 21U);
}

TEST(References, ReleaseByAHandleThatNeverHeldAnything) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 2);
    told.release(kA, kOther, 1);
    told.pass(3);
    EXPECT_EQ(told.found(), "release_without_acquire");
}

TEST(References, AnAcquisitionToldLateExplainsTheRelease) {
    Telling told;
    told.create(kA);
    told.by(1).acquire(kA, kOnStack, 1);
    told.by(2).release(kA, kOther, 1);
    told.by(3).acquire(kA, kOther, 2);
    told.pass(60);
    EXPECT_EQ(told.found(), "");
    EXPECT_EQ(told.object(kA).strong, 1U);
}

TEST(References, CountBelowZero) {
    for (const std::uint64_t minus_one : {UINT64_MAX, std::uint64_t{UINT32_MAX}}) {
        Telling told;
        told.announce(kA, 0);
        told.release(kA, kOnStack, minus_one);
        told.pass(3);
        EXPECT_EQ(told.found(), "below_zero");
    }
}

TEST(References, UseAfterDestroy) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.release(kA, kOnStack, 0);
    told.by(1, 31).destroy(kA);
    told.by(2, 32).acquire(kA, kOther, 1);
    ASSERT_EQ(told.found(), "use_after_destroy");
    EXPECT_EQ(told.ledger.errors().front().acquired.stack.value, 32U);
    EXPECT_EQ(told.ledger.errors().front().released.stack.value, 31U);
    told.release(kA, kOther, 0);
    told.pass(60);
    EXPECT_EQ(told.found(), "use_after_destroy");
}

TEST(References, ReleaseOfWhatIsNoMore) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.release(kA, kOther, 0);
    told.pass(3);
    EXPECT_EQ(told.found(), "release_after_destroy");
}

TEST(References, DestroyedWhileHeld) {
    Telling told;
    told.create(kA, 48, "Cursor");
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 12).destroy(kA);
    EXPECT_EQ(told.found(), "");
    told.pass(3);
    ASSERT_EQ(told.found(), "destroyed_while_held");
    const auto error = told.ledger.errors().front();
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.released.stack.value, 12U);
    EXPECT_EQ(error.bytes, 48U);
    EXPECT_EQ(told.ledger.live_handles(), 0U);
}

TEST(References, LostReleaseOfAnOverwrittenHandle) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 12).acquire(kB, kOnStack, 1);
    told.pass(3);
    ASSERT_EQ(told.found(), "lost_release");
    const auto error = told.ledger.errors().front();
    EXPECT_EQ(error.object, kA);
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.released.stack.value, 12U);
    EXPECT_EQ(told.object(kA).strong_count(), 1U) << "the program's count still has it";
    told.pass(60);
    EXPECT_EQ(told.found(), "lost_release") << "neither drift nor an object that nobody holds";
}

TEST(References, LostReleaseOfAHandleTakenTwice) {
    Telling told;
    told.create(kA);
    told.by(1, 11).acquire(kA, kOnStack, 1);
    told.by(1, 12).acquire(kA, kOnStack, 2);
    told.pass(3);
    ASSERT_EQ(told.found(), "lost_release");
    EXPECT_EQ(told.ledger.errors().front().acquired.stack.value, 11U);
    told.release(kA, kOnStack, 1);
    told.pass(60);
    EXPECT_EQ(told.found(), "lost_release");
    EXPECT_EQ(told.object(kA).strong_count(), 1U);
}

TEST(References, LostReleaseOfAHandleInsideADestroyedObject) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.by(1, 11).acquire(kB, kA + 16, 1);
    told.release(kA, kOnStack, 0);
    told.by(1, 12).destroy(kA);
    told.pass(3);
    ASSERT_EQ(told.found(), "lost_release");
    EXPECT_EQ(told.ledger.errors().front().object, kB);
    EXPECT_EQ(told.ledger.errors().front().acquired.stack.value, 11U);
    EXPECT_EQ(told.ledger.errors().front().released.stack.value, 12U);
}

TEST(References, AHandleOfTheNextObjectAtThatAddressIsNotLost) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kB, kA + 8, 1);
    told.destroy(kA);
    told.release(kB, kA + 8, 0);
    told.create(kA);
    told.acquire(kB, kA + 8, 1);
    told.pass(3);
    EXPECT_EQ(told.found(), "");
}

TEST(References, NeverDestroyed) {
    Telling told;
    told.by(1, 11).create(kA);
    told.acquire(kA, kOnStack, 1);
    told.by(1, 12).release(kA, kOnStack, 0);
    told.pass(5);
    EXPECT_EQ(told.found(), "") << "it may be kept for reuse";
    told.pass(6);
    ASSERT_EQ(told.found(), "never_destroyed");
    EXPECT_EQ(told.ledger.errors().front().acquired.stack.value, 11U);
    EXPECT_EQ(told.ledger.errors().front().released.stack.value, 12U);
    told.acquire(kA, kOnStack, 1);
    told.pass(60);
    EXPECT_EQ(told.found(), "") << "it was kept for reuse";
}

TEST(References, CountDrift) {
    Telling told;
    told.by(1, 11).create(kA);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kA, kOther, 3); // one was taken without a word
    told.pass(3);
    ASSERT_EQ(told.found(), "count_drift");
    EXPECT_EQ(told.ledger.errors().front().told, 3U);
    EXPECT_EQ(told.ledger.errors().front().known, 2U);
    told.release(kA, kOther, 1); // and given back so
    told.pass(3);
    EXPECT_EQ(told.found(), "");
}

TEST(References, TheSameErrorIsListedOnce) {
    Telling told;
    for (std::uint64_t i = 0; i < 50; ++i) {
        told.by(1, 11).create(kA + i * 0x100);
        told.acquire(kA + i * 0x100, kOther + i * 16, 1);
        told.by(1, 12).destroy(kA + i * 0x100);
    }
    told.pass(3);
    EXPECT_EQ(told.found(), "destroyed_while_held*50");
}

// ---- what is missing -----------------------------------------------------------------------------------------------------------

TEST(References, AfterALossErrorsOfTheObjectsOfThenAreUncertain) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.ledger.lost(told.now());
    told.destroy(kA);
    told.pass(3);
    EXPECT_EQ(told.found(), "destroyed_while_held(?)");
    told.pass(1); // what was lost may have been lost after the news of it was read, until now
    told.create(kB);
    told.acquire(kB, kOnStack, 1);
    told.destroy(kB);
    told.pass(3);
    EXPECT_EQ(told.found(), "destroyed_while_held(?) destroyed_while_held") << "of later ones nothing is missing";
}

TEST(References, WhatWasFoundBetweenALossAndItsNewsIsUncertain) {
    Telling told;
    told.create(kA);
    told.destroy(kA);
    told.acquire(kA, kOnStack, 1);
    const auto before = told.now();
    told.create(kB);
    told.by(1, 5).destroy(kB);
    told.acquire(kB, kOnStack, 1);
    told.ledger.lost(before);
    EXPECT_EQ(told.found(), "use_after_destroy use_after_destroy(?)");
}

TEST(References, CreatedAgainWhereAnObjectLivesIsAMissedDestroy) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.create(kA);
    EXPECT_EQ(told.ledger.counters().missed_destroys, 1U);
    EXPECT_EQ(told.ledger.live_objects(), 1U);
    told.release(kA, kOnStack, 0); // of the old one, perhaps
    told.pass(60);
    EXPECT_EQ(told.found(), "");
}

TEST(References, EventsOfUnknownObjectsAreCounted) {
    Telling told;
    told.acquire(kA, kOnStack, 1);
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    EXPECT_EQ(told.ledger.counters().unknown_objects, 3U);
    EXPECT_EQ(told.found(), "");
}

TEST(References, ThereIsRoomForSoManyAndTheRestIsCounted) {
    Telling told({.objects = 2, .handles = 3, .errors = 1, .graves = 2, .types = 2});
    for (std::uint64_t i = 1; i <= 3; ++i) {
        told.create(i * 0x100, 64, "T" + std::to_string(i));
    }
    EXPECT_EQ(told.ledger.live_objects(), 2U);
    EXPECT_EQ(told.ledger.counters().objects_refused, 1U);
    for (std::uint64_t i = 0; i < 5; ++i) {
        told.acquire(0x100, 0x9000 + 8 * i, i + 1);
    }
    EXPECT_EQ(told.ledger.live_handles(), 3U);
    EXPECT_EQ(told.ledger.counters().handles_refused, 2U);
    EXPECT_EQ(told.object(0x100).strong_count(), 5U);
    for (std::uint64_t i = 0; i < 5; ++i) {
        told.release(0x100, 0x9000 + 8 * i, 4 - i);
    }
    told.pass(60);
    EXPECT_EQ(told.found(), "never_destroyed") << "the handles without room make no error";
    for (std::uint64_t i = 0; i < 1000; ++i) {
        told.destroy(0x100 + (i % 2) * 0x100);
        told.create(0x100 + (i % 2) * 0x100, 64);
    }
    EXPECT_LE(told.ledger.objects().size(), 8U);
}

TEST(References, AsManyReferencesAsOneLikesAtOneAddressAreNotKept) {
    Telling told;
    constexpr std::uint64_t kCount = 100'000; // squared, they would take an hour
    for (std::uint64_t i = 1; i <= kCount; ++i) {
        told.create(i * 0x100);
        told.acquire(i * 0x100, kOnStack, 1);
    }
    EXPECT_EQ(told.ledger.live_handles(), 16U);
    EXPECT_EQ(told.ledger.counters().handles_refused, kCount - 16);
    EXPECT_EQ(told.object(kCount * 0x100).strong_count(), 1U) << "by a handle that is not known";
}

TEST(References, AsManyHeldLivesAsOneLikesAtOneAddressAreNotKept) {
    Telling told;
    constexpr std::uint64_t kCount = 100'000;
    for (std::uint64_t i = 1; i <= kCount; ++i) {
        told.create(kA);
        told.acquire(kA, 0x100'0000 + 8 * i, 1);
        told.destroy(kA);
    }
    EXPECT_LE(told.ledger.live_handles(), 65U);
    EXPECT_GT(told.ledger.counters().pending_refused, kCount - 100);
    told.pass(60);
    EXPECT_EQ(told.found().substr(0, 20), "destroyed_while_held") << "of those that are kept";
}

TEST(References, ManyShortLivesAtOneAddressDoNotHideWhatOneOfThemLeaves) {
    Telling told;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        make_and_end(told, kA, kWeakAt);
        told.release(kA, kWeakAt, 0, false); // a moment after the end
    }
    told.by(1, 10).create(kA);
    told.acquire(kA, kOnStack, 1);
    told.destroy(kA);
    told.pass(3);
    EXPECT_EQ(told.found(), "destroyed_while_held");
    EXPECT_EQ(told.ledger.counters().pending_refused, 0U);
    EXPECT_LE(told.ledger.objects().size(), 100U);
}

TEST(References, ManyLivesAtOneAddressTakeNoMoreRoomThanOne) {
    Telling told;
    for (std::uint64_t i = 0; i < 100'000; ++i) {
        told.create(kA);
        told.acquire(kA, kOnStack, 1);
        told.release(kA, kOnStack, 0);
        told.destroy(kA);
    }
    EXPECT_LE(told.ledger.objects().size(), 4U);
    EXPECT_EQ(told.found(), "");
}

TEST(References, AtItsExitAProcessIsNotWaitedForLonger) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kOnStack, 1);
    told.destroy(kA);
    told.ledger.end();
    EXPECT_EQ(told.found(), "") << "a thread may have been cut off before it told of its release";
    told.ledger.settle(told.now() + 100'000'000);
    told.ledger.end();
    EXPECT_EQ(told.found(), "destroyed_while_held");
}

// A damaged recording may say anything: whatever it is, figures stay within bounds and nothing is read that is not there.
TEST(References, NonsenseIsBorne) {
    const std::vector<std::uint64_t> values{0,      1,      8,          0x1000,         0x1008,    0x1010,
                                            0x1040, 0x2000, 1ull << 63, UINT64_MAX - 8, UINT64_MAX};
    for (unsigned seed = 0; seed < 20; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); };
        const auto value = [&] { return values[pick(values.size())]; };
        ReferenceLedger ledger({.objects = 6, .handles = 10, .errors = 20, .graves = 4, .types = 3});
        std::uint64_t now = 0;
        for (int i = 0; i < 20'000; ++i) {
            now += pick(3) == 0 ? pick(3'000'000'000) : 1000;
            const ContractOrigin origin{{1}, pick(100) == 0 ? value() : now, static_cast<std::int32_t>(pick(3)), {}};
            switch (pick(8)) {
            case 0:
                ledger.on(ObjectTold{origin, static_cast<ObjectAction>(pick(3)), value(), value(), "T", value(), value()});
                break;
            case 1:
                ledger.on(HandlePlaced{{1}, value(), static_cast<HandlePlace>(pick(3)), value()});
                break;
            case 2:
                pick(50) == 0 ? ledger.lost(now) : ledger.settle(now);
                break;
            default:
                ledger.on(ReferenceTold{origin, static_cast<ReferenceAction>(pick(3)), value(), value(), value(), pick(4) != 0,
                                        value()});
            }
            ASSERT_LE(ledger.live_handles(), 10U);
        }
        ledger.end();
        EXPECT_LE(ledger.live_objects(), 6U);
        EXPECT_LE(unplaced_handles(ledger, 100).size(), 10U);
        std::map<std::uint32_t, std::uint64_t> strong;
        for (const auto& handle : ledger.handles()) {
            if (handle.object != kNoIndex && handle.strong) {
                strong[handle.object] += handle.held;
            }
        }
        for (std::uint32_t i = 0; i < ledger.objects().size(); ++i) {
            if (ledger.objects()[i].state != TrackedObject::State::free) {
                EXPECT_EQ(ledger.objects()[i].strong, strong[i]) << "seed " << seed;
            }
        }
    }
}

// ---- addresses -----------------------------------------------------------------------------------------------------------------

TEST(References, UnplacedHandlesAreThoseThatLieNowhereKnown) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kB + 8, 1);        // in an object
    told.acquire(kA, kOnStack, 2);      // nowhere known
    told.acquire(kA, kOther, 1, false); // weak
    told.acquire(kA, 0x7200, 3);        // placed
    told.acquire(kB, 0x7300, 1);        // nowhere known
    told.place(0x7200, HandlePlace::root);
    EXPECT_EQ(unplaced_handles(told.ledger, 100), (std::vector<std::uint64_t>{kOnStack, 0x7300}));
    EXPECT_EQ(unplaced_handles(told.ledger, 1), (std::vector<std::uint64_t>{kOnStack}));
    told.place(0x7300, HandlePlace::object, 0xdead);
    EXPECT_EQ(unplaced_handles(told.ledger, 100).size(), 2U) << "its owner is not known";
}

TEST(References, ObjectsNestedBeyondAllReasonAreLookedThroughSoFarOnly) {
    std::vector<ObjectIndex::Range> ranges;
    constexpr std::uint64_t kCount = 100'000;
    for (std::uint64_t i = 0; i < kCount; ++i) {
        ranges.push_back({i, 2 * kCount - i, static_cast<std::uint32_t>(i)});
    }
    const ObjectIndex index(ranges);
    EXPECT_EQ(index.around(kCount + 30), kCount - 31);
    for (std::uint64_t address = kCount + 100; address < 2 * kCount; ++address) {
        ASSERT_EQ(index.around(address), kNoIndex);
    }
}

TEST(References, AnAddressLiesInTheInnermostObjectAroundIt) {
    const ObjectIndex index({{100, 200, 0}, {110, 150, 1}, {120, 130, 2}, {300, 310, 3}});
    const std::map<std::uint64_t, std::uint32_t> expected{{99, kNoIndex},  {100, 0},        {115, 1}, {125, 2},
                                                          {130, 1},        {149, 1},        {150, 0}, {199, 0},
                                                          {200, kNoIndex}, {299, kNoIndex}, {305, 3}, {310, kNoIndex}};
    for (const auto& [address, object] : expected) {
        EXPECT_EQ(index.around(address), object) << address;
    }
}

} // namespace
} // namespace memtrace
