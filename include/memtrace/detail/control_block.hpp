// What all handles of one object share: the counts, how to destroy the object, and its place among what is alive.
//
//     strong_   | others : 32 | handles : 32 |   0 as a whole: the object ends
//     weak_     | others : 32 | handles : 32 |   0 as a whole: the block ends; as long as the object lives, it is one of the others
//
// "Others" keep the object, or the block, for a moment without being handles. While a tracer listens, a release makes itself one of
// them: it gives its handle back, tells the tracer how many are left, and only then lets go. So the object does not end, and its
// memory is nobody else's, before every release was told, whichever thread is the last.
//
// Threads: as with std::shared_ptr. fork, signal handlers, exit: live_registry.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "memtrace/detail/live_registry.hpp"
#include "memtrace/detail/type_name.hpp"
#include "memtrace/probes.h"

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define MEMTRACE_SINGLE_THREADED __libc_single_threaded
#else
#define MEMTRACE_SINGLE_THREADED false
#endif

/// Kept out of the way of what runs when nobody listens.
#define MEMTRACE_TELLS __attribute__((noinline, cold))

namespace memtrace {
namespace detail {

class reference_count {
public:
    static constexpr std::uint64_t kHandle = 1;
    static constexpr std::uint64_t kOther = std::uint64_t{1} << 32;

    explicit constexpr reference_count(std::uint64_t word) noexcept : word_(word) {}

    static std::uint64_t handles_in(std::uint64_t word) noexcept { return word & (kOther - 1); }
    [[nodiscard]] std::uint64_t word() const noexcept { return word_.load(std::memory_order_acquire); }
    [[nodiscard]] std::uint64_t handles() const noexcept { return handles_in(word_.load(std::memory_order_relaxed)); }

    /// Returns the word after. Only for who holds a share already.
    std::uint64_t add(std::uint64_t share) noexcept { return change(share, std::memory_order_relaxed); }
    std::uint64_t subtract(std::uint64_t share) noexcept { return change(~share + 1, std::memory_order_acq_rel); }
    /// Gives the handle back and goes on as one of the others.
    std::uint64_t handle_to_other() noexcept { return change(kOther - kHandle, std::memory_order_acq_rel); }

    /// Returns the word after, or 0 where no handle is left: what has expired does not come back.
    std::uint64_t add_unless_expired(std::uint64_t share) noexcept {
        auto word = word_.load(std::memory_order_relaxed);
        do {
            if (handles_in(word) == 0) {
                return 0;
            }
        } while (!word_.compare_exchange_weak(word, word + share, std::memory_order_acq_rel, std::memory_order_relaxed));
        return word + share;
    }

private:
    /// Without other threads a locked instruction buys nothing; the standard library leaves it out too.
    std::uint64_t change(std::uint64_t difference, std::memory_order order) noexcept {
        if (MEMTRACE_SINGLE_THREADED) {
            const auto word = word_.load(std::memory_order_relaxed) + difference;
            word_.store(word, std::memory_order_relaxed);
            return word;
        }
        return word_.fetch_add(difference, order) + difference;
    }

    std::atomic<std::uint64_t> word_;
};

/// As told by the contract. An owned null pointer has no address: that of its block stands for it.
struct object_description {
    const void* address;
    std::size_t size; ///< 0: not known, the type is incomplete
    const char* type;
};

class control_block : public live_node {
public:
    control_block(const control_block&) = delete;
    control_block& operator=(const control_block&) = delete;

    /// The object exists, and `handle` is the first that holds it.
    void begin(const void* handle) noexcept {
        const bool told = MEMTRACE_ENABLED(object_create) || MEMTRACE_ENABLED(ref_acquire);
        if (told) {
            memtrace_answer(); // before it is in the registry: else it would be announced, and created after that
        }
        objects_alive.add(*this);
        if (told) {
            tell_begin(handle);
        }
    }

    /// In two steps, for who gives another share up in between: what is told has its order then.
    [[nodiscard]] std::uint64_t add() noexcept { return strong_.add(reference_count::kHandle); }
    void tell_added(const void* handle, std::uint64_t word) const noexcept {
        if (MEMTRACE_ENABLED(ref_acquire)) {
            tell_acquire(handle, 1, word);
        }
    }

