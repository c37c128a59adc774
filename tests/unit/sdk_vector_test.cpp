// What tracked_vector tells of its memory: what the table that keeps it says, held against where the vectors really have theirs.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "memtrace/memtrace.hpp"
#include "model/storages.hpp"
#include "tests/unit/probe_listener.hpp"

namespace memtrace {
namespace {

using probe_test::ProbeListener;

std::uint64_t address_of(const void* pointer) {
    return reinterpret_cast<std::uint64_t>(pointer);
}

/// What a tracer knows after what `program` did.
template <class Program>
StorageTable known_after(const Program& program) {
    const ProbeListener listener({"memtrace:storage_acquire", "memtrace:storage_release", "memtrace:storage_move"});
    program();
    StorageTable table;
    for (const auto& event : listener.events()) {
        if (event.probe == "storage_acquire") {
            table.on(StorageTold{{}, StorageAction::acquired, event.args[0], event.args[1], event.args[2], 0});
        } else if (event.probe == "storage_release") {
            table.on(StorageTold{{}, StorageAction::released, event.args[0], 0, 0, 0});
        } else {
            table.on(StorageTold{{}, StorageAction::moved, 0, 0, event.args[1], event.args[0]});
        }
    }
    return table;
}

using Vector = tracked_vector<std::uint64_t>;

/// What is known of its memory is true: all of it is its own.
void expect_nothing_false(const StorageTable& table, const Vector& vector) {
    const auto* storage = table.around(address_of(vector.data()));
    if (storage == nullptr) {
        return;
    }
    EXPECT_GE(storage->holder, address_of(&vector));
    EXPECT_LT(storage->holder, address_of(&vector + 1));
    EXPECT_EQ(storage->start, address_of(vector.data()));
    EXPECT_EQ(storage->end, address_of(vector.data() + vector.capacity()));
}

/// And it is known.
void expect_its_own(const StorageTable& table, const Vector& vector) {
    ASSERT_GT(vector.capacity(), 0U);
    EXPECT_NE(table.around(address_of(vector.data())), nullptr);
    expect_nothing_false(table, vector);
}

class SdkVector : public testing::Test {
protected:
    void SetUp() override {
        if (!probe_test::kProbeListenerWorks) {
            GTEST_SKIP() << "no listener for this architecture";
        }
    }
};

TEST_F(SdkVector, GrowsAndShrinks) {
    Vector vector;
    const auto table = known_after([&] {
        for (std::uint64_t i = 0; i < 1000; ++i) {
            vector.push_back(i);
        }
        vector.resize(100);
        vector.shrink_to_fit();
        vector.insert(vector.begin(), 200, 7);
    });
    expect_its_own(table, vector);
    EXPECT_EQ(table.size(), 1U);
}

TEST_F(SdkVector, EndsWithItsMemory) {
    const auto table = known_after([] { const Vector vector(100, 1); });
    EXPECT_EQ(table.size(), 0U);
}

TEST_F(SdkVector, CopiesHaveTheirOwn) {
    Vector first(10, 1);
    Vector second;
    std::optional<Vector> third;
    const auto table = known_after([&] {
        first.reserve(20);
        second = first;
        third.emplace(second);
    });
    expect_its_own(table, first);
    expect_its_own(table, second);
    expect_its_own(table, *third);
    EXPECT_EQ(table.size(), 3U);
}

TEST_F(SdkVector, MovedByItsConstructor) {
    Vector first;
    std::optional<Vector> second;
    const auto table = known_after([&] {
        first.resize(10);
        second.emplace(std::move(first));
    });
    expect_its_own(table, *second);
    EXPECT_EQ(table.size(), 1U);
}

TEST_F(SdkVector, MovedByAssignment) {
    Vector first;
    Vector second;
    const auto table = known_after([&] {
        first.resize(10);
        second.resize(20);
        second = std::move(first);
    });
    expect_its_own(table, second);
    EXPECT_EQ(table.size(), 1U);
}

TEST_F(SdkVector, Swapped) {
    Vector first;
    Vector second;
    const auto table = known_after([&] {
        first.resize(10);
        second.resize(20);
        first.swap(second);
        std::swap(first, second);
        swap(first, second);
    });
    expect_its_own(table, first);
    expect_its_own(table, second);
    EXPECT_EQ(table.size(), 2U);
}

TEST_F(SdkVector, VectorsInAVector) {
    tracked_vector<Vector> outer;
    const auto table = known_after([&] {
        for (std::uint64_t i = 1; i < 20; ++i) {
            outer.emplace_back(i, i);
        }
        outer.erase(outer.begin() + 3);
    });
    for (const auto& inner : outer) {
        expect_its_own(table, inner);
    }
    EXPECT_EQ(table.size(), outer.size() + 1);
}

/// libstdc++ has a temporary vector allocate, and swaps what the two have without their allocators.
TEST_F(SdkVector, WhatAnotherVectorAllocatedIsNotItsOwn) {
    Vector first;
    std::optional<Vector> second;
    const auto table = known_after([&] {
        first.resize(10);
        first.assign(20, 1);
        second.emplace(std::move(first));
    });
    expect_nothing_false(table, *second);
    EXPECT_LE(table.size(), 1U);
}

/// Whatever vectors do to each other: what is known of them is true.
TEST_F(SdkVector, NothingFalseIsKnown) {
    std::mt19937 random(3);
    std::vector<std::optional<Vector>> vectors(8);
    const auto table = known_after([&] {
        for (int i = 0; i < 3000; ++i) {
            auto& one = vectors[random() % vectors.size()];
            auto& other = vectors[random() % vectors.size()];
            if (!one || !other) {
                one.emplace(random() % 4, 1);
                continue;
            }
            switch (random() % 8) {
            case 0:
                *one = std::move(*other);
                break;
            case 1:
                one->swap(*other);
                break;
            case 2:
                *one = *other;
                break;
            case 3:
                if (&one != &other) {
                    other.emplace(std::move(*one));
                }
                break;
            case 4:
                one.reset();
                break;
            case 5:
                one->shrink_to_fit();
                break;
            case 6:
                one->assign(random() % 64, 7);
                break;
            default:
                one->resize(random() % 64);
            }
        }
    });
    std::size_t known = 0;
    for (const auto& vector : vectors) {
        if (vector && vector->capacity() != 0) {
            expect_nothing_false(table, *vector);
            known += table.around(address_of(vector->data())) != nullptr ? 1 : 0;
        }
    }
    EXPECT_EQ(table.size(), known) << "of what has been given back nothing is known";
    EXPECT_GT(known, 0U);
}

} // namespace
} // namespace memtrace
