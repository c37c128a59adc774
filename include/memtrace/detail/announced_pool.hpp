// What a resource_pool tells a tracer that attaches late. Used by resource_pool.hpp.
//
// Locks: the list's, then a pool's. Pools fire probes under neither; the list is walked, and told of, under its own.
#pragma once

#include <cstddef>
#include <mutex>

#include "memtrace/detail/fork_guard.hpp"
#include "memtrace/probes.h"

namespace memtrace {
namespace detail {

/// All pools, for the tracer that asks what is alive. One that nobody takes from or gives back to, as its users wait, would not be told of.
class announced_pool : protected fork_guard {
protected:
    announced_pool() : fork_guard(2) {}
    ~announced_pool() = default;

    /// When the whole pool is there, and before any of it goes.
    void begin() {
        enlist();
        const std::lock_guard<std::mutex> lock(pools().mutex);
        next_ = pools().first;
        pools().first = this;
    }
    void end() noexcept {
        {
            const std::lock_guard<std::mutex> lock(pools().mutex);
            auto** at = &pools().first;
            while (*at != this) {
                at = &(*at)->next_;
            }
            *at = next_;
        }
        delist();
    }

private:
    virtual void announce() const = 0;

    struct pool_list final : fork_guard {
        std::mutex mutex;
        announced_pool* first = nullptr;
        memtrace_announcer announcer{&announce_all, this, nullptr};

        pool_list() : fork_guard(0) {
            memtrace_add_announcer(&announcer);
            enlist();
        }
        void before_fork() override { mutex.lock(); }
        void after_fork() noexcept override { mutex.unlock(); }
        static void announce_all(void* list) {
            const std::lock_guard<std::mutex> lock(static_cast<pool_list*>(list)->mutex);
            for (const auto* pool = static_cast<pool_list*>(list)->first; pool; pool = pool->next_) {
                pool->announce();
            }
        }
    };

public:
    static pool_list& pools() {
        static pool_list& list = *new pool_list; // never destroyed: static pools may be as late as they like
        return list;
    }

private:
    announced_pool* next_ = nullptr;
};

/// See gate_from_the_beginning.
inline __attribute__((visibility("hidden"))) auto& pools_from_the_beginning = announced_pool::pools();

} // namespace detail

} // namespace memtrace
