#include "app/contract_decode.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace memtrace {
namespace {

const ContractOrigin kOrigin{ProcessId{3}, 77, 1234, StackId{5}};

/// As the kernel half writes it.
std::vector<std::byte> record(std::uint16_t kind, std::initializer_list<std::uint64_t> arguments, std::string_view strings = {}) {
    std::string body;
    for (const auto argument : arguments) {
        body.append(reinterpret_cast<const char*>(&argument), sizeof(argument));
    }
    body += strings;
    mt_contract_record head{};
    head.kind = kind;
    head.size = static_cast<std::uint16_t>(sizeof(head) + body.size());
    std::vector<std::byte> bytes(head.size);
    std::memcpy(bytes.data(), &head, sizeof(head));
    std::memcpy(bytes.data() + sizeof(head), body.data(), body.size());
    return bytes;
}

template <typename T>
T told(const std::vector<std::byte>& bytes) {
    const auto event = decode_contract(bytes, kOrigin);
    EXPECT_TRUE(event && std::holds_alternative<T>(*event));
    return event && std::holds_alternative<T>(*event) ? std::get<T>(*event) : T{};
}

TEST(ContractDecode, Objects) {
    const auto created = told<ObjectTold>(record(MT_CONTRACT_object_create, {0x1000, 64, 5}, {"Conn\0", 5}));
    EXPECT_EQ(created.origin, kOrigin);
    EXPECT_EQ(created.action, ObjectAction::created);
    EXPECT_EQ(created.address, 0x1000u);
    EXPECT_EQ(created.bytes, 64u);
    EXPECT_EQ(created.type, "Conn");
    const auto alive = told<ObjectTold>(record(MT_CONTRACT_object_alive, {0x1000, 64, 5, 2, 1}, {"Conn\0", 5}));
    EXPECT_EQ(alive.action, ObjectAction::alive);
    EXPECT_EQ(alive.type, "Conn");
    EXPECT_EQ(alive.strong, 2u);
    EXPECT_EQ(alive.weak, 1u);
    const auto destroyed = told<ObjectTold>(record(MT_CONTRACT_object_destroy, {0x1000}));
    EXPECT_EQ(destroyed.action, ObjectAction::destroyed);
    EXPECT_EQ(destroyed.address, 0x1000u);
    EXPECT_EQ(destroyed.type, "");
}

TEST(ContractDecode, AnotherContractIsKnownByItsVersion) {
    for (const auto kind : {MT_CONTRACT_announce, MT_CONTRACT_announce_end}) {
        EXPECT_EQ(other_contract(record(static_cast<std::uint16_t>(kind), {kContractVersion})), std::nullopt);
        EXPECT_EQ(other_contract(record(static_cast<std::uint16_t>(kind), {2})), 2U);
        EXPECT_EQ(other_contract(record(static_cast<std::uint16_t>(kind), {})), std::nullopt) << "cut short";
    }
    EXPECT_EQ(other_contract(record(MT_CONTRACT_object_destroy, {2})), std::nullopt) << "tells of no version";
}

TEST(ContractDecode, References) {
    const auto acquired = told<ReferenceTold>(record(MT_CONTRACT_ref_acquire, {0x1000, 0x2000, 0, 4}));
    EXPECT_EQ(acquired.action, ReferenceAction::acquired);
    EXPECT_EQ(acquired.object, 0x1000u);
    EXPECT_EQ(acquired.handle, 0x2000u);
    EXPECT_FALSE(acquired.strong);
    EXPECT_EQ(acquired.count, 4u);
    const auto released = told<ReferenceTold>(record(MT_CONTRACT_ref_release, {0x1000, 0x2000, 1, 3}));
    EXPECT_EQ(released.action, ReferenceAction::released);
    EXPECT_TRUE(released.strong);
    EXPECT_EQ(released.count, 3u);
    const auto moved = told<ReferenceTold>(record(MT_CONTRACT_ref_move, {0x1000, 0x2000, 0x3000, 1}));
    EXPECT_EQ(moved.action, ReferenceAction::moved);
    EXPECT_EQ(moved.from, 0x2000u);
    EXPECT_EQ(moved.handle, 0x3000u);
    EXPECT_TRUE(moved.strong);
    EXPECT_EQ(moved.count, 0u);
}

TEST(ContractDecode, Storages) {
    const auto acquired = told<StorageTold>(record(MT_CONTRACT_storage_acquire, {0x1000, 64, 0x2000}));
    EXPECT_EQ(acquired.action, StorageAction::acquired);
    EXPECT_EQ(acquired.address, 0x1000u);
    EXPECT_EQ(acquired.bytes, 64u);
    EXPECT_EQ(acquired.holder, 0x2000u);
    const auto released = told<StorageTold>(record(MT_CONTRACT_storage_release, {0x1000}));
    EXPECT_EQ(released.action, StorageAction::released);
    EXPECT_EQ(released.address, 0x1000u);
    const auto moved = told<StorageTold>(record(MT_CONTRACT_storage_move, {0x2000, 0x3000}));
    EXPECT_EQ(moved.action, StorageAction::moved);
    EXPECT_EQ(moved.from, 0x2000u);
    EXPECT_EQ(moved.holder, 0x3000u);
}

TEST(ContractDecode, Resources) {
    const auto acquired =
        told<ResourceTold>(record(MT_CONTRACT_resource_acquire, {7, 42, 9, 100, 10}, {"cursor\0select 1;\0", 17}));
    EXPECT_EQ(acquired.action, ResourceAction::acquired);
    EXPECT_EQ(acquired.kind, "cursor");
    EXPECT_EQ(acquired.id, 42u);
    EXPECT_EQ(acquired.parent, 9u);
    EXPECT_EQ(acquired.bytes, 100u);
    EXPECT_EQ(acquired.name, "select 1;");
    const auto alive = told<ResourceTold>(record(MT_CONTRACT_resource_alive, {7, 42, 9, 100, 0, 11, 12}, {"cursor\0", 7}));
    EXPECT_EQ(alive.action, ResourceAction::alive);
    EXPECT_EQ(alive.kind, "cursor");
    EXPECT_EQ(alive.name, "") << "it could not be read, or there is none";
    EXPECT_EQ(alive.age_ns, 11u);
    EXPECT_EQ(alive.idle_ns, 12u);
    EXPECT_EQ(told<ResourceTold>(record(MT_CONTRACT_resource_touch, {7, 42}, {"cursor\0", 7})).action, ResourceAction::touched);
    const auto released = told<ResourceTold>(record(MT_CONTRACT_resource_release, {7, 42}, {"cursor\0", 7}));
    EXPECT_EQ(released.action, ResourceAction::released);
    EXPECT_EQ(released.kind, "cursor");
    EXPECT_EQ(released.id, 42u);
}

TEST(ContractDecode, PoolsAndCleanups) {
    const auto got = told<PoolTold>(record(MT_CONTRACT_pool_get, {0x500, 5, 3, 8}, {"conn\0", 5}));
    EXPECT_EQ(got.action, PoolAction::got);
    EXPECT_EQ(got.pool, 0x500u);
    EXPECT_EQ(got.name, "conn");
    EXPECT_EQ(got.in_use, 3u);
    EXPECT_EQ(got.limit, 8u);
    EXPECT_EQ(told<PoolTold>(record(MT_CONTRACT_pool_put, {1, 0, 2, 3})).action, PoolAction::put);
    EXPECT_EQ(told<PoolTold>(record(MT_CONTRACT_pool_wait, {1, 0, 2, 3})).action, PoolAction::waited);
    EXPECT_EQ(told<PoolTold>(record(MT_CONTRACT_pool_limit, {1, 0, 2, 3})).action, PoolAction::limited);
    const auto began = told<CleanupTold>(record(MT_CONTRACT_cleanup_start, {2, 1000}));
    EXPECT_FALSE(began.ended);
    EXPECT_EQ(began.level, 2u);
    EXPECT_EQ(began.bytes, 1000u);
    const auto ended = told<CleanupTold>(record(MT_CONTRACT_cleanup_end, {2, 900, 4}));
    EXPECT_TRUE(ended.ended);
    EXPECT_EQ(ended.bytes, 900u);
    EXPECT_EQ(ended.released, 4u);
}

TEST(ContractDecode, ThreadEnd) {
    const auto ended = told<ThreadEnded>(record(MT_CONTRACT_THREAD_END, {}));
    EXPECT_EQ(ended.process, kOrigin.process);
    EXPECT_EQ(ended.tid, 1234);
    EXPECT_EQ(ended.mono_ns, 77u);
}

TEST(ContractDecode, AnnouncementsAndUnknownKindsTellNothing) {
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_announce, {1}), kOrigin));
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_announce_end, {1}), kOrigin));
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_NONE, {}), kOrigin));
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_KINDS, {1, 2, 3}), kOrigin));
    EXPECT_FALSE(decode_contract(record(0xffff, {1, 2, 3}), kOrigin));
}

