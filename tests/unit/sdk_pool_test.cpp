// Pools: limits, waiting, health, idleness, and how they go with emergencies and tracers.
#include "memtrace/resource.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/probe_trap.hpp"

namespace memtrace {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
using Pool = resource_pool<int>;

constexpr std::chrono::nanoseconds kAtOnce{0};
constexpr std::chrono::nanoseconds kPatience = 60s; // only a test that fails waits for so long

/// Makes 1, 2, 3, ...; notes what is freed.
struct Source {
    int made = 0;
    std::vector<int> freed;

    Pool pool(pool_options options, resource_manager& manager, Pool::health_function healthy = {}) {
        return {std::move(options), [this] { return std::optional<int>(++made); }, std::move(healthy),
                [this](int& value) { freed.push_back(value); }, manager};
    }
};

TEST(SdkPool, TheLastOneUsedIsLentAgain) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p"}, manager);
    {
        auto one = pool.try_acquire();
        auto two = pool.try_acquire();
        EXPECT_EQ(*one, 1);
        EXPECT_EQ(*two, 2);
        EXPECT_EQ(pool.statistics().in_use, 2U);
        two.give_back();
        EXPECT_FALSE(two);
        one.give_back();
    }
    EXPECT_EQ(*pool.try_acquire(), 1);
    const auto statistics = pool.statistics();
    EXPECT_EQ(statistics.in_use, 0U);
    EXPECT_EQ(statistics.idle, 2U);
    EXPECT_EQ(statistics.max_in_use, 2U);
    EXPECT_EQ(statistics.created, 2U);
    EXPECT_EQ(statistics.destroyed, 0U);
    EXPECT_EQ(manager.live(), 2U);
}

TEST(SdkPool, AtTheLimitItRefuses) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 1}, manager);
    auto only = pool.try_acquire();
    EXPECT_TRUE(only);
    EXPECT_FALSE(pool.try_acquire());
    EXPECT_FALSE(pool.acquire(kAtOnce));
    auto statistics = pool.statistics();
    EXPECT_EQ(statistics.failures, 2U);
    EXPECT_EQ(statistics.waits, 1U);
    only.give_back();
    EXPECT_TRUE(pool.try_acquire());
    EXPECT_EQ(source.made, 1);
}

TEST(SdkPool, AtTheLimitItWaitsUntilOneComesBack) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 1}, manager);
    auto only = pool.try_acquire();
    int got = 0;
    std::thread waiter([&] { got = *pool.acquire(kPatience); });
    while (pool.statistics().waits == 0) {
        std::this_thread::yield();
    }
    only.give_back();
    waiter.join();
    EXPECT_EQ(got, 1);
    EXPECT_EQ(pool.statistics().failures, 0U);
}

TEST(SdkPool, ForEverIsATimeToWait) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 1}, manager);
    auto only = pool.try_acquire();
    int got = 0;
    std::thread waiter([&] { got = *pool.acquire(std::chrono::nanoseconds::max()); });
    while (pool.statistics().waits == 0) {
        std::this_thread::yield();
    }
    only.give_back();
    waiter.join();
    EXPECT_EQ(got, 1);
}

TEST(SdkPool, ALimitThatIsRaisedWakesThoseThatWait) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 1}, manager);
    const auto only = pool.try_acquire();
    int got = 0;
    std::thread waiter([&] { got = *pool.acquire(kPatience); });
    while (pool.statistics().waits == 0) {
        std::this_thread::yield();
    }
    pool.set_limit(2);
    waiter.join();
    EXPECT_EQ(got, 2);
}

TEST(SdkPool, ALimitThatIsLoweredIsMetAsLeasesComeBack) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 2}, manager);
    auto one = pool.try_acquire();
    auto two = pool.try_acquire();
    pool.set_limit(1);
    one.give_back();
    EXPECT_EQ(source.freed, std::vector<int>{1});
    EXPECT_FALSE(pool.try_acquire());
    two.give_back();
    EXPECT_EQ(*pool.try_acquire(), 2);
}

