// Locks that a child of fork finds as it needs them: whoever holds one in the parent is not in the child. Used by resource.hpp.
//
// All guards are locked before a fork, in the order of their ranks, and unlocked after it in parent and child. The thread that forks must hold
// none of them; callbacks of the program are called without, so they may fork.
#pragma once

#include <pthread.h>

#include <mutex>
#include <new>

namespace memtrace {
namespace detail {

/// Threads: any; to be enlisted and delisted under no guard's lock.
class fork_guard {
public:
    /// Who locks another guard while it holds its own has the lower rank.
    explicit fork_guard(int rank) noexcept : rank_(rank) {}
    fork_guard(const fork_guard&) = delete;
    fork_guard& operator=(const fork_guard&) = delete;

protected:
    ~fork_guard() = default;

    /// When the whole object is there, and before any of it goes: it is called for every fork between the two.
    void enlist() {
        const std::lock_guard<std::mutex> lock(list().mutex);
        auto** at = &list().first;
        while (*at && (*at)->rank_ < rank_) {
            at = &(*at)->next_;
        }
        next_ = *at;
        *at = this;
    }
    void delist() noexcept {
        const std::lock_guard<std::mutex> lock(list().mutex);
        auto** at = &list().first;
        while (*at != this) {
            at = &(*at)->next_;
        }
        *at = next_;
    }

    virtual void before_fork() = 0;
    /// In the parent, and in the child before in_child().
    virtual void after_fork() noexcept = 0;
    /// Puts right what other threads left half done.
    virtual void in_child() noexcept {}

    /// Of a condition variable those who wait are not in the child, and must not be woken in the place of others. The old one is given up:
    /// its destructor would wait for them.
    template <typename Condition>
    static void renew(Condition& condition) noexcept {
        new (&condition) Condition;
    }

private:
    struct guards {
        std::mutex mutex;
        fork_guard* first = nullptr;
        guards() {
            pthread_atfork([] { list().lock_all(); }, [] { list().unlock_all(false); }, [] { list().unlock_all(true); });
        }
        void lock_all() {
            mutex.lock();
            for (auto* guard = first; guard; guard = guard->next_) {
                guard->before_fork();
            }
        }
        void unlock_all(bool in_child) noexcept {
            for (auto* guard = first; guard; guard = guard->next_) {
                guard->after_fork();
                if (in_child) {
                    guard->in_child();
                }
            }
            mutex.unlock();
        }
    };
    static guards& list() {
        static guards& all = *new guards; // never destroyed: static objects may be as late as they like
        return all;
    }

    const int rank_;
    fork_guard* next_ = nullptr;
};

} // namespace detail
} // namespace memtrace
