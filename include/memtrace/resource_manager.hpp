// The registry of what is held, its end, and emergency cleanup. Programs include memtrace/resource.hpp.
//
//     memtrace::resource_manager::process().poll_emergency();    // where cleaning up is safe: between two requests, in a ticker
//
// Emergency cleanup. A tracer that wants memory back attaches to memtrace:emergency_low, _high or _critical; the kernel raises that
// semaphore, which poll_emergency() looks at (a few loads). Freed are the resources that agreed to it (resource_handle::evictable,
// and what lies idle in a resource_pool), lowest priority first, within a priority the longest idle first, until the target is met.
// One that has children is freed after them, if at all. What is pinned is passed over.
//
// A request is answered once, by the first to poll: again only after its level rose, or was seen to fall. If the target was not met, the
// rest is left to the next request: memory that is being used now is not freed by asking again at once.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <new>
#include <unordered_map>
#include <vector>

#include "memtrace/resource_node.hpp"

namespace memtrace {

/// What a level of urgency may free: resources up to a priority that have been idle for so long.
struct emergency_rule {
    resource_priority up_to;
    std::chrono::nanoseconds idle;
};

struct emergency_policy {
    emergency_rule low{resource_priority::low, std::chrono::seconds(60)};
    emergency_rule high{resource_priority::normal, std::chrono::seconds(5)};
    emergency_rule critical{resource_priority::high, std::chrono::seconds(0)};

    const emergency_rule& at(int level) const noexcept { return level >= 3 ? critical : level == 2 ? high : low; }
};

struct emergency_result {
    int level = 0; ///< 0: nobody asked
    std::uint64_t freed_bytes = 0;
    std::uint64_t released = 0; ///< resources that are gone; those that gave back a part do not count
};

/// Threads: any. Must outlive the handles that were made with it, unless shutdown() has emptied them. Callbacks of the program are
/// called without locks; one must not pin or release the very resource that it is called for.
class resource_manager final : detail::fork_guard {
public:
    static constexpr std::uint64_t kEverything = std::numeric_limits<std::uint64_t>::max();

    /// That of the process, never destroyed.
    static resource_manager& process() {
        static resource_manager& manager = *new resource_manager;
        return manager;
    }

    explicit resource_manager(emergency_policy policy = {}) : fork_guard(1), policy_(policy) {
        managers().add(this);
        enlist();
    }
    /// Shuts down.
    ~resource_manager() {
        managers().remove(this);
        shutdown();
        delist();
    }
    resource_manager(const resource_manager&) = delete;
    resource_manager& operator=(const resource_manager&) = delete;

    /// How many are held, or wait to be collected.
    std::size_t live() const {
        std::size_t count = 0;
        visit([&](const detail::resource_node&) { ++count; });
        return count;
    }
    /// Their bytes, as told.
    std::uint64_t live_bytes() const {
        std::uint64_t bytes = 0;
        visit([&](const detail::resource_node& node) { bytes += node.bytes.load(std::memory_order_relaxed); });
        return bytes;
    }

    /// Frees what was released with strategy `deferred`, the youngest first. Returns how many.
    std::size_t collect() noexcept { return collect_queue().released; }

    /// Frees everything, the youngest first: so children before parents. Handles are empty from then on; what is pinned is freed by its
    /// last pin. Not to be called while other threads use values that are not pinned. Can be used again after it. Returns how many.
    std::size_t shutdown() {
        const auto nodes = snapshot(); // what is queued is in the registry too
        std::size_t freed = 0;
        for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
            if ((*node)->leave_queue() || (*node)->leave(true) == detail::resource_node::outcome::free_it) {
                finish(node->get());
                ++freed;
            } else {
                unlink(node->get());
            }
        }
        collect_queue(); // lets go of those that it freed
        return freed;
    }

    /// Frees memory if a tracer asks for it, once for each request. `target_bytes`: enough is enough. Answers one that asks what is alive, too.
    emergency_result poll_emergency(std::uint64_t target_bytes = kEverything) {
        memtrace_poll();
        const int level = memtrace_emergency_level();
        int answered = answered_level_.load(std::memory_order_relaxed);
        if (level == answered) {
            return {};
        }
        if (!answered_level_.compare_exchange_strong(answered, level, std::memory_order_acq_rel) || level < answered) {
            return {}; // another thread was first, or the request has fallen
        }
        return relieve(level, target_bytes);
    }

    /// The same without being asked. `level`: 1 to 3, see emergency_policy.
    emergency_result relieve(int level, std::uint64_t target_bytes = kEverything) {
        memtrace_cleanup_start(level, target_bytes);
        auto result = collect_queue();
        result.level = level;
        if (result.freed_bytes < target_bytes) {
            try_evict(level, target_bytes, result);
        }
        memtrace_cleanup_end(level, result.freed_bytes, result.released);
        return result;
    }

    // ---- for handles ------------------------------------------------------------------------------------------------------------

