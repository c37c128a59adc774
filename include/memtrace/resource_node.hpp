// One resource: what resource_handle, resource_pool and resource_manager have in common. Programs include memtrace/resource.hpp.
//
// A node is on the heap, with the value in it, so that a handle may be moved while the manager looks at what it holds. Who may free the
// value is decided by one atomic word:
//
//            pin, unpin                evict, where there is no pin
//        held (n pins) --------------------------------> evicting --- it gave back a part ---> held
//          |        \                                        |
//          |         \ release, n > 0                        | it was freed
//          |          v                                      v
//          |       orphaned --------- last unpin ---------> gone
//          | release, n = 0                                  ^
//          +-------------------------------------------------+
//          +--> queued (strategy deferred) --- collect() ----+
//
// Whoever moves it to `gone` frees the value, and nobody else. While it is `evicting`, pin and release wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <string>
#include <utility>

#include "memtrace/detail/fork_guard.hpp"
#include "memtrace/probes.h"

namespace memtrace {

class resource_manager;

/// Who goes first where memory is short: low. `keep` never goes.
enum class resource_priority : std::uint8_t { low, normal, high, keep };

/// What becomes of the value when its resource is released.
enum class cleanup_strategy : std::uint8_t {
    drop,     ///< it is destroyed
    function, ///< a function is called with it, then it is destroyed
    deferred, ///< as `function` or `drop`, but later: at resource_manager::collect() or shutdown()
    none      ///< nothing, it is not even destroyed: somebody else has it
};

/// What a resource tells of itself.
struct resource_info {
    resource_info() = default;
    // NOLINTNEXTLINE(google-explicit-constructor): {"cursor"} is all that most need to say
    resource_info(const char* kind_, std::string name_ = {}, std::uint64_t bytes_ = 0, std::uint64_t parent_ = 0,
                  resource_priority priority_ = resource_priority::normal)
        : kind(kind_), name(std::move(name_)), bytes(bytes_), parent(parent_), priority(priority_) {}

    const char* kind = "resource"; ///< not copied: a literal, or something that lives as long
    std::string name;              ///< for people: a path, a statement
    std::uint64_t bytes = 0;       ///< that releasing it gives back, as far as known
    std::uint64_t parent = 0;      ///< id of the resource that it belongs to; 0 = none
    resource_priority priority = resource_priority::normal;
};

namespace detail {

/// Nanoseconds of a clock that goes on in steps of some milliseconds, and is cheap to read: ages and idleness are seconds.
inline std::uint64_t coarse_ns() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Where pin and release wait for an eviction to end. One for all: evictions are rare.
struct eviction_gate final : fork_guard {
    eviction_gate() : fork_guard(2) { enlist(); }
    void before_fork() override { mutex.lock(); }
    void after_fork() noexcept override { mutex.unlock(); }
    void in_child() noexcept override {
        renew(ended);
        process.fetch_add(1, std::memory_order_relaxed);
    }

    std::mutex mutex;
    std::condition_variable ended;
    std::atomic<std::uint32_t> process{0}; ///< differs from the parent's in each child of a fork
    static eviction_gate& get() {
        static eviction_gate& gate = *new eviction_gate; // never destroyed: handles in static variables outlive what could be
        return gate;
    }
};

/// Made before main, or as the shared object is loaded: were it made at its first use, a fork in that moment would leave a child that waits for the
/// thread that makes it.
inline __attribute__((visibility("hidden"))) eviction_gate& gate_from_the_beginning = eviction_gate::get();

/// Ids of all resources of the process: in the order in which they were acquired, so a parent's is lower than its children's.
inline __attribute__((visibility("default"))) std::atomic<std::uint64_t> next_resource_id{1};

enum class eviction : std::uint8_t { never, release, shrink };

/// Counted: the handle has one reference, the manager has some while it works on the node.
class resource_node {
public:
    resource_node(resource_info told, cleanup_strategy how)
        : info(std::move(told)), bytes(info.bytes), last_ns(acquired_ns), strategy(how) {}
    resource_node(const resource_node&) = delete;
    resource_node& operator=(const resource_node&) = delete;

    /// Frees the value as the strategy says. Called once, by who moved the node to `gone`.
    virtual void clean() noexcept = 0;
    /// Has the program give back a part; returns its bytes. Called while evicting.
    virtual std::uint64_t shrink() noexcept = 0;

    bool held() const noexcept { return !(state_.load(std::memory_order_acquire) & (kQueued | kGone | kOrphaned)); }

    /// False: it is gone. Else it stays until as many unpin().
    bool pin() noexcept {
        for (auto seen = state_.load(std::memory_order_relaxed);;) {
            if (seen & kEvicting) {
                seen = wait_for_eviction();
            } else if (seen >= kQueued) {
                return false;
            } else if (state_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
                return true;
            }
        }
    }

