// A pool of resources of one kind: connections, buffers, cursors. Programs include memtrace/resource.hpp.
//
//     memtrace::resource_pool<connection> pool({"connection", "replicas", 8}, [] { return connect(); },
//                                              [](connection& c) { return c.ping(); });
//     if (auto lease = pool.acquire(std::chrono::seconds(1))) lease->query(...);     // back in the pool at the lease's end
//
// Each one is a resource_handle. What is leased is pinned; what lies idle is evictable, so an emergency frees it.
#pragma once

#include <memory>
#include <optional>

#include "memtrace/detail/announced_pool.hpp"
#include "memtrace/resource_handle.hpp"

namespace memtrace {

struct pool_options {
    pool_options() = default;
    pool_options(const char* kind_, std::string name_, std::size_t limit_ = 0, std::chrono::nanoseconds idle_timeout_ = {},
                 std::uint64_t bytes_ = 0, resource_priority priority_ = resource_priority::normal, std::uint64_t parent_ = 0)
        : kind(kind_), name(std::move(name_)), limit(limit_), idle_timeout(idle_timeout_), bytes(bytes_), priority(priority_),
          parent(parent_) {}

    const char* kind = "pooled";             ///< of each resource; a literal
    std::string name;                        ///< of the pool, for people
    std::size_t limit = 0;                   ///< at most so many at once; 0 = any number
    std::chrono::nanoseconds idle_timeout{}; ///< idle for longer, one may be closed; 0 = never
    std::uint64_t bytes = 0;                 ///< that one of them takes
    resource_priority priority = resource_priority::normal;
    std::uint64_t parent = 0; ///< id of the resource that they belong to; 0 = the pool, by its address in pool_get
};

struct pool_statistics {
    std::size_t in_use = 0; ///< leased, or about to be
    std::size_t idle = 0;
    std::size_t waiting = 0; ///< threads that are in acquire() until one comes back
    std::size_t max_in_use = 0;
    std::uint64_t created = 0;
    std::uint64_t destroyed = 0; ///< unhealthy, idle for too long, above the limit, or evicted and noticed
    std::uint64_t waits = 0;     ///< acquire() found the limit reached
    std::uint64_t failures = 0;  ///< no lease: the limit, the time, or none could be made
};

/// Threads: any. A lease may outlive the pool: what it holds is then freed with it. The functions given are called without locks.
template <typename T>
class resource_pool {
    struct core;

public:
    using create_function = std::function<std::optional<T>()>; ///< nothing: there is none to be had now
    using health_function = std::function<bool(T&)>;           ///< false: not to be used again

    /// One resource, until its end. Move-only. Empty where none was to be had.
    class lease {
    public:
        lease() = default;
        lease(lease&&) noexcept = default;
        lease& operator=(lease&& other) noexcept {
            if (this != &other) {
                give_back();
                core_ = std::move(other.core_);
                handle_ = std::move(other.handle_);
                pin_ = std::move(other.pin_);
            }
            return *this;
        }
        ~lease() { give_back(); }

        explicit operator bool() const noexcept { return static_cast<bool>(pin_); }
        T& operator*() const noexcept { return *pin_; }
        T* operator->() const noexcept { return pin_.get(); }
        std::uint64_t id() const noexcept { return handle_.id(); }

        /// It goes back into the pool.
        void give_back() noexcept {
            if (auto owner = std::move(core_)) {
                pin_ = {};
                owner->put(std::move(handle_));
            }
        }
        /// It is broken: it is freed, not pooled.
        void discard() noexcept {
            if (auto owner = std::move(core_)) {
                pin_ = {};
                handle_.reset();
                owner->put({});
            }
        }

    private:
        friend struct core;
        lease(std::shared_ptr<core> owner, resource_handle<T> handle, resource_pin<T> pin) noexcept
            : core_(std::move(owner)), handle_(std::move(handle)), pin_(std::move(pin)) {}

        std::shared_ptr<core> core_;
        resource_handle<T> handle_;
        resource_pin<T> pin_;
    };

