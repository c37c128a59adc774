// What is heard of resources of the kernel, and what /proc has, becomes one story of each, whatever the order.
#include "model/held_resources.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "proc/resources.hpp"

namespace memtrace {
namespace {

class Heard {
public:
    std::string told; ///< "+3 " acquired, "*3 " alive, "-3 " released
    HeldResources held{[this](const ResourceTold& event) { take(event); }};

    void acquired(std::uint32_t id, std::uint64_t at, const std::string& kind = "fd:file") {
        held.acquired(id, {kind, ""}, origin(at));
    }
    void released(std::uint32_t id, std::uint64_t at) { held.released(id, origin(at)); }
    std::uint64_t compare(const std::vector<std::uint32_t>& listed, std::uint64_t at,
                          const std::unordered_set<std::uint32_t>& moving = {}) {
        return held.compare(listed, moving, origin(at), [](std::uint32_t id) {
            return id == kGone ? HeldResources::About{} : HeldResources::About{"fd:file", "name"};
        });
    }
    static constexpr std::uint32_t kGone = 99; ///< listed, and gone when it is looked at

private:
    static ContractOrigin origin(std::uint64_t at) { return {{1}, at, 7, {5}}; }

    /// Nothing is told twice, nor what was not acquired; never of another kind than it was acquired as.
    void take(const ResourceTold& event) {
        EXPECT_TRUE(event.of_kernel);
        if (event.action == ResourceAction::released) {
            EXPECT_EQ(model_[event.id], event.kind);
            model_.erase(event.id);
        } else {
            EXPECT_TRUE(event.action == ResourceAction::acquired || !model_.contains(event.id));
            model_[event.id] = event.kind;
        }
        told += (event.action == ResourceAction::released ? '-' : event.action == ResourceAction::alive ? '*' : '+');
        told += std::to_string(event.id) + ' ';
    }
    std::map<std::uint64_t, std::string> model_;
};

TEST(HeldResources, AcquiredAndReleased) {
    Heard heard;
    heard.acquired(3, 10);
    heard.released(3, 11);
    heard.released(4, 12); // older than the tracing
    EXPECT_EQ(heard.told, "+3 -3 ");
    EXPECT_EQ(heard.held.size(), 0U);
}

TEST(HeldResources, OneThatIsGivenOutAgainHasGone) {
    Heard heard;
    heard.acquired(3, 10);
    heard.acquired(3, 12, "fd:pipe"); // dup2
    EXPECT_EQ(heard.told, "+3 -3 +3 ");
}

TEST(HeldResources, AReleaseThatIsHeardAfterTheNextOneIsOfTheOneBefore) {
    Heard heard;
    heard.acquired(3, 10);
    heard.acquired(3, 13);
    heard.released(3, 12);
    EXPECT_EQ(heard.told, "+3 -3 +3 ");
    EXPECT_EQ(heard.held.size(), 1U);
    heard.acquired(3, 11); // by then it is another's
    EXPECT_EQ(heard.told, "+3 -3 +3 ");
}

TEST(HeldResources, WhatWasThereBeforeIsAnnounced) {
    Heard heard;
    EXPECT_EQ(heard.compare({0, 1, Heard::kGone}, 10), 2U);
    heard.released(1, 11);
    EXPECT_EQ(heard.told, "*0 *1 -1 ");
    EXPECT_EQ(heard.compare({0}, 12), 0U);
}

TEST(HeldResources, AnnouncedAndHeardOfLateIsOne) {
    Heard heard;
    heard.compare({3}, 10);
    heard.acquired(3, 9);
    EXPECT_EQ(heard.told, "*3 +3 "); // the model knows that it is one
    heard.compare({4}, 10, {3});
    heard.acquired(4, 12, "fd:pipe"); // over it, by dup2
    EXPECT_EQ(heard.told, "*3 +3 *4 -4 +4 ");
}

TEST(HeldResources, WhatMovesWhileProcIsReadIsLeftToTheRecords) {
    Heard heard;
    heard.acquired(3, 10);
    EXPECT_EQ(heard.compare({4}, 12, {3, 4}), 0U);
    heard.released(3, 11);
    heard.acquired(4, 11);
    heard.released(4, 12);
    EXPECT_EQ(heard.told, "+3 -3 +4 -4 ");
}

TEST(HeldResources, WhatWentAndCameUnheardIsFoundOut) {
    Heard heard;
    heard.acquired(3, 10);
    heard.acquired(4, 10);
    EXPECT_EQ(heard.compare({4, 5}, 12), 2U);
    EXPECT_EQ(heard.told, "+3 +4 -3 *5 ");
}

/// However many records are lost: after a look nothing is wrong.
TEST(HeldResources, ALookSetsEverythingRight) {
    std::mt19937 random(3);
    Heard heard;
    std::set<std::uint32_t> truth;
    for (std::uint64_t at = 10; at < 20'000; ++at) {
        const auto id = static_cast<std::uint32_t>(random() % 20);
        const bool lost = random() % 4 == 0;
        if (truth.erase(id) == 0) {
            truth.insert(id);
            lost ? void() : heard.acquired(id, at, random() % 2 == 0 ? "fd:file" : "fd:pipe");
        } else if (!lost) {
            heard.released(id, at);
        }
        if (random() % 50 == 0) {
            heard.compare({truth.begin(), truth.end()}, at);
            ASSERT_EQ(heard.held.size(), truth.size());
            ASSERT_EQ(heard.compare({truth.begin(), truth.end()}, at), 0U);
        }
    }
}

TEST(DescriptorKinds, OfModeAndFileSystem) {
    EXPECT_EQ(descriptor_kind(0100644, 0xef53, "log"), "fd:file");
    EXPECT_EQ(descriptor_kind(0100644, 0x01021994, "memfd:cache"), "fd:memfd");
    EXPECT_EQ(descriptor_kind(0040755, 0xef53, "etc"), "fd:directory");
    EXPECT_EQ(descriptor_kind(0020666, 0x01021994, "null"), "fd:device");
    EXPECT_EQ(descriptor_kind(0060666, 0x01021994, "sda"), "fd:device");
    EXPECT_EQ(descriptor_kind(0010600, 0x50495045, ""), "fd:pipe");
    EXPECT_EQ(descriptor_kind(0140777, 0x534f434b, "TCP"), "fd:socket");
    EXPECT_EQ(descriptor_kind(0600, 0x09041934, "[eventpoll]"), "fd:epoll");
    EXPECT_EQ(descriptor_kind(0100600, 0x09041934, "[timerfd]"), "fd:timerfd"); // has the type of a file since Linux 6.16
    EXPECT_EQ(descriptor_kind(0600, 0x09041934, "inotify"), "fd:inotify");
    EXPECT_EQ(descriptor_kind(0600, 0x09041934, ""), "fd:anonymous");
    EXPECT_EQ(descriptor_kind(0100600, 0x50494446, ""), "fd:pidfd");
}

} // namespace
} // namespace memtrace
