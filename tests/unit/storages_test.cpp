#include "model/storages.hpp"

#include <gtest/gtest.h>

#include <random>

namespace memtrace {
namespace {

StorageTold acquired(std::uint64_t address, std::uint64_t bytes, std::uint64_t holder) {
    return {{}, StorageAction::acquired, address, bytes, holder, 0};
}
StorageTold released(std::uint64_t address) {
    return {{}, StorageAction::released, address, 0, 0, 0};
}
StorageTold moved(std::uint64_t from, std::uint64_t to) {
    return {{}, StorageAction::moved, 0, 0, to, from};
}

std::uint64_t holder_at(const StorageTable& table, std::uint64_t address) {
    const auto* storage = table.around(address);
    return storage == nullptr ? 0 : storage->holder;
}

TEST(Storages, FromItsFirstByteToItsLast) {
    StorageTable table;
    table.on(acquired(0x1000, 16, 0x10));
    EXPECT_EQ(holder_at(table, 0xfff), 0U);
    EXPECT_EQ(holder_at(table, 0x1000), 0x10U);
    EXPECT_EQ(holder_at(table, 0x100f), 0x10U);
    EXPECT_EQ(holder_at(table, 0x1010), 0U);
    table.on(released(0x1008));
    EXPECT_EQ(table.size(), 1U) << "no storage begins there";
    table.on(released(0x1000));
    EXPECT_EQ(table.size(), 0U);
}

TEST(Storages, AllOfAHolderMove) {
    StorageTable table;
    table.on(acquired(0x1000, 16, 0x10));
    table.on(acquired(0x2000, 16, 0x10));
    table.on(acquired(0x3000, 16, 0x20));
    table.on(moved(0x10, 0x20));
    EXPECT_EQ(holder_at(table, 0x1000), 0x20U);
    EXPECT_EQ(holder_at(table, 0x2000), 0x20U);
    EXPECT_EQ(holder_at(table, 0x3000), 0U) << "the other's";
    table.on(moved(0x20, 0x20));
    EXPECT_EQ(table.size(), 2U);
    table.on(released(0x1000));
    table.on(moved(0x20, 0x30));
    EXPECT_EQ(holder_at(table, 0x2000), 0x30U);
    EXPECT_EQ(table.size(), 1U);
    table.on(moved(0x30, 0));
    EXPECT_EQ(table.size(), 0U) << "the holder has ended";
}

TEST(Storages, WhatOverlapsReplaces) {
    StorageTable table;
    table.on(acquired(0x1000, 16, 0x10));
    table.on(acquired(0x1010, 16, 0x20));
    table.on(acquired(0x1020, 16, 0x30));
    table.on(acquired(0x1008, 16, 0x40));
    EXPECT_EQ(table.size(), 2U);
    EXPECT_EQ(holder_at(table, 0x1000), 0U);
    EXPECT_EQ(holder_at(table, 0x1008), 0x40U);
    EXPECT_EQ(holder_at(table, 0x1018), 0U);
    EXPECT_EQ(holder_at(table, 0x1020), 0x30U);
}

TEST(Storages, HoldersEndWithWhatTheyLieIn) {
    StorageTable table;
    for (std::uint64_t holder = 0x10; holder < 0x14; ++holder) {
        table.on(acquired(holder << 12, 16, holder));
    }
    table.forget_holders(0x11, 0x13);
    EXPECT_EQ(table.size(), 2U);
    EXPECT_EQ(holder_at(table, 0x10000), 0x10U);
    EXPECT_EQ(holder_at(table, 0x13000), 0x13U);
    table.forget_holders(0x13, 0x10);
    EXPECT_EQ(table.size(), 2U);
}

TEST(Storages, WhatFindsNoRoomIsCounted) {
    StorageTable table({.storages = 3, .of_holder = 2});
    for (std::uint64_t i = 1; i <= 3; ++i) {
        table.on(acquired(i << 12, 16, 0x10));
    }
    EXPECT_EQ(table.size(), 2U);
    table.on(acquired(0x8000, 16, 0x20));
    table.on(acquired(0x9000, 16, 0x30));
    EXPECT_EQ(table.size(), 3U);
    EXPECT_EQ(table.refused(), 2U);
}

TEST(Storages, NonsenseIsBorne) {
    std::mt19937_64 random(1);
    StorageTable table({.storages = 32, .of_holder = 4});
    const std::uint64_t values[] = {0, 1, 2, 8, 16, 24, 0x1000, 0x1008, UINT64_MAX, UINT64_MAX - 1};
    const auto value = [&] { return values[random() % std::size(values)]; };
    for (int i = 0; i < 200'000; ++i) {
        switch (random() % 8) {
        case 0:
            table.on(released(value()));
            break;
        case 1:
            table.on(moved(value(), value()));
            break;
        case 2:
            table.forget_holders(value(), value());
            break;
        default:
            table.on(acquired(value(), value(), value()));
        }
        const auto* storage = table.around(value());
        ASSERT_TRUE(storage == nullptr || storage->start < storage->end);
        ASSERT_LE(table.size(), 32U);
    }
    table.clear();
    EXPECT_EQ(table.size(), 0U);
}

} // namespace
} // namespace memtrace