    /// `cleanup`: called with each at its end, before it is destroyed.
    resource_pool(pool_options options, create_function create, health_function healthy = {},
                  std::function<void(T&)> cleanup = {}, resource_manager& manager = resource_manager::process())
        : core_(std::make_shared<core>(std::move(options), std::move(create), std::move(healthy), std::move(cleanup), manager)) {
        core_->tell_limit();
    }
    /// Frees what is idle; nobody may wait for a lease.
    ~resource_pool() {
        if (core_) {
            core_->close();
        }
    }
    resource_pool(resource_pool&&) noexcept = default;
    resource_pool& operator=(resource_pool&&) = delete;

    /// One that is idle, else a new one; nothing where the limit is reached, or none can be made.
    [[nodiscard]] lease try_acquire() { return core_->take(core_, nullptr); }
    /// The same, but waits for one to come back; nanoseconds::max() is for ever. No promise is made of who is first among those that wait.
    [[nodiscard]] lease acquire(std::chrono::nanoseconds timeout) {
        const auto now = std::chrono::steady_clock::now();
        const auto deadline = now + std::min<std::chrono::nanoseconds>(timeout, core::deadline_type::max() - now);
        return core_->take(core_, &deadline);
    }

    /// Closes those that have been idle for longer than the timeout. acquire() does it as well, when it gets to look. Returns how many.
    std::size_t evict_idle() { return core_->evict_idle(); }
    /// Takes effect as leases come back.
    void set_limit(std::size_t limit) { core_->set_limit(limit); }
    pool_statistics statistics() const { return core_->statistics(); }

private:
    std::shared_ptr<core> core_;
};

template <typename T>
struct resource_pool<T>::core final : private detail::announced_pool {
    core(pool_options options_, create_function create_, health_function healthy_, std::function<void(T&)> cleanup_,
         resource_manager& manager_)
        : options(std::move(options_)), create(std::move(create_)), healthy(std::move(healthy_)), cleanup(std::move(cleanup_)),
          manager(manager_), limit(options.limit) {
        begin();
    }
    ~core() { end(); }
    core(const core&) = delete;
    core& operator=(const core&) = delete;

    using deadline_type = std::chrono::steady_clock::time_point;

    /// `deadline`: null: does not wait.
    lease take(const std::shared_ptr<core>& self, const deadline_type* deadline) {
        if (!reserve(deadline)) {
            return {};
        }
        reservation slot{*this};
        evict_idle();
        for (;;) {
            auto handle = take_idle();
            const bool fresh = !handle;
            if (fresh && !(handle = make())) {
                return {}; // the reservation is given back
            }
            auto pin = handle.pin();
            if (fresh && pin) {
                handle.evictable(); // not before it is pinned
            }
            if (pin && (fresh || !healthy || healthy(*pin))) {
                slot.keep();
                memtrace_pool_get(this, options.name.c_str(), count(&pool_statistics::in_use), limit.load());
                return lease(self, std::move(handle), std::move(pin));
            }
            pin = {};
            handle.reset(); // unhealthy, or evicted under our eyes
            const std::lock_guard<std::mutex> lock(mutex);
            ++counts.destroyed;
        }
    }

    /// Empty handle: it was discarded. Above the limit, which may have fallen, one goes.
    void put(resource_handle<T> handle) noexcept {
        std::size_t in_use = 0;
        {
            const std::lock_guard<std::mutex> lock(mutex);
            in_use = --counts.in_use;
            if (handle && !closed && (limit == 0 || counts.created - counts.destroyed <= limit)) {
                idle.push_back(std::move(handle)); // there is room: see reserve()
            } else {
                ++counts.destroyed;
            }
        }
        freed.notify_one();
        memtrace_pool_put(this, options.name.c_str(), in_use, limit.load());
    }

    std::size_t evict_idle() {
        if (options.idle_timeout.count() == 0) {
            return 0;
        }
        std::vector<resource_handle<T>> old; // freed without the lock
        {
            const std::lock_guard<std::mutex> lock(mutex);
            auto young = idle.begin(); // the longest idle lie in front
            while (young != idle.end() && (!*young || young->idle() > options.idle_timeout)) {
                ++young;
            }
            old.assign(std::make_move_iterator(idle.begin()), std::make_move_iterator(young));
            idle.erase(idle.begin(), young);
            counts.destroyed += old.size();
        }
        return old.size();
    }

    void set_limit(std::size_t value) {
        limit.store(value);
        tell_limit();
        freed.notify_all();
    }
    void tell_limit() { memtrace_pool_limit(this, options.name.c_str(), count(&pool_statistics::in_use), limit.load()); }