TEST(SdkPool, TheSickAreReplaced) {
    resource_manager manager;
    Source source;
    int sick = 0;
    auto pool = source.pool({"buffer", "p", 1}, manager, [&](int& value) { return value != sick; });
    EXPECT_EQ(*pool.try_acquire(), 1);
    sick = 1;
    EXPECT_EQ(*pool.try_acquire(), 2);
    EXPECT_EQ(source.freed, std::vector<int>{1});
    EXPECT_EQ(pool.statistics().destroyed, 1U);
}

TEST(SdkPool, WhatIsDiscardedIsNotLentAgain) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 1}, manager);
    pool.try_acquire().discard();
    EXPECT_EQ(source.freed, std::vector<int>{1});
    EXPECT_EQ(*pool.try_acquire(), 2);
    EXPECT_EQ(pool.statistics().destroyed, 1U);
}

TEST(SdkPool, NothingIsLeftOfAFailedAttempt) {
    resource_manager manager;
    int attempts = 0;
    Pool pool(
        {"buffer", "p", 1},
        [&]() -> std::optional<int> {
            if (++attempts == 1) {
                return std::nullopt;
            }
            if (attempts == 2) {
                throw std::runtime_error("no");
            }
            return attempts;
        },
        {}, {}, manager);
    EXPECT_FALSE(pool.try_acquire());
    EXPECT_THROW((void)pool.try_acquire(), std::runtime_error);
    const auto statistics = pool.statistics();
    EXPECT_EQ(statistics.failures, 2U);
    EXPECT_EQ(statistics.in_use, 0U);
    EXPECT_EQ(*pool.try_acquire(), 3);
}

TEST(SdkPool, WhatIsIdleForTooLongIsClosed) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 0, 1ns}, manager);
    {
        const auto one = pool.try_acquire();
        const auto two = pool.try_acquire();
    }
    std::size_t evicted = 0;
    while (evicted < 2) { // as soon as the clock has gone on
        evicted += pool.evict_idle();
    }
    EXPECT_EQ(source.freed.size(), 2U);
    EXPECT_EQ(pool.statistics().idle, 0U);
    EXPECT_EQ(pool.statistics().destroyed, 2U);
}

TEST(SdkPool, WithoutATimeoutNothingIsClosed) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p"}, manager);
    pool.try_acquire().give_back();
    EXPECT_EQ(pool.evict_idle(), 0U);
    EXPECT_EQ(pool.statistics().idle, 1U);
}

TEST(SdkPool, AnEmergencyFreesWhatIsIdleAndNotWhatIsLent) {
    resource_manager manager;
    Source source;
    auto pool = source.pool({"buffer", "p", 2, {}, 1000, resource_priority::low}, manager);
    auto lent = pool.try_acquire();
    pool.try_acquire().give_back();
    const auto result = manager.relieve(3);
    EXPECT_EQ(result.freed_bytes, 1000U);
    EXPECT_EQ(result.released, 1U);
    EXPECT_EQ(source.freed, std::vector<int>{2});
    EXPECT_EQ(*lent, 1);
    EXPECT_EQ(pool.statistics().idle, 0U);
    EXPECT_EQ(*pool.try_acquire(), 3); // there is room for another
    EXPECT_EQ(pool.statistics().destroyed, 1U);
}

TEST(SdkPool, ALeaseMayOutliveItsPool) {
    resource_manager manager;
    Source source;
    Pool::lease lease;
    {
        auto pool = source.pool({"buffer", "p"}, manager);
        pool.try_acquire().give_back();
        auto first = pool.try_acquire();
        lease = pool.try_acquire();
    }
    EXPECT_EQ(source.freed, std::vector<int>{1});
    EXPECT_EQ(*lease, 2);
    lease.give_back();
    EXPECT_EQ(source.freed, (std::vector<int>{1, 2}));
    EXPECT_EQ(manager.live(), 0U);
}