TEST(ContractDecode, CutShortAnywhereTellsNothing) {
    const auto whole = record(MT_CONTRACT_resource_acquire, {7, 42, 9, 100, 10}, {"cursor\0select 1;\0", 17});
    ASSERT_TRUE(decode_contract(whole, kOrigin));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_FALSE(decode_contract(cut, kOrigin)) << "its size says otherwise";
        if (size >= sizeof(mt_contract_record)) {
            const auto claimed = static_cast<std::uint16_t>(size);
            std::memcpy(cut.data() + offsetof(mt_contract_record, size), &claimed, sizeof(claimed));
            EXPECT_FALSE(decode_contract(cut, kOrigin)) << size;
        }
    }
}

TEST(ContractDecode, StringsThatClaimTooMuchTellNothing) {
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_resource_touch, {8, 42}, {"cursor\0", 7}), kOrigin));
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_resource_touch, {~0ull, 42}, {"cursor\0", 7}), kOrigin));
    const std::string longer(MT_CONTRACT_STRING_BYTES + 1, 'x');
    EXPECT_FALSE(decode_contract(record(MT_CONTRACT_resource_touch, {longer.size(), 42}, longer), kOrigin));
    const std::string endless(MT_CONTRACT_STRING_BYTES, 'x'); // without its zero: as much as there is
    EXPECT_EQ(told<ResourceTold>(record(MT_CONTRACT_resource_touch, {endless.size(), 42}, endless)).kind, endless);
}

} // namespace
} // namespace memtrace
