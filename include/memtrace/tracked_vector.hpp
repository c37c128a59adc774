// A std::vector of handles that lets tracers see through it: what its elements hold is held by the object that the vector is a member of.
//
//     struct Plan { memtrace::tracked_vector<memtrace::tracked_ptr<Plan>> inputs; };      // a cycle through `inputs` is found
//
// A handle in the memory of a plain vector counts as held from outside, as nobody knows who leads there. This one tells (storage_acquire,
// storage_release, storage_move) which memory belongs to the vector at which address, also when it grows, is moved, swapped or assigned to.
// A vector of vectors of handles: both have to be such.
//
// Everything else is as with std::vector<T>; not traced, an allocation costs a load and a branch more. Threads: as std::vector.
//
// Limits. The constructor that takes a vector to be moved from and an allocator tells nothing of the move: not to be used. Of memory that
// assign(count, value) allocates nothing is known, as libstdc++ takes it from a temporary vector: handles in it count as held from outside.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

#include "memtrace/probes.h"

namespace memtrace {

/// std::allocator for std::vector, and no other container: the others hand memory from one to another without their allocators. It lies in
/// the vector, so that its own address says which one the memory belongs to. `Element`: what it was made for, before any rebinding.
template <class T, class Element = T>
class storage_allocator {
public:
    using value_type = T;
    using is_always_equal = std::true_type; // whose memory it is does not matter for giving it back
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    template <class U>
    struct rebind {
        using other = storage_allocator<U, Element>;
    };

    storage_allocator() noexcept = default;
    /// Of another vector, whose memory stays its own.
    storage_allocator(const storage_allocator&) noexcept {}
    template <class U>
    // NOLINTNEXTLINE(google-explicit-constructor): as allocators are
    storage_allocator(const storage_allocator<U, Element>&) noexcept {}
    storage_allocator(storage_allocator&& other) noexcept { memtrace_storage_move(&other, this); }
    /// Its vector has given its memory back, or another vector has that, which was swapped with this one without a word.
    ~storage_allocator() { memtrace_storage_move(this, nullptr); }
    storage_allocator& operator=(const storage_allocator&) noexcept { return *this; }
    storage_allocator& operator=(storage_allocator&& other) noexcept {
        memtrace_storage_move(&other, this);
        return *this;
    }

    [[nodiscard]] T* allocate(std::size_t count) {
        static_assert(std::is_same<T, Element>::value, "storage_allocator is for std::vector alone");
        T* const memory = std::allocator<T>().allocate(count);
        memtrace_storage_acquire(memory, count * sizeof(T), this);
        return memory;
    }
    void deallocate(T* memory, std::size_t count) noexcept {
        memtrace_storage_release(memory);
        std::allocator<T>().deallocate(memory, count);
    }

    friend bool operator==(const storage_allocator&, const storage_allocator&) noexcept { return true; }
    friend bool operator!=(const storage_allocator&, const storage_allocator&) noexcept { return false; }
};

template <class T>
using tracked_vector = std::vector<T, storage_allocator<T>>;

} // namespace memtrace
