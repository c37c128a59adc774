// include/memtrace/probes.h: what is in the file for a tracer to find, and what is told when.
#include "memtrace/probes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "app/contract_decode.hpp"
#include "proc/usdt.hpp"
#include "tests/unit/probe_listener.hpp"
#include "tests/unit/symbol_fixture.hpp"

namespace memtrace {
namespace {

using probe_test::ProbeEvent;
using probe_test::ProbeListener;

/// Each probe, and how many arguments it has.
const std::map<std::string, int> kProbes = {
    {"memtrace:object_create", 3},    {"memtrace:object_alive", 5},    {"memtrace:object_destroy", 1},
    {"memtrace:ref_acquire", 4},      {"memtrace:ref_release", 4},     {"memtrace:ref_move", 4},
    {"memtrace:storage_acquire", 3},  {"memtrace:storage_release", 1}, {"memtrace:storage_move", 2},
    {"memtrace:resource_acquire", 5}, {"memtrace:resource_alive", 7},  {"memtrace:resource_touch", 2},
    {"memtrace:resource_release", 2}, {"memtrace:pool_get", 4},        {"memtrace:pool_put", 4},
    {"memtrace:pool_wait", 4},        {"memtrace:pool_limit", 4},      {"memtrace:cleanup_start", 2},
    {"memtrace:cleanup_end", 3},      {"memtrace:announce", 1},        {"memtrace:announce_end", 1},
    {"memtrace:emergency_low", 1},    {"memtrace:emergency_high", 1},  {"memtrace:emergency_critical", 1},
    {"otel_memory:alloc", 3},         {"otel_memory:free", 1},
};

int argument_count(const std::string& arguments) {
    return arguments.empty() ? 0 : static_cast<int>(std::count(arguments.begin(), arguments.end(), ' ')) + 1;
}

/// Every probe is there, at each of its places with a semaphore and all its arguments.
void expect_all_probes(const std::string& path) {
    std::set<std::string> found;
    std::map<std::string, std::set<std::uint64_t>> semaphores;
    const auto probes = read_usdt_probes(path);
    ASSERT_TRUE(probes) << probes.error().message;
    for (const auto& note : *probes) {
        const auto name = note.provider + ":" + note.name;
        ASSERT_EQ(kProbes.count(name), 1U) << name;
        EXPECT_EQ(argument_count(note.arguments), kProbes.at(name)) << name << " " << note.arguments;
        EXPECT_NE(note.semaphore, 0U) << name;
        EXPECT_NE(note.address, 0U) << name;
        found.insert(name);
        semaphores[name].insert(note.semaphore);
    }
    for (const auto& [name, count] : kProbes) {
        EXPECT_EQ(found.count(name), 1U) << name << " is missing";
        EXPECT_EQ(semaphores[name].size(), 1U) << name << " has one semaphore, whatever the number of its places";
    }
    std::set<std::uint64_t> distinct;
    for (const auto& [name, addresses] : semaphores) {
        distinct.insert(addresses.begin(), addresses.end());
    }
    EXPECT_EQ(distinct.size(), kProbes.size());
}

const int object = 0;
const int handle = 0;
const int other_handle = 0;

std::uint64_t address_of(const void* pointer) {
    return reinterpret_cast<std::uint64_t>(pointer);
}

/// Also makes this program have a note of each.
void tell_all() {
    memtrace_object_create(&object, 32, "Session");
    memtrace_ref_acquire(&object, &handle, 1, 2);
    memtrace_ref_release(&object, &handle, 0, 0);
    memtrace_ref_move(&object, &handle, &other_handle, 1);
    memtrace_storage_acquire(&other_handle, 64, &handle);
    memtrace_storage_move(&handle, &object);
    memtrace_storage_release(&other_handle);
    memtrace_object_destroy(&object);
    memtrace_resource_acquire("cursor", 7, 3, 4096, "SELECT 1");
    memtrace_resource_touch("cursor", 7);
    memtrace_resource_release("cursor", 7);
    memtrace_pool_limit(&object, "workers", 0, 4);
    memtrace_pool_get(&object, "workers", 1, 4);
    memtrace_pool_wait(&object, "workers", 4, 4);
    memtrace_pool_put(&object, "workers", 3, 4);
    memtrace_otel_alloc(&object, 100, 524288);
    memtrace_otel_free(&object);
}

std::vector<std::string> names_of(const std::vector<ProbeEvent>& events) {
    std::vector<std::string> names;
    for (const auto& event : events) {
        names.emplace_back(event.probe);
    }
    return names;
}

using Names = std::vector<std::string>;

TEST(SdkProbes, ThisProgramHasANoteWithASemaphoreForEachProbe) {
    expect_all_probes("/proc/self/exe");
}

// One source for both languages; compiled at each level at which the compiler's choices of operands differ.
TEST(SdkProbes, CAndCxxProgramsHaveThemAll) {
    const symbol_test::TemporaryDirectory directory;
    const auto root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
    const auto source = (root / "tests/targets/contract/contract.c").string();
    const auto flags = " -g -Wall -Wextra -pedantic -Werror -I" + (root / "include").string() + " -I" +
                       (root / "tests/targets").string() + " -o " + directory.path("contract") + " ";
    for (const std::string compiler : {"gcc -std=gnu99", "gcc -std=gnu17", "g++ -x c++ -std=c++17", "g++ -x c++ -std=c++20",
                                       "clang-19 -std=gnu99", "clang++-19 -x c++ -std=c++17", "clang++-19 -x c++ -std=c++20"}) {
        for (const std::string level : {" -O0", " -O2"}) {
            SCOPED_TRACE(compiler + level);
            symbol_test::run(compiler + level + flags + source + " 2>&1");
            expect_all_probes(directory.path("contract"));
            EXPECT_NE(symbol_test::run(directory.path("contract")).find("note rounds 3"), std::string::npos);
        }
    }
}

/// The first piece of C++ in `readme`, built by each compiler, runs silently and has `probes`.
void expect_example(const std::filesystem::path& readme, const std::vector<std::string>& probes) {
    const symbol_test::TemporaryDirectory directory;
    const auto include = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path() / "include";
    const auto text = symbol_test::read_file((include / readme).string());
    const std::string begin = "```cpp\n";
    const auto from = text.find(begin);
    ASSERT_NE(from, std::string::npos);
    const auto example = text.substr(from + begin.size(), text.find("```", from + begin.size()) - from - begin.size());
    symbol_test::write_file(directory.path("example.cpp"), example);
    for (const std::string compiler : {"g++ -std=c++17", "clang++-19 -std=c++20"}) {
        symbol_test::run(compiler + " -O1 -Wall -Wextra -Wshadow -pedantic -Werror -I" + include.string() + " -o " +
                         directory.path("example") + " " + directory.path("example.cpp") + " 2>&1");
        EXPECT_EQ(symbol_test::run(directory.path("example")), "");
        std::set<std::string> found;
        const auto notes = read_usdt_probes(directory.path("example"));
        ASSERT_TRUE(notes) << notes.error().message;
        for (const auto& note : *notes) {
            found.insert(note.name);
        }
        for (const auto& probe : probes) {
            EXPECT_EQ(found.count(probe), 1U) << probe;
        }
    }
}

TEST(SdkProbes, ExampleOfTheReadmeBuildsAndRuns) {
    expect_example("memtrace/README.md", {"resource_acquire", "resource_touch", "resource_release", "object_create",
                                          "ref_acquire", "pool_get", "cleanup_start", "announce"});
}

TEST(SdkProbes, ExampleOfTheFirstReadmeBuildsAndRuns) {
    expect_example("../README.md", {"resource_acquire", "resource_touch", "resource_release", "object_create", "ref_acquire",
                                    "storage_acquire", "pool_get", "cleanup_start", "announce"});
}

TEST(SdkProbes, NothingIsToldToNobody) {
    const ProbeListener listener({"memtrace:ref_move"});
    memtrace_object_create(&object, 32, "Session");
    memtrace_ref_acquire(&object, &handle, 1, 1);
    EXPECT_TRUE(listener.events().empty());
    memtrace_ref_move(&object, &handle, &other_handle, 1);
    EXPECT_EQ(names_of(listener.events()), Names{"ref_move"});
}

TEST(SdkProbes, ArgumentsArriveAsTheyWereGiven) {
    std::set<std::string> all;
    for (const auto& [name, count] : kProbes) {
        if (name.find("emergency") == std::string::npos && name != "memtrace:announce") {
            all.insert(name);
        }
    }
    const ProbeListener listener(all);
    tell_all();
    memtrace_object_alive(&object, 32, "Session", 5, 6);
    memtrace_resource_alive("cursor", 7, 3, 4096, "SELECT 1", 2000, 1000);
    memtrace_cleanup_start(2, 1 << 20);
    memtrace_cleanup_end(2, 1 << 19, 9);
    const auto events = listener.events();
    ASSERT_EQ(names_of(events), (Names{"object_create",
                                       "ref_acquire",
                                       "ref_release",
                                       "ref_move",
                                       "storage_acquire",
                                       "storage_move",
                                       "storage_release",
                                       "object_destroy",
                                       "resource_acquire",
                                       "resource_touch",
                                       "resource_release",
                                       "pool_limit",
                                       "pool_get",
                                       "pool_wait",
                                       "pool_put",
                                       "alloc",
                                       "free",
                                       "object_alive",
                                       "resource_alive",
                                       "cleanup_start",
                                       "cleanup_end"}));
    using Args = std::array<std::uint64_t, 7>;
    const auto at = address_of(&object);
    EXPECT_EQ(events[0].args[0], at);
    EXPECT_EQ(events[0].args[1], 32U);
    EXPECT_STREQ(events[0].text(2), "Session");
    EXPECT_EQ(events[1].args, (Args{at, address_of(&handle), 1, 2}));
    EXPECT_EQ(events[2].args, (Args{at, address_of(&handle), 0, 0}));
    EXPECT_EQ(events[3].args, (Args{at, address_of(&handle), address_of(&other_handle), 1}));
    EXPECT_EQ(events[4].args, (Args{address_of(&other_handle), 64, address_of(&handle)}));
    EXPECT_EQ(events[5].args, (Args{address_of(&handle), at}));
    EXPECT_EQ(events[6].args, (Args{address_of(&other_handle)}));
    EXPECT_EQ(events[7].args, (Args{at}));
    EXPECT_STREQ(events[8].text(0), "cursor");
    EXPECT_EQ(events[8].args[1], 7U);
    EXPECT_EQ(events[8].args[2], 3U);
    EXPECT_EQ(events[8].args[3], 4096U);
    EXPECT_STREQ(events[8].text(4), "SELECT 1");
    EXPECT_EQ(events[9].args[1], 7U);
    EXPECT_EQ(events[10].args[1], 7U);
    EXPECT_EQ(events[12].args[0], at);
    EXPECT_STREQ(events[12].text(1), "workers");
    EXPECT_EQ(events[12].args[2], 1U);
    EXPECT_EQ(events[12].args[3], 4U);
    EXPECT_EQ(events[15].args, (Args{at, 100, 524288}));
    EXPECT_EQ(events[16].args, (Args{at}));
    EXPECT_EQ(events[17].args[3], 5U);
    EXPECT_EQ(events[17].args[4], 6U);
    EXPECT_EQ(events[18].args[5], 2000U);
    EXPECT_EQ(events[18].args[6], 1000U);
    EXPECT_EQ(events[19].args, (Args{2, 1 << 20}));
    EXPECT_EQ(events[20].args, (Args{2, 1 << 19, 9}));
}

int answers = 0;

void count_answer(void* context) {
    ++answers;
    memtrace_object_alive(context, 48, "Announced", 3, 1);
}

/// Never removed, as the contract says.
void add_counting_announcer() {
    static memtrace_announcer announcer{count_answer, const_cast<int*>(&object), nullptr};
    static const bool added = (memtrace_add_announcer(&announcer), true);
    EXPECT_TRUE(added);
}

TEST(SdkAnnounce, TheNextProbeAnswersOnceForEachRequest) {
    add_counting_announcer();
    answers = 0;
    const std::set<std::string> watched{"memtrace:ref_move"};
    {
        const ProbeListener listener(watched);
        memtrace_ref_move(&object, &handle, &other_handle, 1);
        EXPECT_EQ(answers, 0) << "nobody asked";
    }
    for (int request = 1; request <= 2; ++request) {
        {
            const ProbeListener listener({"memtrace:ref_move", "memtrace:announce"});
            memtrace_ref_move(&object, &handle, &other_handle, 1);
            memtrace_ref_move(&object, &handle, &other_handle, 1);
            EXPECT_EQ(answers, request);
        }
        // The tracer takes its request back, and goes on listening: that it was gone is seen by the next probe.
        const ProbeListener listener(watched);
        memtrace_ref_move(&object, &handle, &other_handle, 1);
        EXPECT_EQ(answers, request);
    }
}

TEST(SdkAnnounce, WhatIsAliveComesBetweenTheBeginningAndTheEndBeforeTheProbeThatAnswers) {
    add_counting_announcer();
    const ProbeListener listener(
        {"memtrace:resource_touch", "memtrace:object_alive", "memtrace:announce", "memtrace:announce_end"});
    memtrace_resource_touch("cursor", 1);
    const auto events = listener.events();
    ASSERT_GE(events.size(), 4U);
    EXPECT_EQ(events.front().probe, "announce");
    EXPECT_EQ(events.front().args[0], static_cast<std::uint64_t>(MEMTRACE_PROBES_VERSION));
    EXPECT_EQ(events[events.size() - 2].probe, "announce_end");
    EXPECT_EQ(events.back().probe, "resource_touch");
    std::size_t ours = 0;
    for (std::size_t i = 1; i + 2 < events.size(); ++i) {
        EXPECT_EQ(events[i].probe, "object_alive");
        if (events[i].args[0] == address_of(&object)) {
            ++ours;
            EXPECT_EQ(events[i].args[3], 3U);
            EXPECT_STREQ(events[i].text(2), "Announced");
        }
    }
    EXPECT_EQ(ours, 1U);
}

TEST(SdkAnnounce, AnUntracedProbeAnswersNobody) {
    add_counting_announcer();
    answers = 0;
    const ProbeListener listener({"memtrace:announce"});
    tell_all();
    EXPECT_EQ(answers, 0);
    EXPECT_TRUE(listener.events().empty());
}

static_assert(kContractVersion == MEMTRACE_PROBES_VERSION);

TEST(SdkEmergency, TheMostUrgentRequestCounts) {
    EXPECT_EQ(memtrace_emergency_level(), 0);
    {
        const ProbeListener low({"memtrace:emergency_low"});
        EXPECT_EQ(memtrace_emergency_level(), 1);
    }
    {
        const ProbeListener both({"memtrace:emergency_low", "memtrace:emergency_critical"});
        EXPECT_EQ(memtrace_emergency_level(), 3);
    }
    {
        const ProbeListener both({"memtrace:emergency_low", "memtrace:emergency_high"});
        EXPECT_EQ(memtrace_emergency_level(), 2);
    }
    EXPECT_EQ(memtrace_emergency_level(), 0);
}

TEST(SdkEmergency, TheAnswerNamesTheLevelAndTheTarget) {
    const std::map<int, std::string> levels{{1, "emergency_low"}, {2, "emergency_high"}, {3, "emergency_critical"}};
    const ProbeListener listener({"memtrace:emergency_low", "memtrace:emergency_high", "memtrace:emergency_critical",
                                  "memtrace:cleanup_start", "memtrace:cleanup_end"});
    std::size_t at = 0;
    for (const auto& [level, probe] : levels) {
        memtrace_cleanup_start(level, 4096);
        memtrace_cleanup_end(level, 2048, 5);
        const auto events = listener.events();
        ASSERT_EQ(events.size(), at + 3);
        EXPECT_EQ(events[at].probe, probe);
        EXPECT_EQ(events[at].args[0], 4096U);
        EXPECT_EQ(events[at + 1].probe, "cleanup_start");
        EXPECT_EQ(events[at + 1].args[0], static_cast<std::uint64_t>(level));
        EXPECT_EQ(events[at + 2].probe, "cleanup_end");
        EXPECT_EQ(events[at + 2].args[1], 2048U);
        EXPECT_EQ(events[at + 2].args[2], 5U);
        at += 3;
    }
}

} // namespace
} // namespace memtrace