    /// True: it was released meanwhile and this was the last pin: the caller settles it, and drops a reference.
    bool unpin() noexcept {
        last_ns.store(coarse_ns(), std::memory_order_relaxed); // it was in use until now
        return state_.fetch_sub(1, std::memory_order_acq_rel) - 1 == kOrphaned;
    }

    /// After unpin() said true: the node is the caller's, to free, or to queue.
    void settle(bool later) noexcept { state_.store(later ? kQueued : kGone, std::memory_order_release); }

    enum class outcome : std::uint8_t { nothing, free_it, queue_it };

    /// The owner gives it up. What is left to do is for the caller, if anything: pins, or an eviction, may have seen to it.
    outcome leave(bool at_once) noexcept {
        const bool later = strategy == cleanup_strategy::deferred && !at_once;
        for (auto seen = state_.load(std::memory_order_relaxed);;) {
            if (seen & kEvicting) {
                seen = wait_for_eviction();
            } else if (seen >= kQueued) {
                return outcome::nothing;
            } else if (seen == 0) {
                if (state_.compare_exchange_weak(seen, later ? kQueued : kGone, std::memory_order_acq_rel)) {
                    return later ? outcome::queue_it : outcome::free_it;
                }
            } else {
                add_reference(); // of the pins together: their last drops it
                if (state_.compare_exchange_strong(seen, seen | kOrphaned, std::memory_order_acq_rel)) {
                    return outcome::nothing;
                }
                drop_reference();
            }
        }
    }

    /// True: it was queued, and the caller frees it now.
    bool leave_queue() noexcept {
        auto expected = kQueued;
        return state_.compare_exchange_strong(expected, kGone, std::memory_order_acq_rel);
    }

    /// True: nobody uses it, nor will until end_eviction().
    bool begin_eviction() noexcept {
        std::uint32_t expected = 0;
        return state_.compare_exchange_strong(expected, evicting_here(), std::memory_order_acq_rel);
    }
    void end_eviction(bool freed) noexcept {
        auto& gate = eviction_gate::get();
        const std::lock_guard<std::mutex> lock(gate.mutex);
        state_.store(freed ? kGone : 0, std::memory_order_release);
        gate.ended.notify_all();
    }

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete this;
        }
    }

    void touch() noexcept {
        last_ns.store(coarse_ns(), std::memory_order_relaxed);
        memtrace_resource_touch(info.kind, id);
    }

    const resource_info info;
    const std::uint64_t id = next_resource_id.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t acquired_ns = coarse_ns();
    std::atomic<std::uint64_t> bytes;
    std::atomic<std::uint64_t> last_ns; ///< last use
    std::atomic<eviction> evictable{eviction::never};
    const cleanup_strategy strategy;

    std::atomic<resource_manager*> manager{nullptr}; ///< null: in no registry, or no longer

    // The manager's, under the lock of the shard; the last one is the queue's.
    resource_node* previous = nullptr;
    resource_node* next = nullptr;
    resource_node* next_queued = nullptr;

protected:
    virtual ~resource_node() = default;

private:
    static constexpr std::uint32_t kQueued = 1U << 28;
    static constexpr std::uint32_t kGone = 1U << 29;
    static constexpr std::uint32_t kOrphaned = 1U << 30;
    static constexpr std::uint32_t kEvicting = 1U << 31;

    /// While it is evicted there are no pins: in their place stands in which process.
    static std::uint32_t evicting_here() noexcept {
        return kEvicting | (eviction_gate::get().process.load(std::memory_order_relaxed) & (kQueued - 1));
    }

    std::uint32_t wait_for_eviction() noexcept {
        auto& gate = eviction_gate::get();
        std::unique_lock<std::mutex> lock(gate.mutex);
        if (auto seen = state_.load(std::memory_order_relaxed); seen & kEvicting && seen != evicting_here()) {
            // A fork's child: who evicted it is not here. What is left of the value nobody knows, so it is never freed.
            state_.compare_exchange_strong(seen, kGone, std::memory_order_acq_rel);
        }
        gate.ended.wait(lock, [this] { return !(state_.load(std::memory_order_relaxed) & kEvicting); });
        return state_.load(std::memory_order_acquire);
    }

    std::atomic<std::uint32_t> state_{0};
    std::atomic<std::uint32_t> references_{1};
};

/// A reference to a node.
class node_reference {
public:
    node_reference() = default;
    /// Adopts one that is there already.
    explicit node_reference(resource_node* node) noexcept : node_(node) {}
    static node_reference add(resource_node* node) noexcept {
        node->add_reference();
        return node_reference(node);
    }
    node_reference(node_reference&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    node_reference& operator=(node_reference&& other) noexcept {
        std::swap(node_, other.node_);
        return *this;
    }
    ~node_reference() {
        if (node_) {
            node_->drop_reference();
        }
    }
    resource_node* get() const noexcept { return node_; }
    resource_node* operator->() const noexcept { return node_; }

private:
    resource_node* node_ = nullptr;
};

} // namespace detail
} // namespace memtrace
