// What is alive, for a tracer that attaches late: lists that objects are put into and taken out of in a few instructions, and that are
// walked only when a tracer asks.
//
//     registry --> shard 0   first --> node <--> node <--> cursor <--> node
//                  shard 1   first --> node                  |
//                  ...                            where the walk of this shard is
//
// A thread puts its objects into the shard that its thread pointer leads to, so threads rarely meet at a lock, and the lock stays in
// the cache of that thread's core. A node knows its shard: any thread, and the code of any shared object, takes it out.
//
// Threads: all functions, from any. Signal handlers: none. fork: the locks are taken around it, so the child finds whole lists.
// Exit: nothing here is ever destroyed, so objects with static storage may come and go as late as they like.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "memtrace/probes.h"

namespace memtrace {
namespace detail {

/// Held for a few instructions, so nobody sleeps for it; whoever waits longer has been preempted by, or asks in the middle of, a
/// walk, and gives way.
class spin_lock {
public:
    void lock() noexcept {
        while (taken_.exchange(true, std::memory_order_acquire)) {
            wait();
        }
    }
    void unlock() noexcept { taken_.store(false, std::memory_order_release); }

    /// For who has just unlocked and will lock again at once: those who wait would hardly ever find it free.
    void let_others() const noexcept {
        if (waiting_.load(std::memory_order_relaxed) != 0) {
            sched_yield();
        }
    }

private:
    __attribute__((noinline, cold)) void wait() noexcept {
        constexpr int kSpins = 64;
        waiting_.fetch_add(1, std::memory_order_relaxed);
        for (int spins = 0; taken_.load(std::memory_order_relaxed); ++spins) {
            if (spins >= kSpins) {
                sched_yield();
            }
        }
        waiting_.fetch_sub(1, std::memory_order_relaxed);
    }

    std::atomic<bool> taken_{false};
    std::atomic<int> waiting_{0}; // of a child of fork: those who waited in the parent too, which costs it a yield now and then
};

struct live_shard;

struct live_node {
    live_node* next = nullptr;
    live_node** link = nullptr; ///< what points to this node; null: it is in no list
    live_shard* shard = nullptr;
};

struct alignas(64) live_shard {
    spin_lock lock;
    live_node* first = nullptr;
    live_node cursor; ///< where a walk goes on; belongs to the shard, not to the walking thread, for a child of fork inherits it
};

class live_registry {
public:
    void add(live_node& node) noexcept {
        auto& shard = own_shard();
        node.shard = &shard;
        shard.lock.lock();
        insert(node, shard.first);
        shard.lock.unlock();
    }

    static void remove(live_node& node) noexcept {
        auto& lock = node.shard->lock;
        lock.lock();
        unlink(node);
        lock.unlock();
    }

    /// Calls `visit(node)` for each that was added before and is not removed meanwhile. No node goes away while it is visited, so
    /// `visit` must neither add nor remove one. Others wait for a few visits at most.
    template <class Visit>
    void for_each(const Visit& visit) noexcept {
        walking_.lock();
        for (auto& shard : shards_) {
            walk(shard, visit);
        }
        walking_.unlock();
    }

    void before_fork() noexcept {
        for (auto& shard : shards_) {
            shard.lock.lock();
        }
    }
    void after_fork() noexcept {
        for (auto& shard : shards_) {
            shard.lock.unlock();
        }
    }
    /// The thread that may have been walking is not in the child.
    void after_fork_in_child() noexcept {
        walking_.unlock();
        after_fork();
    }

private:
    static constexpr std::size_t kShardBits = 6;
    static constexpr int kVisitsAtOnce = 32;

    static void insert(live_node& node, live_node*& at) noexcept {
        node.next = at;
        node.link = &at;
        if (at != nullptr) {
            at->link = &node.next;
        }
        at = &node;
    }

    static void unlink(live_node& node) noexcept {
        *node.link = node.next;
        if (node.next != nullptr) {
            node.next->link = node.link;
        }
        node.link = nullptr;
    }

    /// One at a time, for each shard has one cursor. What is added meanwhile comes before the cursor and is not visited: it was
    /// created after the tracer attached, which sees that by itself.
    template <class Visit>
    static void walk(live_shard& shard, const Visit& visit) noexcept {
        auto& cursor = shard.cursor;
        shard.lock.lock();
        if (cursor.link != nullptr) { // left by a walk that a fork cut off
            unlink(cursor);
        }
        insert(cursor, shard.first);
        for (int visits = 1; cursor.next != nullptr; ++visits) {
            live_node& node = *cursor.next;
            unlink(cursor);
            insert(cursor, node.next);
            visit(node);
            if (visits % kVisitsAtOnce == 0) {
                shard.lock.unlock();
                shard.lock.let_others();
                shard.lock.lock();
            }
        }
        unlink(cursor);
        shard.lock.unlock();
    }

    live_shard& own_shard() noexcept {
        constexpr std::uint64_t kGoldenRatio = 0x9E37'79B9'7F4A'7C15;
        const auto thread = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        return shards_[(thread * kGoldenRatio) >> (64 - kShardBits)];
    }

    live_shard shards_[std::size_t{1} << kShardBits];
    spin_lock walking_;
};

/// One for each object that is linked, as the probes are.
inline __attribute__((visibility("hidden"))) live_registry objects_alive;

} // namespace detail
} // namespace memtrace
