// What records of recipes tell of resources: shared ones, and those that are given back before it was told that they are there.
#include "app/mapped_ledger.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace memtrace {
namespace {

const std::vector<ResourceRecipe> kRecipes = *parse_recipes("[[resource]]\n"
                                                            "kind = 'other'\n"
                                                            "acquire = 'a() -> id'\n"
                                                            "release = 'b(id)'\n"
                                                            "[[resource]]\n"
                                                            "kind = 'ssl'\n"
                                                            "acquire = ['new() -> id', 'dup() -> id']\n"
                                                            "share = 'up_ref(id)'\n"
                                                            "touch = 'read(id)'\n"
                                                            "release = 'free(id)'\n",
                                                            "test.toml");

/// Of recipe `ssl`.
class Process {
public:
    std::string tell(MappedAction action, std::uint64_t id, std::uint64_t began_ns = 0, std::int32_t tid = 1) {
        const ContractOrigin origin{{1}, now += 1000, tid, {5}};
        return text(
            ledger.on(kRecipes, mapped_number(kRecipes, 1, action, 0), {began_ns == 0 ? now : began_ns, id, 9, 8, "n"}, origin));
    }
    static std::string text(const std::optional<Event>& event) {
        if (!event) {
            return "nothing";
        }
        const auto& told = std::get<ResourceTold>(*event);
        const char* const actions[] = {"acquired", "alive", "touched", "released"};
        return actions[static_cast<int>(told.action)] + (" " + told.kind) + " " + std::to_string(told.id);
    }