    void enter(detail::resource_node* node) {
        const auto& info = node->info;
        if (MEMTRACE_ENABLED(resource_acquire)) {
            memtrace_answer(); // before it is in the registry: else it would be announced, and acquired after that
        }
        auto& shard = shard_of(*node);
        {
            const std::lock_guard<std::mutex> lock(shard.mutex);
            node->manager.store(this, std::memory_order_release);
            node->next = shard.first;
            if (shard.first) {
                shard.first->previous = node;
            }
            shard.first = node;
        }
        memtrace_resource_acquire(info.kind, node->id, info.parent, info.bytes, info.name.c_str());
    }

    /// The handle's end. Takes over its reference.
    static void release(detail::resource_node* node) noexcept {
        auto* const manager = node->manager.load(std::memory_order_acquire);
        switch (node->leave(false)) {
        case detail::resource_node::outcome::nothing:
            break;
        case detail::resource_node::outcome::free_it:
            finish(node);
            break;
        case detail::resource_node::outcome::queue_it:
            manager->queue(node);
            return;
        }
        node->drop_reference();
    }

    static void unpin(detail::resource_node* node) noexcept {
        if (!node->unpin()) {
            return;
        }
        auto* const manager = node->manager.load(std::memory_order_acquire);
        const bool later = node->strategy == cleanup_strategy::deferred && manager;
        node->settle(later);
        if (later) {
            manager->queue(node);
        } else {
            finish(node);
            node->drop_reference();
        }
    }

private:
    struct alignas(64) registry_shard {
        mutable std::mutex mutex;
        detail::resource_node* first = nullptr;
    };
    static constexpr std::size_t kShards = 16; ///< neighbouring ids lie in different ones: threads rarely meet

    /// All managers, for the tracer that asks what is alive.
    struct manager_list final : detail::fork_guard {
        std::mutex mutex;
        std::vector<resource_manager*> all;
        memtrace_announcer announcer{&announce_all, this, nullptr};

        manager_list() : fork_guard(0) {
            memtrace_add_announcer(&announcer);
            enlist();
        }
        void before_fork() override { mutex.lock(); }
        void after_fork() noexcept override { mutex.unlock(); }
        void add(resource_manager* manager) {
            const std::lock_guard<std::mutex> lock(mutex);
            all.push_back(manager);
        }
        void remove(resource_manager* manager) {
            const std::lock_guard<std::mutex> lock(mutex);
            all.erase(std::remove(all.begin(), all.end(), manager), all.end());
        }
        static void announce_all(void* list) {
            const std::lock_guard<std::mutex> lock(static_cast<manager_list*>(list)->mutex);
            for (const auto* manager : static_cast<manager_list*>(list)->all) {
                manager->announce();
            }
        }
    };
    static manager_list& managers() {
        static manager_list& list = *new manager_list;
        return list;
    }

    void before_fork() override {
        for (auto& shard : shards_) {
            shard.mutex.lock();
        }
    }
    void after_fork() noexcept override {
        for (auto& shard : shards_) {
            shard.mutex.unlock();
        }
    }

    registry_shard& shard_of(const detail::resource_node& node) noexcept { return shards_[node.id % kShards]; }

    template <typename Function>
    void visit(Function function) const {
        for (const auto& shard : shards_) {
            const std::lock_guard<std::mutex> lock(shard.mutex);
            for (auto* node = shard.first; node; node = node->next) {
                function(*node);
            }
        }
    }

    void announce() const {
        const auto now = detail::coarse_ns();
        visit([&](const detail::resource_node& node) {
            const auto& info = node.info;
            const auto last = node.last_ns.load(std::memory_order_relaxed);
            memtrace_resource_alive(info.kind, node.id, info.parent, node.bytes.load(std::memory_order_relaxed),
                                    info.name.c_str(), now > node.acquired_ns ? now - node.acquired_ns : 0,
                                    now > last ? now - last : 0);
        });
    }

    /// All, in the order in which they were acquired.
    std::vector<detail::node_reference> snapshot() {
        std::vector<detail::node_reference> nodes;
        for (auto& shard : shards_) {
            const std::lock_guard<std::mutex> lock(shard.mutex);
            for (auto* node = shard.first; node; node = node->next) {
                nodes.push_back(detail::node_reference::add(node));
            }
        }
        std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
        return nodes;
    }

    void unlink(detail::resource_node* node) noexcept {
        auto& shard = shard_of(*node);
        const std::lock_guard<std::mutex> lock(shard.mutex);
        if (!node->manager.load(std::memory_order_relaxed)) {
            return;
        }
        (node->previous ? node->previous->next : shard.first) = node->next;
        if (node->next) {
            node->next->previous = node->previous;
        }
        node->manager.store(nullptr, std::memory_order_release);
    }

    /// Frees a node that is gone. It leaves the registry before that is told: else it could be announced after its end.
    static void finish(detail::resource_node* node) noexcept {
        if (auto* const manager = node->manager.load(std::memory_order_acquire)) {
            manager->unlink(node);
        }
        node->clean();
        memtrace_resource_release(node->info.kind, node->id);
    }

    void queue(detail::resource_node* node) noexcept {
        node->next_queued = queued_.load(std::memory_order_relaxed);
        while (!queued_.compare_exchange_weak(node->next_queued, node, std::memory_order_release, std::memory_order_relaxed)) {
        }
    }
    detail::resource_node* take_queue() noexcept { return queued_.exchange(nullptr, std::memory_order_acquire); }

