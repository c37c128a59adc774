// Handles and the manager: who frees what and when, what tracers are told, and what an emergency may take.
#include "memtrace/resource.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/probe_trap.hpp"

namespace memtrace {
namespace {

using Lines = std::vector<std::string>;
using std::to_string;

constexpr int kLow = 1;
constexpr int kHigh = 2;
constexpr int kCritical = 3;
/// Levels decide by priority alone.
constexpr emergency_policy kNoMatterHowIdle{{resource_priority::low, std::chrono::seconds(0)},
                                            {resource_priority::normal, std::chrono::seconds(0)},
                                            {resource_priority::high, std::chrono::seconds(0)}};

/// What was freed, in order.
struct Freed {
    Lines names;
    std::function<void(std::string&)> note() {
        return [this](std::string& name) { names.push_back(name); };
    }
};

resource_handle<std::string> make(const std::string& value, Freed& freed, resource_manager& manager,
                                  resource_info info = {"thing"}) {
    return {value, std::move(info), freed.note(), manager};
}

resource_handle<std::string> make_evictable(const std::string& value, Freed& freed, resource_manager& manager,
                                            resource_priority priority, std::uint64_t bytes = 100, std::uint64_t parent = 0) {
    auto handle = make(value, freed, manager, {"thing", value, bytes, parent, priority});
    handle.evictable();
    return handle;
}

// ---- ownership and strategies -------------------------------------------------------------------------------------------------

TEST(SdkResource, ReleasedOnceAtTheEndOfItsScope) {
    resource_manager manager;
    Freed freed;
    {
        const auto handle = make("a", freed, manager);
        EXPECT_EQ(*handle, "a");
        EXPECT_EQ(manager.live(), 1U);
        EXPECT_TRUE(freed.names.empty());
    }
    EXPECT_EQ(freed.names, Lines{"a"});
    EXPECT_EQ(manager.live(), 0U);
}

TEST(SdkResource, MovesWithoutReleasing) {
    resource_manager manager;
    Freed freed;
    auto first = make("a", freed, manager);
    const auto id = first.id();
    auto second = std::move(first);
    EXPECT_FALSE(first); // NOLINT(bugprone-use-after-move): it says that it is empty
    EXPECT_EQ(second.id(), id);
    EXPECT_TRUE(freed.names.empty());
    second = make("b", freed, manager);
    EXPECT_EQ(freed.names, Lines{"a"});
    auto& same = second;
    second = std::move(same);
    EXPECT_EQ(*second, "b");
    second.reset();
    second.reset();
    EXPECT_EQ(freed.names, (Lines{"a", "b"}));
}

TEST(SdkResource, DropDestroysTheValue) {
    resource_manager manager;
    auto value = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = value;
    {
        const resource_handle<std::shared_ptr<int>> handle(std::move(value), {"shared"}, manager);
    }
    EXPECT_TRUE(watched.expired());
}

TEST(SdkResource, NoneLeavesTheValueAlone) {
    resource_manager manager;
    std::vector<std::string> fates;
    struct Noted {
        std::vector<std::string>* fates;
        explicit Noted(std::vector<std::string>* fates_) : fates(fates_) {}
        Noted(Noted&& other) noexcept : fates(std::exchange(other.fates, nullptr)) {}
        Noted& operator=(Noted&&) = delete;
        ~Noted() {
            if (fates) {
                fates->push_back("destroyed");
            }
        }
    };
    {
        const resource_handle<Noted> handle(Noted(&fates), {"other's"}, cleanup_strategy::none, {}, manager);
    }
    EXPECT_TRUE(fates.empty());
    EXPECT_EQ(manager.live(), 0U);
    {
        const resource_handle<Noted> handle(Noted(&fates), {"ours"}, manager);
    }
    EXPECT_EQ(fates, Lines{"destroyed"});
}

TEST(SdkResource, MoveOnlyValues) {
    resource_manager manager;
    int seen = 0;
    {
        const resource_handle<std::unique_ptr<int>> handle(std::make_unique<int>(7), {"p"}, [&](auto& p) { seen = *p; }, manager);
    }
    EXPECT_EQ(seen, 7);
}

TEST(SdkResource, DeferredWaitsForCollect) {
    resource_manager manager;
    Freed freed;
    for (const char* name : {"a", "b"}) {
        const resource_handle<std::string> handle(name, {"slow", "", 10}, cleanup_strategy::deferred, freed.note(), manager);
    }
    EXPECT_TRUE(freed.names.empty());
    EXPECT_EQ(manager.live(), 2U); // it still takes memory
    EXPECT_EQ(manager.live_bytes(), 20U);
    EXPECT_EQ(manager.collect(), 2U);
    EXPECT_EQ(freed.names, (Lines{"b", "a"}));
    EXPECT_EQ(manager.live(), 0U);
    EXPECT_EQ(manager.collect(), 0U);
}

TEST(SdkResource, UseIsNoted) {
    resource_manager manager;
    const resource_handle<int> handle(1, {"used"}, manager);
    while (handle.idle() == std::chrono::nanoseconds(0)) { // the clock goes in steps
    }
    const auto before = handle.idle();
    handle.touch();
    EXPECT_LT(handle.idle(), before);
}

// ---- pins ---------------------------------------------------------------------------------------------------------------------

TEST(SdkResource, APinOutlivesItsHandle) {
    resource_manager manager;
    Freed freed;
    auto handle = make("a", freed, manager);
    auto pin = handle.pin();
    auto another = handle.pin();
    handle.reset();
    EXPECT_EQ(*pin, "a");
    pin = {};
    EXPECT_TRUE(freed.names.empty());
    EXPECT_EQ(manager.live(), 1U);
    another = {};
    EXPECT_EQ(freed.names, Lines{"a"});
    EXPECT_EQ(manager.live(), 0U);
}

TEST(SdkResource, DeferredAndPinnedIsQueuedByTheLastPin) {
    resource_manager manager;
    Freed freed;
    resource_handle<std::string> handle("a", {"slow"}, cleanup_strategy::deferred, freed.note(), manager);
    auto pin = handle.pin();
    handle.reset();
    EXPECT_EQ(manager.collect(), 0U);
    pin = {};
    EXPECT_TRUE(freed.names.empty());
    EXPECT_EQ(manager.collect(), 1U);
    EXPECT_EQ(freed.names, Lines{"a"});
}

TEST(SdkResource, WhatIsEvictableHasToBePinned) {
    resource_manager manager;
    resource_handle<int> handle(1, {"cache"}, manager);
    EXPECT_NE(handle.get(), nullptr);
    handle.evictable();
    EXPECT_EQ(handle.get(), nullptr);
    EXPECT_EQ(*handle.pin(), 1);
}

// ---- shutdown -----------------------------------------------------------------------------------------------------------------

TEST(SdkResource, ShutdownFreesTheYoungestFirstSoChildrenBeforeParents) {
    resource_manager manager;
    Freed freed;
    auto connection = make("connection", freed, manager);
    const auto session = make("session", freed, manager, {"session", "", 0, connection.id()});
    const auto cursor = make("cursor", freed, manager, {"cursor", "", 0, session.id()});
    const auto other = make("other", freed, manager);
    {
        const resource_handle<std::string> late("late", {"late"}, cleanup_strategy::deferred, freed.note(), manager);
    }
    EXPECT_EQ(manager.shutdown(), 5U);
    EXPECT_EQ(freed.names, (Lines{"late", "other", "cursor", "session", "connection"}));
    EXPECT_FALSE(connection);
    EXPECT_EQ(connection.get(), nullptr);
    EXPECT_FALSE(cursor.pin());
    connection.reset();
    EXPECT_EQ(manager.shutdown(), 0U);
    EXPECT_EQ(manager.collect(), 0U);
    EXPECT_EQ(freed.names.size(), 5U);
}

TEST(SdkResource, AHandleMayOutliveItsManager) {
    Freed freed;
    resource_handle<std::string> handle;
    resource_handle<std::string> pinned;
    resource_pin<std::string> pin;
    {
        resource_manager manager;
        handle = make("a", freed, manager);
        pinned = {"b", {"slow"}, cleanup_strategy::deferred, freed.note(), manager};
        pin = pinned.pin();
    }
    EXPECT_EQ(freed.names, Lines{"a"});
    handle.reset();
    EXPECT_EQ(*pin, "b");
    pin = {};
    EXPECT_EQ(freed.names, (Lines{"a", "b"}));
}

// ---- what tracers are told ------------------------------------------------------------------------------------------------------

class SdkResourceProbes : public testing::Test {
protected:
    void SetUp() override {
        if (!probe_test::kProbeListenerWorks) {
            GTEST_SKIP() << "this architecture's breakpoints are not known here";
        }
        // That a tracer which asked has gone is noticed by the next probe that fires.
        const ProbeTrap trap("memtrace");
        const resource_handle<int> any(1, {"any"});
    }
};

TEST_F(SdkResourceProbes, AcquireTouchRelease) {
    resource_manager manager;
    ProbeTrap trap("memtrace");
    resource_handle<int> parent(3, {"connection", "db:5432"}, manager);
    resource_handle<int> child(4, {"cursor", "SELECT 1", 512, parent.id()}, manager);
    const auto p = to_string(parent.id());
    const auto c = to_string(child.id());
    child.touch();
    child.reset();
    parent.reset();
    EXPECT_EQ(trap.take(), (Lines{"resource_acquire connection " + p + " 0 0 db:5432",
                                  "resource_acquire cursor " + c + " " + p + " 512 SELECT 1", "resource_touch cursor " + c,
                                  "resource_release cursor " + c, "resource_release connection " + p}));
}

TEST_F(SdkResourceProbes, DeferredIsReleasedWhenItIsFreed) {
    resource_manager manager;
    ProbeTrap trap("memtrace");
    {
        const resource_handle<int> handle(1, {"slow"}, cleanup_strategy::deferred, {}, manager);
    }
    EXPECT_TRUE(trap.take("resource_release").empty());
    manager.collect();
    EXPECT_EQ(trap.take("resource_release").size(), 1U);
}

TEST_F(SdkResourceProbes, ATracerThatComesLateIsToldWhatIsAlive) {
    resource_manager manager;
    const resource_handle<int> before(1, {"fd", "/etc/passwd", 4096}, manager);
    const resource_handle<int> in_process(1, {"fd", "of the process"});
    {
        const resource_handle<int> gone(1, {"gone", "x"}, manager);
    }
    ProbeTrap trap("memtrace", {"emergency_low", "emergency_high", "emergency_critical"});
    {
        const resource_handle<int> first(1, {"first", "x"}, manager);
    } // any probe will do
    const auto lines = trap.take();
    const auto alive = [&](const std::string& begin) {
        return std::count_if(lines.begin(), lines.end(),
                             [&](const auto& line) { return line.compare(0, begin.size(), begin) == 0; });
    };
    EXPECT_EQ(lines.front(), "announce 1");
    EXPECT_EQ(alive("resource_alive fd " + to_string(before.id()) + " 0 4096 /etc/passwd "), 1);
    EXPECT_EQ(alive("resource_alive fd " + to_string(in_process.id()) + " 0 0 of the process "), 1);
    EXPECT_EQ(alive("resource_alive gone"), 0);
    EXPECT_EQ(alive("resource_alive first"), 0); // it is acquired after the announcement
    EXPECT_EQ(alive("announce_end"), 1);
    EXPECT_EQ(alive("resource_acquire first"), 1);
}

TEST_F(SdkResourceProbes, AnAnnouncementHasAgeAndIdleness) {
    resource_manager manager;
    const resource_handle<int> handle(1, {"aged"}, manager);
    while (handle.idle() == std::chrono::nanoseconds(0)) {
    }
    handle.touch();
    const auto after_touch = handle.idle();
    while (handle.idle() <= after_touch) {
    }
    ProbeTrap trap("memtrace", {"emergency_low", "emergency_high", "emergency_critical"});
    {
        const resource_handle<int> first(1, {"first"}, manager);
    }
    std::uint64_t age = 0;
    std::uint64_t idle = 0;
    for (const auto& values : trap.take_numbers("resource_alive")) {
        if (values[1] == handle.id()) {
            age = values[5];
            idle = values[6];
        }
    }
    EXPECT_GT(idle, 0U);
    EXPECT_GT(age, idle);
}

TEST_F(SdkResourceProbes, AnEmergencyIsAnsweredOnceForEachRequest) {
    resource_manager manager(kNoMatterHowIdle);
    Freed freed;
    const auto low = make_evictable("low", freed, manager, resource_priority::low);
    const auto high = make_evictable("high", freed, manager, resource_priority::high);
    EXPECT_EQ(manager.poll_emergency().level, 0);
    ProbeTrap trap("memtrace", {"announce"});
    // The trap itself asks, at every level: critical is what counts.
    const auto result = manager.poll_emergency(1000);
    EXPECT_EQ(result.level, kCritical);
    EXPECT_EQ(result.freed_bytes, 200U);
    EXPECT_EQ(result.released, 2U);
    EXPECT_EQ(trap.take(),
              (Lines{"emergency_critical 1000", "cleanup_start 3 1000", "resource_release thing " + to_string(low.id()),
                     "resource_release thing " + to_string(high.id()), "cleanup_end 3 200 2"}));
    EXPECT_EQ(manager.poll_emergency(1000).level, 0);
    EXPECT_TRUE(trap.take().empty());
}

// ---- emergency cleanup ----------------------------------------------------------------------------------------------------------

TEST(SdkEmergency, ARequestThatFellOrRoseIsAnsweredAgain) {
    resource_manager manager(kNoMatterHowIdle);
    {
        const RaisedSemaphore asked("memtrace", "emergency_low");
        EXPECT_EQ(manager.poll_emergency().level, kLow);
        EXPECT_EQ(manager.poll_emergency().level, 0);
        {
            const RaisedSemaphore more("memtrace", "emergency_critical");
            EXPECT_EQ(manager.poll_emergency().level, kCritical);
            EXPECT_EQ(manager.poll_emergency().level, 0);
        }
        EXPECT_EQ(manager.poll_emergency().level, 0); // it fell to what was answered already
        const RaisedSemaphore again("memtrace", "emergency_high");
        EXPECT_EQ(manager.poll_emergency().level, kHigh);
    }
    EXPECT_EQ(manager.poll_emergency().level, 0);
    const RaisedSemaphore asked("memtrace", "emergency_low");
    EXPECT_EQ(manager.poll_emergency().level, kLow);
}

TEST(SdkEmergency, LevelsDecideByPriority) {
    const std::vector<Lines> expected = {{"low"}, {"low", "normal"}, {"low", "normal", "high"}};
    for (int level = kLow; level <= kCritical; ++level) {
        resource_manager manager(kNoMatterHowIdle);
        Freed freed;
        const auto keep = make_evictable("keep", freed, manager, resource_priority::keep);
        const auto high = make_evictable("high", freed, manager, resource_priority::high);
        const auto normal = make_evictable("normal", freed, manager, resource_priority::normal);
        const auto low = make_evictable("low", freed, manager, resource_priority::low);
        const auto not_asked = make("not evictable", freed, manager, {"thing", "", 100, 0, resource_priority::low});
        const auto result = manager.relieve(level);
        EXPECT_EQ(freed.names, expected[static_cast<std::size_t>(level - 1)]);
        EXPECT_EQ(result.released, freed.names.size());
        EXPECT_EQ(result.freed_bytes, 100 * freed.names.size());
        EXPECT_FALSE(low.pin());
        EXPECT_TRUE(keep.pin());
        EXPECT_NE(not_asked.get(), nullptr);
    }
}

TEST(SdkEmergency, LevelsDecideByIdleness) {
    resource_manager manager; // low: a minute
    Freed freed;
    const auto young = make_evictable("young", freed, manager, resource_priority::low);
    EXPECT_EQ(manager.relieve(kLow).released, 0U);
    EXPECT_EQ(manager.relieve(kHigh).released, 0U);
    EXPECT_EQ(manager.relieve(kCritical).released, 1U);
}

TEST(SdkEmergency, TheLongestIdleGoFirstUntilTheTargetIsMet) {
    resource_manager manager(kNoMatterHowIdle);
    Freed freed;
    const auto first = make_evictable("first", freed, manager, resource_priority::normal);
    const auto second = make_evictable("second", freed, manager, resource_priority::normal);
    const auto third = make_evictable("third", freed, manager, resource_priority::normal);
    while (third.idle() == std::chrono::nanoseconds(0)) {
    }
    first.touch(); // so it is the last to go
    const auto result = manager.relieve(kCritical, 150);
    EXPECT_EQ(freed.names, (Lines{"second", "third"}));
    EXPECT_EQ(result.freed_bytes, 200U);
    EXPECT_TRUE(first.pin());
}

TEST(SdkEmergency, WhatIsQueuedGoesBeforeAnythingIsTaken) {
    resource_manager manager(kNoMatterHowIdle);
    Freed freed;
    const auto cache = make_evictable("cache", freed, manager, resource_priority::low);
    {
        const resource_handle<std::string> queued("queued", {"slow", "", 50}, cleanup_strategy::deferred, freed.note(), manager);
    }
    const auto result = manager.relieve(kCritical, 50);
    EXPECT_EQ(freed.names, Lines{"queued"});
    EXPECT_EQ(result.freed_bytes, 50U);
    EXPECT_TRUE(cache.pin());
}

TEST(SdkEmergency, WhatIsPinnedStays) {
    resource_manager manager(kNoMatterHowIdle);
    Freed freed;
    const auto used = make_evictable("used", freed, manager, resource_priority::low);
    const auto pin = used.pin();
    EXPECT_EQ(manager.relieve(kCritical).released, 0U);
    EXPECT_EQ(*pin, "used");
}

TEST(SdkEmergency, ParentsGoAfterTheirChildrenOrNotAtAll) {
    resource_manager manager(kNoMatterHowIdle);
    Freed freed;
    const auto parent = make_evictable("parent", freed, manager, resource_priority::low);
    const auto child = make_evictable("child", freed, manager, resource_priority::normal, 100, parent.id());
    const auto bereft = make_evictable("bereft", freed, manager, resource_priority::low);
    const auto kept_child = make("kept child", freed, manager, {"thing", "", 0, bereft.id()});
    manager.relieve(kLow);
    EXPECT_TRUE(freed.names.empty()); // both have children that stay
    manager.relieve(kCritical);
    EXPECT_EQ(freed.names, (Lines{"child", "parent"}));
    EXPECT_TRUE(bereft.pin());
}

TEST(SdkEmergency, APartMayBeGivenBack) {
    resource_manager manager(kNoMatterHowIdle);
    resource_handle<std::vector<int>> cache(std::vector<int>(100), {"cache", "", 400}, manager);
    cache.evictable([](std::vector<int>& pages) {
        pages.resize(pages.size() / 2);
        return std::uint64_t{200};
    });
    const auto result = manager.relieve(kCritical);
    EXPECT_EQ(result.freed_bytes, 200U);
    EXPECT_EQ(result.released, 0U);
    EXPECT_EQ(cache.bytes(), 200U);
    EXPECT_EQ(cache.pin()->size(), 50U);
}

// Readers pin and use, an owner makes and drops, an emergency rages: under a sanitizer, or with the canary, a use after free shows.
TEST(SdkEmergency, NothingIsFreedUnderItsUser) {
    struct Canary {
        explicit Canary(int* freed_) : freed(freed_) {}
        Canary(Canary&& other) noexcept : freed(std::exchange(other.freed, nullptr)) {}
        Canary& operator=(Canary&&) = delete;
        ~Canary() {
            alive = 0;
            if (freed) {
                __atomic_fetch_add(freed, 1, __ATOMIC_RELAXED);
            }
        }
        volatile int alive = 0x600d;
        int* freed;
    };
    constexpr int kRounds = 3000;
    resource_manager manager(kNoMatterHowIdle);
    int freed = 0;
    std::atomic<int> bad{0};
    std::atomic<int> pinned{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> readers;
    std::mutex mutex;
    auto shared = std::make_shared<resource_handle<Canary>>();
    const auto read = [&] {
        while (!over) {
            std::shared_ptr<resource_handle<Canary>> handle;
            {
                const std::lock_guard<std::mutex> lock(mutex);
                handle = shared;
            }
            if (const auto pin = handle->pin()) {
                bad += pin->alive != 0x600d;
                ++pinned;
            }
        }
    };
    readers.emplace_back(read);
    readers.emplace_back(read);
    std::thread emergency([&] {
        while (!over) {
            manager.relieve(kCritical);
        }
    });
    for (int i = 0; i < kRounds || pinned < kRounds; ++i) {
        auto next = std::make_shared<resource_handle<Canary>>(Canary(&freed), resource_info("canary"), manager);
        next->evictable();
        const std::lock_guard<std::mutex> lock(mutex);
        shared.swap(next);
        if (i >= kRounds) {
            std::this_thread::yield();
        }
    }
    over = true;
    for (auto& reader : readers) {
        reader.join();
    }
    emergency.join();
    shared.reset();
    EXPECT_EQ(bad, 0);
    EXPECT_GE(freed, kRounds);
    EXPECT_EQ(manager.live(), 0U);
}

TEST(SdkResource, ManyThreadsAtOnce) {
    constexpr int kThreads = 4;
    constexpr int kEach = 5000;
    resource_manager manager;
    std::atomic<int> freed{0};
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
            std::vector<resource_handle<int>> held;
            for (int i = 0; i < kEach; ++i) {
                const auto how = i % 2 ? cleanup_strategy::deferred : cleanup_strategy::function;
                held.emplace_back(i, resource_info("int"), how, [&](int&) { ++freed; }, manager);
                if (held.size() > 50) {
                    held.erase(held.begin(), held.begin() + 25);
                    manager.collect();
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    manager.collect();
    EXPECT_EQ(freed, kThreads * kEach);
    EXPECT_EQ(manager.live(), 0U);
}

} // namespace
} // namespace memtrace