    /// False where the object has expired.
    [[nodiscard]] bool acquire_unless_expired(const void* handle) noexcept {
        const auto word = strong_.add_unless_expired(reference_count::kHandle);
        if (word != 0 && MEMTRACE_ENABLED(ref_acquire)) {
            tell_acquire(handle, 1, word);
        }
        return word != 0;
    }

    /// True for the last: the caller calls end(), once its handle shows that it holds the object no more.
    [[nodiscard]] bool release(const void* handle) noexcept {
        if (MEMTRACE_ENABLED(ref_release)) {
            return tell_release(handle);
        }
        return strong_.subtract(reference_count::kHandle) == 0;
    }

    /// Not inlined: there is a place that may be the last release wherever a handle goes out of scope.
    __attribute__((noinline)) void end() noexcept {
        live_registry::remove(*this);
        if (MEMTRACE_ENABLED(object_destroy)) {
            tell_destroy();
        }
        destroy();
        // Where nobody else has the block, nobody can come to have it: weak handles are copied from others.
        if (weak_.word() == reference_count::kOther || weak_.subtract(reference_count::kOther) == 0) {
            deallocate();
        }
    }

    [[nodiscard]] std::uint64_t add_weak() noexcept { return weak_.add(reference_count::kHandle); }
    void tell_added_weak(const void* handle, std::uint64_t word) const noexcept {
        if (MEMTRACE_ENABLED(ref_acquire)) {
            tell_acquire(handle, 0, word);
        }
    }

    /// True for the last of all that needed the block: the caller calls end_block().
    [[nodiscard]] bool release_weak(const void* handle) noexcept {
        if (MEMTRACE_ENABLED(ref_release)) {
            return tell_release_weak(handle);
        }
        return weak_.subtract(reference_count::kHandle) == 0;
    }

    void end_block() noexcept { deallocate(); }

    void move(const void* from, const void* to, int strong) const noexcept {
        if (MEMTRACE_ENABLED(ref_move)) {
            tell_move(from, to, strong);
        }
    }

    /// Keeps the object alive without being a reference that anybody is told of. False where it has expired.
    [[nodiscard]] bool pin() noexcept { return strong_.add_unless_expired(reference_count::kOther) != 0; }
    void unpin() noexcept {
        if (strong_.subtract(reference_count::kOther) == 0) {
            end();
        }
    }

    [[nodiscard]] std::uint64_t use_count() const noexcept { return strong_.handles(); }

    /// For an announcer, while the registry keeps the block from going away.
    void tell_alive() const noexcept {
        const auto strong = strong_.handles();
        if (strong != 0) {
            const auto object = describe();
            memtrace_object_alive(object.address, object.size, object.type, strong, weak_.handles());
        }
    }

    /// The deleter, where `tag` is deleter_tag of its type.
    [[nodiscard]] virtual void* deleter(const void* tag) noexcept = 0;

protected:
    control_block() noexcept = default;
    ~control_block() = default;

private:
    [[nodiscard]] virtual object_description describe() const noexcept = 0;
    virtual void destroy() noexcept = 0;    ///< the object
    virtual void deallocate() noexcept = 0; ///< this block

    MEMTRACE_TELLS void tell_begin(const void* handle) const noexcept {
        const auto object = describe();
        memtrace_object_create(object.address, object.size, object.type);
        memtrace_ref_acquire(object.address, handle, 1, 1);
    }
    MEMTRACE_TELLS void tell_acquire(const void* handle, int strong, std::uint64_t word) const noexcept {
        memtrace_ref_acquire(describe().address, handle, strong, reference_count::handles_in(word));
    }
    MEMTRACE_TELLS bool tell_release(const void* handle) noexcept {
        const auto word = strong_.handle_to_other();
        memtrace_ref_release(describe().address, handle, 1, reference_count::handles_in(word));
        return strong_.subtract(reference_count::kOther) == 0;
    }
    MEMTRACE_TELLS bool tell_release_weak(const void* handle) noexcept {
        const auto word = weak_.handle_to_other();
        memtrace_ref_release(describe().address, handle, 0, reference_count::handles_in(word));
        return weak_.subtract(reference_count::kOther) == 0;
    }
    MEMTRACE_TELLS void tell_move(const void* from, const void* to, int strong) const noexcept {
        memtrace_ref_move(describe().address, from, to, strong);
    }
    MEMTRACE_TELLS void tell_destroy() const noexcept { memtrace_object_destroy(describe().address); }