    /// The two lists as one, the youngest first. They are linked by next_queued, and sorted so.
    static detail::resource_node* merge(detail::resource_node* a, detail::resource_node* b) noexcept {
        detail::resource_node* merged = nullptr;
        auto** end = &merged;
        while (a && b) {
            auto*& younger = a->id > b->id ? a : b;
            *end = younger;
            end = &younger->next_queued;
            younger = younger->next_queued;
        }
        *end = a ? a : b;
        return merged;
    }
    /// Without memory of its own: it is wanted most where there is none.
    static detail::resource_node* youngest_first(detail::resource_node* list) noexcept {
        std::array<detail::resource_node*, 64> runs{}; // the i-th is empty, or of 2^i nodes
        while (list) {
            auto* run = std::exchange(list, list->next_queued);
            run->next_queued = nullptr;
            std::size_t i = 0;
            for (; runs[i]; ++i) {
                run = merge(std::exchange(runs[i], nullptr), run);
            }
            runs[i] = run;
        }
        detail::resource_node* sorted = nullptr;
        for (auto* run : runs) {
            sorted = merge(run, sorted);
        }
        return sorted;
    }

    emergency_result collect_queue() noexcept {
        emergency_result result;
        for (auto* node = youngest_first(take_queue()); node;) {
            const detail::node_reference taken(std::exchange(node, node->next_queued));
            if (taken->leave_queue()) {
                result.freed_bytes += taken->bytes.load(std::memory_order_relaxed);
                ++result.released;
                finish(taken.get());
            }
        }
        return result;
    }

    /// Choosing takes some memory. Where there is none, what has been freed by then is the answer, and whoever asked is told so.
    void try_evict(int level, std::uint64_t target_bytes, emergency_result& result) {
#ifdef __cpp_exceptions
        try {
            evict(level, target_bytes, result);
        } catch (const std::bad_alloc&) {
        }
#else
        evict(level, target_bytes, result);
#endif
    }

    void evict(int level, std::uint64_t target_bytes, emergency_result& result) {
        const auto nodes = snapshot();
        const auto& rule = policy_.at(level);
        const auto now = detail::coarse_ns();
        std::unordered_map<std::uint64_t, std::size_t> children;
        std::vector<candidate> candidates;
        for (const auto& node : nodes) {
            ++children[node->info.parent];
            const auto last = node->last_ns.load(std::memory_order_relaxed);
            const auto idle = now > last ? now - last : 0;
            if (node->evictable.load(std::memory_order_acquire) != detail::eviction::never && node->info.priority <= rule.up_to &&
                node->info.priority != resource_priority::keep && idle >= static_cast<std::uint64_t>(rule.idle.count())) {
                candidates.push_back({node.get(), idle});
            }
        }
        std::sort(candidates.begin(), candidates.end());
        std::vector<detail::resource_node*> parents;
        for (const auto& choice : candidates) {
            if (result.freed_bytes >= target_bytes) {
                return;
            }
            if (children[choice.node->id] != 0) {
                parents.push_back(choice.node);
            } else {
                evict_one(*choice.node, children, result);
            }
        }
        // A parent's own parent is older.
        std::sort(parents.begin(), parents.end(), [](const auto* a, const auto* b) { return a->id > b->id; });
        for (auto* parent : parents) {
            if (result.freed_bytes < target_bytes && children[parent->id] == 0) {
                evict_one(*parent, children, result);
            }
        }
    }

    struct candidate {
        detail::resource_node* node;
        std::uint64_t idle_ns;
        bool operator<(const candidate& other) const {
            const auto own = node->info.priority;
            const auto theirs = other.node->info.priority;
            return own != theirs ? own < theirs : idle_ns != other.idle_ns ? idle_ns > other.idle_ns : node->id < other.node->id;
        }
    };

    static void evict_one(detail::resource_node& node, std::unordered_map<std::uint64_t, std::size_t>& children,
                          emergency_result& result) {
        if (!node.begin_eviction()) {
            return; // it is being used
        }
        const auto bytes = node.bytes.load(std::memory_order_relaxed);
        if (node.evictable.load(std::memory_order_relaxed) == detail::eviction::release) {
            finish(&node);
            node.end_eviction(true);
            --children[node.info.parent];
            result.freed_bytes += bytes;
            ++result.released;
        } else {
            const auto gave = node.shrink();
            node.bytes.store(bytes > gave ? bytes - gave : 0, std::memory_order_relaxed);
            node.end_eviction(false);
            result.freed_bytes += gave;
        }
    }

    const emergency_policy policy_;
    std::array<registry_shard, kShards> shards_;
    std::atomic<detail::resource_node*> queued_{nullptr};
    std::atomic<int> answered_level_{0};
};

namespace detail {
/// And the list of managers with it: see gate_from_the_beginning.
inline __attribute__((visibility("hidden"))) resource_manager& manager_from_the_beginning = resource_manager::process();
} // namespace detail

} // namespace memtrace