    pool_statistics statistics() const {
        const std::lock_guard<std::mutex> lock(mutex);
        auto out = counts;
        out.idle = static_cast<std::size_t>(std::count_if(idle.begin(), idle.end(), [](const auto& handle) { return !!handle; }));
        return out;
    }

    void close() {
        std::vector<resource_handle<T>> old;
        const std::lock_guard<std::mutex> lock(mutex);
        closed = true;
        counts.destroyed += idle.size();
        old.swap(idle); // freed after the lock is
    }

private:
    void before_fork() override { mutex.lock(); }
    void after_fork() noexcept override { mutex.unlock(); }
    void in_child() noexcept override {
        renew(freed);
        counts.waiting = 0;
    }

    void announce() const override {
        std::size_t in_use = 0;
        bool waited_for = false;
        {
            const std::lock_guard<std::mutex> lock(mutex);
            in_use = counts.in_use;
            waited_for = counts.waiting != 0;
        }
        memtrace_pool_alive(this, options.name.c_str(), in_use, limit.load(), waited_for);
    }

    /// Gives a place back where taking failed, or threw.
    struct reservation {
        core& pool;
        bool kept = false;
        void keep() noexcept { kept = true; }
        ~reservation() {
            if (!kept) {
                {
                    const std::lock_guard<std::mutex> lock(pool.mutex);
                    --pool.counts.in_use;
                    ++pool.counts.failures;
                }
                pool.freed.notify_one();
            }
        }
    };

    bool has_room() const { return limit == 0 || counts.in_use < limit; }

    bool wait_for_room(std::unique_lock<std::mutex>& lock, const deadline_type& deadline) {
        ++counts.waiting;
        const bool room = freed.wait_until(lock, deadline, [this] { return has_room(); });
        --counts.waiting;
        return room;
    }

    /// Makes room for one in `in_use`, or waits for it.
    bool reserve(const deadline_type* deadline) {
        std::unique_lock<std::mutex> lock(mutex);
        if (!has_room()) {
            counts.waits += deadline ? 1 : 0;
            const auto in_use = counts.in_use;
            lock.unlock();
            memtrace_pool_wait(this, options.name.c_str(), in_use, limit.load()); // an answer to a tracer takes locks
            lock.lock();
            if (!has_room() && !(deadline && wait_for_room(lock, *deadline))) {
                ++counts.failures;
                return false;
            }
        }
        if (idle.capacity() <= counts.in_use + idle.size()) { // now, as what comes back may not throw
            idle.reserve(2 * (counts.in_use + idle.size() + 1));
        }
        ++counts.in_use;
        counts.max_in_use = std::max(counts.max_in_use, counts.in_use);
        return true;
    }

    /// The last one used: its memory is warm, and the others grow old enough to go.
    resource_handle<T> take_idle() {
        const std::lock_guard<std::mutex> lock(mutex);
        while (!idle.empty()) {
            auto handle = std::move(idle.back());
            idle.pop_back();
            if (handle) {
                return handle;
            }
            ++counts.destroyed; // by an emergency
        }
        return {};
    }

    resource_handle<T> make() {
        auto value = create();
        if (!value) {
            return {};
        }
        // The pool's, not that of the thread which happened to need one: what lies idle is nobody's leak.
        const auto parent = options.parent != 0 ? options.parent : reinterpret_cast<std::uintptr_t>(this);
        resource_info info(options.kind, options.name, options.bytes, parent, options.priority);
        auto handle = cleanup ? resource_handle<T>(std::move(*value), std::move(info), cleanup, manager)
                              : resource_handle<T>(std::move(*value), std::move(info), manager);
        const std::lock_guard<std::mutex> lock(mutex);
        ++counts.created;
        return handle;
    }

    std::size_t count(std::size_t pool_statistics::* which) const {
        const std::lock_guard<std::mutex> lock(mutex);
        return counts.*which;
    }

    const pool_options options;
    const create_function create;
    const health_function healthy;
    const std::function<void(T&)> cleanup;
    resource_manager& manager;

    mutable std::mutex mutex;
    std::condition_variable freed;
    std::vector<resource_handle<T>> idle; ///< the longest idle first
    pool_statistics counts;               ///< but for `idle`
    std::atomic<std::size_t> limit;
    bool closed = false;
};

} // namespace memtrace
