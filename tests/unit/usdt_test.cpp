#include "proc/usdt.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "memtrace/probes.h"

namespace memtrace {
namespace {

std::string description(std::uint64_t address, std::uint64_t base, std::uint64_t semaphore, std::string_view strings) {
    const std::uint64_t numbers[] = {address, base, semaphore};
    return std::string(reinterpret_cast<const char*>(numbers), sizeof(numbers)) + std::string(strings);
}

constexpr std::string_view kStrings{"memtrace\0ref_acquire\0008@%rdi -4@$1\0", 34};

TEST(UsdtNote, HoldsAddressesAndThreeStrings) {
    const auto note = parse_usdt_note(description(0x1234, 0x2000, 0x3000, kStrings));
    ASSERT_TRUE(note);
    EXPECT_EQ(note->probe.provider, "memtrace");
    EXPECT_EQ(note->probe.name, "ref_acquire");
    EXPECT_EQ(note->probe.arguments, "8@%rdi -4@$1");
    EXPECT_EQ(note->probe.address, 0x1234u);
    EXPECT_EQ(note->base, 0x2000u);
    EXPECT_EQ(note->probe.semaphore, 0x3000u);
}

TEST(UsdtNote, MayHaveNoArguments) {
    const auto note = parse_usdt_note(description(1, 2, 3, {"a\0b\0\0", 5}));
    ASSERT_TRUE(note);
    EXPECT_EQ(note->probe.arguments, "");
}

TEST(UsdtNote, CutShortAnywhereIsNone) {
    const auto whole = description(1, 2, 3, kStrings);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(parse_usdt_note(std::string_view(whole).substr(0, size))) << size;
    }
    EXPECT_TRUE(parse_usdt_note(whole));
}

TEST(UsdtNote, WithoutProviderOrNameIsNone) {
    EXPECT_FALSE(parse_usdt_note(description(1, 2, 3, {"\0b\0\0", 4})));
    EXPECT_FALSE(parse_usdt_note(description(1, 2, 3, {"a\0\0\0", 4})));
}

/// Has the probes of this program in it.
__attribute__((noinline)) void own_probes(const void* object) {
    memtrace_object_create(object, 8, "Own");
    memtrace_pool_get(object, "own", 1, 2);
}

TEST(UsdtProbes, OfThisProgramAreWhereTheyAre) {
    own_probes(nullptr); // nobody traces: nothing fires
    const auto probes = read_usdt_probes("/proc/self/exe");
    ASSERT_TRUE(probes) << probes.error().message;
    const auto named = [&](const char* name) {
        return std::find_if(probes->begin(), probes->end(),
                            [&](const auto& probe) { return probe.provider == "memtrace" && probe.name == name; });
    };
    const auto create = named("object_create");
    const auto get = named("pool_get");
    ASSERT_NE(create, probes->end());
    ASSERT_NE(get, probes->end());
    EXPECT_EQ(std::count(create->arguments.begin(), create->arguments.end(), '@'), 3) << create->arguments;
    EXPECT_EQ(std::count(get->arguments.begin(), get->arguments.end(), '@'), 4) << get->arguments;
    // The distance of two semaphores is the same wherever the program is loaded.
    const auto apart = reinterpret_cast<std::uint64_t>(&memtrace_pool_get_semaphore) -
                       reinterpret_cast<std::uint64_t>(&memtrace_object_create_semaphore);
    EXPECT_EQ(get->semaphore - create->semaphore, apart);
    EXPECT_NE(create->address, 0u);
}

TEST(UsdtProbes, AreFoundInAProcess) {
    const auto mappings = read_maps(::getpid());
    ASSERT_TRUE(mappings);
    std::set<FileIdentity> seen;
    const auto objects = find_usdt_objects(::getpid(), *mappings, "memtrace", seen);
    ASSERT_EQ(objects.size(), 1u);
    EXPECT_TRUE(objects[0].file);
    EXPECT_GT(seen.size(), 1u); // the C library too, which has others
    EXPECT_TRUE(find_usdt_objects(::getpid(), *mappings, "memtrace", seen).empty()) << "none is looked at twice";
}

TEST(UsdtProbes, OfWhatIsNoProgramAreAnError) {
    EXPECT_FALSE(read_usdt_probes("/dev/null"));
    EXPECT_FALSE(read_usdt_probes("/proc/self/status"));
    EXPECT_FALSE(read_usdt_probes("/nowhere"));
}

TEST(UsdtProbes, OfADamagedFileNeverCrash) {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    std::string head(1 << 16, '\0');
    in.read(head.data(), static_cast<std::streamsize>(head.size()));
    const std::string path = ::testing::TempDir() + "usdt_damaged_" + std::to_string(::getpid());
    for (std::size_t at = 0; at < 64; ++at) { // each byte of the header
        auto damaged = head;
        damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
        std::ofstream(path, std::ios::binary) << damaged;
        const auto probes = read_usdt_probes(path);
        EXPECT_TRUE(!probes || probes->empty()) << at; // its sections are cut off
    }
    std::remove(path.c_str());
}

} // namespace
} // namespace memtrace
