// An owner of one resource. Programs include memtrace/resource.hpp.
//
//     memtrace::resource_handle<int> file(open(path, O_RDONLY), {"fd", path}, [](int& fd) { close(fd); });
//     read(*file, ...);
//
//     memtrace::resource_handle<page_cache> cache(page_cache(), {"cache", "pages", 64 << 20});
//     cache.evictable();                               // from now on an emergency may free it,
//     if (auto pages = cache.pin()) pages->find(...);   // but not while it is pinned
#pragma once

#include <cassert>
#include <functional>
#include <new>
#include <type_traits>

#include "memtrace/resource_manager.hpp"

namespace memtrace {

namespace detail {

template <typename T>
class value_node final : public resource_node {
public:
    value_node(T&& from, resource_info told, cleanup_strategy how, std::function<void(T&)> cleanup)
        : resource_node(std::move(told), how), cleanup_(std::move(cleanup)) {
        new (storage_) T(std::move(from));
    }

    T* value() noexcept { return std::launder(reinterpret_cast<T*>(storage_)); }

    void clean() noexcept override {
        if (strategy == cleanup_strategy::none) {
            return;
        }
        if (cleanup_) {
            cleanup_(*value());
        }
        value()->~T();
    }
    std::uint64_t shrink() noexcept override { return on_evict(*value()); }

    std::function<std::uint64_t(T&)> on_evict;

private:
    std::function<void(T&)> cleanup_;
    alignas(T) unsigned char storage_[sizeof(T)];
};

} // namespace detail

template <typename T>
class resource_handle;

/// Keeps a value from being freed while it is used. One thread at a time.
template <typename T>
class resource_pin {
public:
    resource_pin() = default;
    resource_pin(resource_pin&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    resource_pin& operator=(resource_pin&& other) noexcept {
        std::swap(node_, other.node_);
        return *this;
    }
    ~resource_pin() {
        if (node_) {
            resource_manager::unpin(node_);
        }
    }

    explicit operator bool() const noexcept { return node_ != nullptr; }
    T* get() const noexcept { return node_ ? node_->value() : nullptr; }
    T& operator*() const noexcept { return *node_->value(); }
    T* operator->() const noexcept { return node_->value(); }

private:
    friend class resource_handle<T>;
    explicit resource_pin(detail::value_node<T>* node) noexcept : node_(node) {}
    detail::value_node<T>* node_ = nullptr;
};

/// Owns a value; releases it when it is destroyed, reset or assigned to. Move-only. Threads: as a std::unique_ptr, but for pin(), touch()
/// and get(), which several threads may call at once as long as the handle stays.
template <typename T>
class resource_handle {
    static_assert(std::is_nothrow_move_constructible<T>::value, "a value must not get lost on its way into the handle");

public:
    using cleanup_function = std::function<void(T&)>;