TEST(SdkPool, TracersSeeTheLimitAndHowMuchOfItIsTaken) {
    if (!probe_test::kProbeListenerWorks) {
        GTEST_SKIP() << "this architecture's breakpoints are not known here";
    }
    resource_manager manager;
    Source source;
    ProbeTrap trap("memtrace");
    const auto shown = [&] {
        Lines out;
        for (auto line : trap.take("pool_")) {
            const auto address = line.find(' ');
            out.push_back(line.erase(address, line.find(' ', address + 1) - address)); // the pool's address
        }
        return out;
    };
    auto pool = source.pool({"buffer", "replicas", 2}, manager);
    EXPECT_EQ(shown(), Lines{"pool_limit replicas 0 2"});
    auto one = pool.try_acquire();
    auto two = pool.try_acquire();
    EXPECT_FALSE(pool.try_acquire());
    two.give_back();
    one.discard();
    pool.set_limit(5);
    EXPECT_EQ(shown(), (Lines{"pool_get replicas 1 2", "pool_get replicas 2 2", "pool_wait replicas 2 2", "pool_put replicas 1 2",
                              "pool_put replicas 0 2", "pool_limit replicas 0 5"}));
}

TEST(SdkPool, ATracerThatComesLateIsToldOfPoolsThatNobodyUses) {
    if (!probe_test::kProbeListenerWorks) {
        GTEST_SKIP() << "this architecture's breakpoints are not known here";
    }
    resource_manager manager;
    Source source;
    const auto told = [&] { // a poll is all that the program does
        Lines lines;
        {
            ProbeTrap trap("memtrace", {"emergency_low", "emergency_high", "emergency_critical"});
            manager.poll_emergency();
            lines = trap.take();
        }
        manager.poll_emergency(); // sees that the request is gone
        EXPECT_EQ(lines.front(), "announce 1");
        EXPECT_EQ(lines.back(), "announce_end 1");
        Lines out;
        for (auto line : lines) {
            if (line.starts_with("pool_")) {
                const auto address = line.find(' ');
                out.push_back(line.erase(address, line.find(' ', address + 1) - address));
            }
        }
        return out;
    };
    EXPECT_EQ(told(), Lines{});
    {
        auto pool = source.pool({"buffer", "replicas", 2}, manager);
        auto one = pool.try_acquire();
        EXPECT_EQ(told(), Lines{"pool_limit replicas 1 2"});
        auto two = pool.try_acquire();
        EXPECT_FALSE(pool.try_acquire()); // was refused, and does not wait
        EXPECT_EQ(told(), Lines{"pool_limit replicas 2 2"});
        std::thread waiter([&] { (void)pool.acquire(kPatience); });
        while (pool.statistics().waiting == 0) { // then it fires nothing
            std::this_thread::yield();
        }
        EXPECT_EQ(told(), (Lines{"pool_limit replicas 2 2", "pool_wait replicas 2 2"}));
        one.give_back();
        waiter.join();
        EXPECT_EQ(told(), Lines{"pool_limit replicas 1 2"});
    }
    EXPECT_EQ(told(), Lines{});
}

TEST(SdkPool, ManyThreadsNeverExceedTheLimit) {
    constexpr std::size_t kLimit = 3;
    constexpr int kThreads = 6;
    constexpr int kEach = 2000;
    resource_manager manager;
    std::atomic<std::size_t> out{0};
    std::atomic<int> refused{0};
    std::atomic<int> excess{0};
    std::atomic<bool> over{false};
    resource_pool<std::atomic<int>*> pool(
        {"counter", "p", kLimit}, [] { return std::optional<std::atomic<int>*>(new std::atomic<int>(0)); }, {},
        [](std::atomic<int>*& users) { delete users; }, manager);
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < kEach; ++i) {
                auto lease = pool.acquire(kPatience);
                if (!lease) {
                    ++refused;
                    continue;
                }
                excess += ++out > kLimit;
                excess += (*lease)->fetch_add(1) != 0; // two at once
                (*lease)->fetch_sub(1);
                --out;
            }
        });
    }
    std::thread emergency([&] {
        while (!over) {
            manager.relieve(3);
        }
    });
    for (auto& thread : threads) {
        thread.join();
    }
    over = true;
    emergency.join();
    EXPECT_EQ(refused, 0);
    EXPECT_EQ(excess, 0);
    const auto statistics = pool.statistics();
    EXPECT_EQ(statistics.in_use, 0U);
    EXPECT_LE(statistics.max_in_use, kLimit);
    EXPECT_EQ(manager.live(), statistics.idle);
}

} // namespace
} // namespace memtrace
