// Allocators that tell memtrace, and any OpenTelemetry profiler, what they allocate: a sample of it, by bytes (memtrace/sampler.hpp).
//
//     std::vector<row, memtrace::tracking_allocator<row>> rows;
//     memtrace::tracking_resource arena(&buffers);    std::pmr::vector<row> rows(&arena);
//
// While nobody traces, an allocation costs a load more than that of the allocator beneath, and so does a free. For memory that no tracer can see from
// outside: arenas, huge pages, mappings. Under libmemtrace_alloc.so, what comes from malloc would be told twice.
#pragma once

#include <memory>
#include <memory_resource>
#include <type_traits>
#include <utility>

#include "memtrace/sampler.hpp"

namespace memtrace {

/// An allocator in front of another. State, propagation and equality are those of `Base`. Threads: as Base.
template <typename T, typename Base = std::allocator<T>>
class tracking_allocator : private std::allocator_traits<Base>::template rebind_alloc<T> {
    using base = typename std::allocator_traits<Base>::template rebind_alloc<T>;
    using traits = std::allocator_traits<base>;
    template <typename, typename>
    friend class tracking_allocator;

public:
    using value_type = T;
    using pointer = typename traits::pointer;
    using const_pointer = typename traits::const_pointer;
    using void_pointer = typename traits::void_pointer;
    using const_void_pointer = typename traits::const_void_pointer;
    using size_type = typename traits::size_type;
    using difference_type = typename traits::difference_type;
    using propagate_on_container_copy_assignment = typename traits::propagate_on_container_copy_assignment;
    using propagate_on_container_move_assignment = typename traits::propagate_on_container_move_assignment;
    using propagate_on_container_swap = typename traits::propagate_on_container_swap;
    using is_always_equal = typename traits::is_always_equal;
    template <typename U>
    struct rebind {
        using other = tracking_allocator<U, typename traits::template rebind_alloc<U>>;
    };

    tracking_allocator() = default;
    explicit tracking_allocator(const base& beneath) noexcept : base(beneath) {}
    template <typename U, typename OtherBase>
    // NOLINTNEXTLINE(google-explicit-constructor): as allocators are
    tracking_allocator(const tracking_allocator<U, OtherBase>& other) noexcept : base(other.beneath()) {}

    [[nodiscard]] pointer allocate(size_type count) {
        const auto block = traits::allocate(*this, count);
        sample_alloc(address_of(block), count * sizeof(T));
        return block;
    }
    void deallocate(pointer block, size_type count) noexcept {
        sample_free(address_of(block));
        traits::deallocate(*this, block, count);
    }
    size_type max_size() const noexcept { return traits::max_size(*this); }
    template <typename U, typename... Arguments>
    void construct(U* object, Arguments&&... arguments) {
        traits::construct(static_cast<base&>(*this), object, std::forward<Arguments>(arguments)...);
    }
    template <typename U>
    void destroy(U* object) {
        traits::destroy(static_cast<base&>(*this), object);
    }
    tracking_allocator select_on_container_copy_construction() const {
        return tracking_allocator(traits::select_on_container_copy_construction(*this));
    }

    /// What it stands in front of.
    const typename traits::allocator_type& beneath() const noexcept { return *this; }

    template <typename U, typename OtherBase>
    friend bool operator==(const tracking_allocator& a, const tracking_allocator<U, OtherBase>& b) noexcept {
        return a.beneath() == base(b.beneath());
    }
    template <typename U, typename OtherBase>
    friend bool operator!=(const tracking_allocator& a, const tracking_allocator<U, OtherBase>& b) noexcept {
        return !(a == b);
    }

private:
    static const void* address_of(T* block) noexcept { return block; }
    template <typename Fancy>
    static const void* address_of(const Fancy& block) noexcept {
        return block ? static_cast<const void*>(std::addressof(*block)) : nullptr;
    }
};

/// A memory_resource in front of another, which must outlive it. Threads: as upstream.
class tracking_resource : public std::pmr::memory_resource {
public:
    explicit tracking_resource(std::pmr::memory_resource* upstream = std::pmr::get_default_resource()) noexcept
        : upstream_(upstream) {}
    std::pmr::memory_resource* upstream_resource() const noexcept { return upstream_; }

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        void* const block = upstream_->allocate(bytes, alignment);
        sample_alloc(block, bytes);
        return block;
    }
    void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
        sample_free(block);
        upstream_->deallocate(block, bytes, alignment);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
#ifdef __cpp_rtti
        const auto* const tracking = dynamic_cast<const tracking_resource*>(&other);
        return tracking && *tracking->upstream_ == *upstream_;
#else
        return this == &other;
#endif
    }

    std::pmr::memory_resource* upstream_;
};

} // namespace memtrace