    resource_handle() = default;
    /// The value is destroyed at the end.
    resource_handle(T value, resource_info info, resource_manager& manager = resource_manager::process())
        : resource_handle(std::move(value), std::move(info), cleanup_strategy::drop, {}, manager) {}
    /// `cleanup` is called with it at the end, then it is destroyed. It must not throw.
    resource_handle(T value, resource_info info, cleanup_function cleanup,
                    resource_manager& manager = resource_manager::process())
        : resource_handle(std::move(value), std::move(info), cleanup_strategy::function, std::move(cleanup), manager) {}
    /// As the strategy says; `cleanup` is for `function` and `deferred`.
    resource_handle(T value, resource_info info, cleanup_strategy strategy, cleanup_function cleanup = {},
                    resource_manager& manager = resource_manager::process())
        : node_(make(value, info, strategy, cleanup)) {
        manager.enter(node_);
    }
    resource_handle(resource_handle&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    resource_handle& operator=(resource_handle&& other) noexcept {
        if (this != &other) {
            auto* const taken = std::exchange(other.node_, nullptr); // first: `other` may lie in what is released
            reset();
            node_ = taken;
        }
        return *this;
    }
    ~resource_handle() { reset(); }

    /// Releases it. What is pinned is freed when the last pin goes.
    void reset() noexcept {
        if (auto* node = std::exchange(node_, nullptr)) {
            resource_manager::release(node);
        }
    }

    /// Whether there is a value; not, once it was evicted, or its manager shut down.
    explicit operator bool() const noexcept { return node_ && node_->held(); }

    /// The value, or null. Null, too, of a handle that is evictable: it could go at any moment, so it has to be pinned.
    T* get() const noexcept {
        return *this && node_->evictable.load(std::memory_order_relaxed) == detail::eviction::never ? node_->value() : nullptr;
    }
    T& operator*() const noexcept {
        assert(get() && "empty, or evictable: pin() it");
        return *get();
    }
    T* operator->() const noexcept {
        assert(get() && "empty, or evictable: pin() it");
        return get();
    }

    /// Keeps it until the pin goes. An empty pin: it is gone. Counts as a use; waits while it is being evicted: so not under a lock
    /// that the callback of an eviction takes.
    [[nodiscard]] resource_pin<T> pin() const noexcept {
        if (!node_ || !node_->pin()) {
            return {};
        }
        node_->touch();
        return resource_pin<T>(node_);
    }

    /// It was used.
    void touch() const noexcept {
        if (node_) {
            node_->touch();
        }
    }

    /// From now on an emergency may release it, while it is not pinned. Once, before other threads have the handle.
    void evictable() noexcept { node_->evictable.store(detail::eviction::release, std::memory_order_release); }
    /// From now on an emergency may call `on_evict`, while it is not pinned: to give back a part, whose bytes it returns. The handle
    /// stays. It must not throw.
    void evictable(std::function<std::uint64_t(T&)> on_evict) noexcept {
        node_->on_evict = std::move(on_evict);
        node_->evictable.store(detail::eviction::shrink, std::memory_order_release);
    }

    /// Of its announcement, and of what an emergency counts.
    void set_bytes(std::uint64_t bytes) noexcept { node_->bytes.store(bytes, std::memory_order_relaxed); }

    /// 0 of an empty handle. It is what children name as their parent.
    std::uint64_t id() const noexcept { return node_ ? node_->id : 0; }
    std::uint64_t bytes() const noexcept { return node_ ? node_->bytes.load(std::memory_order_relaxed) : 0; }
    /// Not of an empty handle.
    const resource_info& info() const noexcept { return node_->info; }
    /// Since the last use: it was acquired, pinned or touched.
    std::chrono::nanoseconds idle() const noexcept {
        const auto now = detail::coarse_ns();
        const auto last = node_ ? node_->last_ns.load(std::memory_order_relaxed) : now;
        return std::chrono::nanoseconds(now > last ? now - last : 0);
    }

private:
    /// Sees to it that a value which finds no room is cleaned up as if it had been held for a moment.
    struct value_guard {
        T& value;
        cleanup_strategy strategy;
        cleanup_function& cleanup;
        bool kept = false;

        ~value_guard() {
            if (kept) {
                return;
            }
            if (strategy == cleanup_strategy::none) { // it is not to be destroyed: not here either
                alignas(T) unsigned char elsewhere[sizeof(T)];
                new (elsewhere) T(std::move(value));
            } else if (cleanup) {
                cleanup(value);
            }
        }
    };

    static detail::value_node<T>* make(T& value, resource_info& info, cleanup_strategy strategy, cleanup_function& cleanup) {
        value_guard guard{value, strategy, cleanup};
        // Memory comes first: where there is none, nothing has been moved.
        auto* const node = new detail::value_node<T>(std::move(value), std::move(info), strategy, std::move(cleanup));
        guard.kept = true;
        return node;
    }

    detail::value_node<T>* node_ = nullptr;
};

} // namespace memtrace