    MappedLedger ledger;
    std::uint64_t now = 1'000'000;
};

TEST(MappedLedger, ActionsAreThoseOfTheRecipe) {
    Process process;
    EXPECT_EQ(process.tell(MappedAction::acquire, 7), "acquired ssl 7");
    EXPECT_EQ(process.tell(MappedAction::touch, 7), "touched ssl 7");
    EXPECT_EQ(process.tell(MappedAction::release, 7), "released ssl 7");
}

TEST(MappedLedger, AcquiringTellsEverything) {
    MappedLedger ledger;
    const ContractOrigin origin{{1}, 77, 12, {5}};
    const auto event =
        ledger.on(kRecipes, mapped_number(kRecipes, 1, MappedAction::acquire, 1), {70, 7, 9, 8, "select 1"}, origin);
    ASSERT_TRUE(event);
    const auto& told = std::get<ResourceTold>(*event);
    EXPECT_EQ(told.origin, origin);
    EXPECT_EQ(told.parent, 9U);
    EXPECT_EQ(told.bytes, 8U);
    EXPECT_EQ(told.name, "select 1");
}

TEST(MappedLedger, OnlyTheLastOfSeveralReleasesIsOne) {
    Process process;
    process.tell(MappedAction::acquire, 7);
    process.tell(MappedAction::acquire, 8);
    EXPECT_EQ(process.tell(MappedAction::share, 7), "nothing");
    EXPECT_EQ(process.tell(MappedAction::share, 7), "nothing");
    EXPECT_EQ(process.tell(MappedAction::release, 7), "nothing");
    EXPECT_EQ(process.tell(MappedAction::release, 8), "released ssl 8");
    EXPECT_EQ(process.tell(MappedAction::release, 7), "nothing");
    EXPECT_EQ(process.tell(MappedAction::release, 7), "released ssl 7");
}

TEST(MappedLedger, AnAddressThatComesAgainIsNotShared) {
    Process process;
    process.tell(MappedAction::acquire, 7);
    process.tell(MappedAction::share, 7);
    process.tell(MappedAction::acquire, 7); // the releases in between were not seen
    EXPECT_EQ(process.tell(MappedAction::release, 7), "released ssl 7");
}

TEST(MappedLedger, WhatIsOlderThanTheTracingIsReleased) {
    Process process;
    process.tell(MappedAction::share, 7);
    EXPECT_EQ(process.tell(MappedAction::release, 7), "released ssl 7");
}

TEST(MappedLedger, WhatIsGivenBackBeforeItsAcquisitionHasReturnedIsNotHeld) {
    Process process;
    const auto began = process.now;
    EXPECT_EQ(process.tell(MappedAction::release, 7, 0, 2), "released ssl 7"); // a thread that detaches itself
    EXPECT_EQ(process.tell(MappedAction::acquire, 7, began), "nothing");
    EXPECT_EQ(process.tell(MappedAction::acquire, 7, began), "acquired ssl 7"); // once
}

TEST(MappedLedger, AnEarlierOwnersReleaseIsNoneOfTheNext) {
    Process process;
    process.tell(MappedAction::acquire, 7);
    const auto began = process.now;
    process.tell(MappedAction::release, 7, 0, 2); // by another thread, while this one gets the same address again
    EXPECT_EQ(process.tell(MappedAction::acquire, 7, began), "acquired ssl 7");
    process.tell(MappedAction::release, 7);
    process.tell(MappedAction::release, 7); // of nothing, before the call below began
    EXPECT_EQ(process.tell(MappedAction::acquire, 7), "acquired ssl 7");
}

TEST(MappedLedger, NumbersOfNoSignatureTellNothing) {
    MappedLedger ledger;
    for (const std::uint32_t number : {MT_MAPPED_NUMBER(0u, 2u), MT_MAPPED_NUMBER(2u, 0u), ~0u}) {
        EXPECT_FALSE(ledger.on(kRecipes, number, {}, {}));
    }
}

std::vector<std::byte> record(std::size_t fields, const std::string& name) {
    std::string text(sizeof(mt_contract_record), '\0');
    for (std::uint64_t value = 1; value <= fields; ++value) {
        text.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    text += name;
    const auto* const bytes = reinterpret_cast<const std::byte*>(text.data());
    return {bytes, bytes + text.size()};
}

TEST(MappedRecord, IsReadToItsEnd) {
    const auto told = decode_mapped(record(MT_MAPPED_FIELDS, std::string("n\0", 2)));
    ASSERT_TRUE(told);
    EXPECT_EQ(told->began_ns, 1U);
    EXPECT_EQ(told->id, 2U);
    EXPECT_EQ(told->parent, 3U);
    EXPECT_EQ(told->bytes, 4U);
    EXPECT_EQ(told->name, "n");
    EXPECT_EQ(decode_mapped(record(MT_MAPPED_FIELDS, ""))->name, "");
    EXPECT_EQ(decode_mapped(record(MT_MAPPED_FIELDS, "cut"))->name, "cut");
    EXPECT_FALSE(decode_mapped(record(MT_MAPPED_FIELDS - 1, "")));
    EXPECT_FALSE(decode_mapped({}));
}

TEST(MappedCookie, EveryFieldComesBack) {
    for (unsigned shift = 0; shift < 8; ++shift) {
        mt_mapped_signature in{};
        in.id = 1 << shift & 15;
        in.parent = 2 << shift & 15;
        in.bytes = 4 << shift & 15;
        in.name = 8 << shift & 15;
        in.out = shift & 1;
        in.success = shift & 7;
        in.unless = 3 << shift & 15;
        in.unless_at = static_cast<__u8>(1 << shift);
        in.unless_mask = static_cast<__u8>(128 >> shift);
        in.acquire = ~shift & 1;
        in.number = static_cast<__u16>(257 << shift);
        const auto out = mt_mapped_unpack(mt_mapped_pack(in));
        EXPECT_EQ(std::memcmp(&in, &out, sizeof(in)), 0) << shift;
    }
}

TEST(MappedCookie, SuccessIsOfAnInt) {
    const std::uint64_t minus_one = 0xffff'ffff; // what an int leaves in a register
    EXPECT_TRUE(mt_mapped_succeeded(MT_MAPPED_ALWAYS, 0));
    EXPECT_TRUE(mt_mapped_succeeded(MT_MAPPED_ZERO, 0xdead'0000'0000));
    EXPECT_FALSE(mt_mapped_succeeded(MT_MAPPED_ZERO, 1));
    EXPECT_TRUE(mt_mapped_succeeded(MT_MAPPED_NOT_ZERO, minus_one));
    EXPECT_TRUE(mt_mapped_succeeded(MT_MAPPED_NOT_NEGATIVE, 0));
    EXPECT_FALSE(mt_mapped_succeeded(MT_MAPPED_NOT_NEGATIVE, minus_one));
    EXPECT_FALSE(mt_mapped_succeeded(MT_MAPPED_POSITIVE, 0));
}

} // namespace
} // namespace memtrace