    reference_count strong_{reference_count::kHandle};
    reference_count weak_{reference_count::kOther};
};

// ---- at start-up and fork --------------------------------------------------------------------------------------------------------

inline void announce_objects(void*) noexcept {
    objects_alive.for_each([](const live_node& node) { static_cast<const control_block&>(node).tell_alive(); });
}

inline __attribute__((visibility("hidden"))) memtrace_announcer object_announcer{announce_objects, nullptr, nullptr};

/// Before main, or as the shared object is loaded. What exists before that, static objects of other sources, is in the registry as well.
struct object_announcing {
    object_announcing() noexcept {
        memtrace_add_announcer(&object_announcer);
        pthread_atfork([] { objects_alive.before_fork(); }, [] { objects_alive.after_fork(); },
                       [] { objects_alive.after_fork_in_child(); });
    }
};
inline __attribute__((visibility("hidden"))) object_announcing objects_are_announced;

// ---- the two kinds of block ------------------------------------------------------------------------------------------------------

/// sizeof, where the type is complete at first use; 0 otherwise.
template <class T, class = void>
struct size_if_complete : std::integral_constant<std::size_t, 0> {};
template <class T>
struct size_if_complete<T, std::enable_if_t<std::is_object_v<T> && sizeof(T) != 0>>
    : std::integral_constant<std::size_t, sizeof(T)> {};

/// Its address tells types apart, without RTTI.
template <class Deleter>
inline constexpr char deleter_tag = 0;

/// Memory for one `Block`, given back unless kept.
template <class Block, class Allocator>
class block_memory {
    using block_allocator = typename std::allocator_traits<Allocator>::template rebind_alloc<Block>;
    using traits = std::allocator_traits<block_allocator>;

public:
    explicit block_memory(const Allocator& allocator) : allocator_(allocator), memory_(traits::allocate(allocator_, 1)) {}
    block_memory(const block_memory&) = delete;
    block_memory& operator=(const block_memory&) = delete;
    ~block_memory() {
        if (memory_ != nullptr) {
            traits::deallocate(allocator_, memory_, 1);
        }
    }

    [[nodiscard]] void* address() const noexcept { return std::addressof(*memory_); }
    void keep() noexcept { memory_ = nullptr; }

    /// Ends `block` and gives its memory back.
    static void deallocate(Block& block, const Allocator& allocator) noexcept {
        block_allocator copy(allocator);
        const auto memory = std::pointer_traits<typename traits::pointer>::pointer_to(block);
        block.~Block();
        traits::deallocate(copy, memory, 1);
    }

private:
    block_allocator allocator_;
    typename traits::pointer memory_;
};

/// Of an object that was there before.
template <class Pointer, class Deleter, class Allocator>
class pointer_block final : public control_block {
public:
    pointer_block(Pointer pointer, Deleter&& deleter, const Allocator& allocator)
        : state_(pointer, std::forward<Deleter>(deleter), allocator) {}

private:
    /// What the pointer points to; of nullptr, nothing.
    using element = std::conditional_t<
        std::is_same_v<Pointer, std::nullptr_t>, void,
        typename std::pointer_traits<std::conditional_t<std::is_same_v<Pointer, std::nullptr_t>, void*, Pointer>>::element_type>;

    [[nodiscard]] const volatile void* address() const noexcept {
        if constexpr (std::is_pointer_v<Pointer> && std::is_function_v<std::remove_pointer_t<Pointer>>) {
            return reinterpret_cast<const volatile void*>(std::get<0>(state_));
        } else if constexpr (std::is_pointer_v<Pointer>) {
            return std::get<0>(state_);
        } else if constexpr (std::is_same_v<Pointer, std::nullptr_t>) {
            return nullptr;
        } else {
            return std::get<0>(state_) ? std::addressof(*std::get<0>(state_)) : nullptr;
        }
    }
    [[nodiscard]] object_description describe() const noexcept override {
        const auto* object = const_cast<const void*>(address());
        const char* type = type_name<std::remove_cv_t<element>>();
        return object != nullptr ? object_description{object, size_if_complete<element>::value, type}
                                 : object_description{this, sizeof *this, type};
    }
    void destroy() noexcept override { std::get<1>(state_)(std::get<0>(state_)); }
    void deallocate() noexcept override {
        const Allocator allocator(std::get<2>(state_));
        block_memory<pointer_block, Allocator>::deallocate(*this, allocator);
    }
    [[nodiscard]] void* deleter(const void* tag) noexcept override {
        using plain = std::remove_cv_t<std::remove_reference_t<Deleter>>;
        return tag == &deleter_tag<plain> ? const_cast<plain*>(std::addressof(std::get<1>(state_))) : nullptr;
    }

    std::tuple<Pointer, Deleter, Allocator> state_; // a tuple takes no room for what is empty
};

/// Ends what `pointer` points to by `deleter`, unless released.
template <class Pointer, class Deleter>
struct deleting_guard {
    Pointer pointer;
    Deleter& deleter;
    bool released = false;

    ~deleting_guard() {
        if (!released) {
            deleter(pointer);
        }
    }
};

template <class Deleter, class Pointer, class Allocator>
control_block* make_pointer_block(Pointer pointer, Deleter&& deleter, const Allocator& allocator) {
    using block = pointer_block<Pointer, Deleter, Allocator>;
    block_memory<block, Allocator> memory(allocator);
    auto* made = ::new (memory.address()) block(pointer, std::forward<Deleter>(deleter), allocator);
    memory.keep();
    return made;
}

/// Takes `pointer` over: ends it where there is no memory for a block.
template <class Pointer, class Deleter, class Allocator>
control_block* adopt(Pointer pointer, Deleter&& deleter, const Allocator& allocator) {
    deleting_guard<Pointer, Deleter> guard{pointer, deleter};
    auto* made = make_pointer_block<Deleter>(pointer, std::move(deleter), allocator);
    guard.released = true;
    return made;
}

/// Block and object in one piece of memory.
template <class T, class Allocator>
class inplace_block final : public control_block, private std::tuple<Allocator> {
    using object_allocator = typename std::allocator_traits<Allocator>::template rebind_alloc<T>;
    using traits = std::allocator_traits<object_allocator>;

public:
    template <class... Args>
    explicit inplace_block(const Allocator& allocator, Args&&... args) : std::tuple<Allocator>(allocator) {
        object_allocator copy(own_allocator());
        traits::construct(copy, object(), std::forward<Args>(args)...);
    }
    ~inplace_block() = default; // the object has ended by then

    [[nodiscard]] T* object() noexcept { return reinterpret_cast<T*>(bytes_); }

private:
    [[nodiscard]] object_description describe() const noexcept override { return {bytes_, sizeof(T), type_name<T>()}; }
    void destroy() noexcept override {
        object_allocator copy(own_allocator());
        traits::destroy(copy, object());
    }
    void deallocate() noexcept override {
        const Allocator allocator(own_allocator());
        block_memory<inplace_block, Allocator>::deallocate(*this, allocator);
    }
    [[nodiscard]] void* deleter(const void*) noexcept override { return nullptr; }

    [[nodiscard]] const Allocator& own_allocator() const noexcept {
        return std::get<0>(static_cast<const std::tuple<Allocator>&>(*this));
    }

    alignas(T) unsigned char bytes_[sizeof(T)];
};

template <class T, class Allocator, class... Args>
inplace_block<T, Allocator>* make_inplace_block(const Allocator& allocator, Args&&... args) {
    block_memory<inplace_block<T, Allocator>, Allocator> memory(allocator);
    auto* made = ::new (memory.address()) inplace_block<T, Allocator>(allocator, std::forward<Args>(args)...);
    memory.keep();
    return made;
}

} // namespace detail
} // namespace memtrace

#undef MEMTRACE_TELLS
#undef MEMTRACE_SINGLE_THREADED
