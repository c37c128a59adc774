// std::shared_ptr and std::weak_ptr that tell tracers who holds what.
//
//     auto session = memtrace::make_tracked<Session>(socket);      // object_create, ref_acquire (handle: &session, 1 reference)
//     memtrace::tracked_weak<Session> watcher = session;           // ref_acquire (weak, handle: &watcher)
//     session.reset();                                             // ref_release (0 left), object_destroy
//
// Semantics, complexity and thread safety are those of the standard's types, down to which member throws: what is said here is only
// where they differ. Without arrays, std::atomic of them and the free functions std::atomic_load(...) of C++11.
//
// What is told. A handle is a tracked_ptr or tracked_weak, by its own address. The object is the address that was given to the first
// handle, or that of the object which make_tracked made; handles that alias or were converted tell that too, not their own get().
//   - creation: object_create, then ref_acquire for the first handle
//   - last release: ref_release with 0 left, object_destroy, then the destructor or the deleter runs
//   - weak handles may outlive the object and go on telling its address: by then, that may be another object's
//   - an assignment to a handle of the same object, and a swap of two such, change no count and tell nothing
//   - a swap is told as moves, by way of an address on the stack
//
// Exceptions: bad_weak_ptr, bad_alloc, and what constructors throw. Compiles with -fno-exceptions (bad_weak_ptr ends the program then)
// and with -fno-rtti, but for dynamic_pointer_cast.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <iosfwd>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "memtrace/detail/handle.hpp"

namespace memtrace {

template <class T>
class tracked_ptr;
template <class T>
class tracked_weak;
template <class T>
class enable_tracked_from_this;

namespace detail {

[[noreturn]] inline void throw_bad_weak_ptr() {
#ifdef __cpp_exceptions
    throw std::bad_weak_ptr();
#else
    std::abort();
#endif
}

template <class From, class To>
using if_convertible = std::enable_if_t<std::is_convertible_v<From*, To*>>;

/// True where From* becomes To* without a look at the object, whose place of a virtual base only a living object knows.
template <class From, class To, class = void>
struct converts_blindly : std::false_type {};
template <class From, class To>
struct converts_blindly<From, To, std::void_t<decltype(static_cast<const volatile From*>(std::declval<To*>()))>>
    : std::true_type {};

/// What only the SDK itself may do with handles.
struct access {
    template <class T>
    static control_block* block_of(const tracked_ptr<T>& pointer) noexcept {
        return pointer.block();
    }
    /// `object`, just created or adopted, gets to know its block, unless it has one already.
    template <class Base, class T>
    static void enable(const enable_tracked_from_this<Base>& base, T* object, control_block* block) noexcept {
        if (base.weak_this_.expired()) {
            base.weak_this_.bind(const_cast<std::remove_cv_t<T>*>(object), block);
        }
    }
    template <class T, class Allocator, class... Args>
    static tracked_ptr<T> make(const Allocator& allocator, Args&&... args) {
        return tracked_ptr<T>(make_inplace_block<std::remove_cv_t<T>>(allocator, std::forward<Args>(args)...));
    }
};

template <class T, class = void>
struct has_from_this : std::false_type {};
template <class T>
struct has_from_this<T, std::void_t<decltype(access::enable(std::declval<T&>(), std::declval<T*>(), nullptr))>> : std::true_type {
};

} // namespace detail

// ---- tracked_ptr -----------------------------------------------------------------------------------------------------------------

template <class T>
class tracked_ptr : private detail::handle<detail::strong_share> {
    static_assert(!std::is_array_v<T>, "tracked_ptr has no arrays: let it hold a std::vector or a std::array");

    using share = detail::handle<detail::strong_share>;
    template <class Deleter, class Pointer>
    using if_deletes = std::enable_if_t<std::is_invocable_v<Deleter&, Pointer&>>;
    template <class Y, class Deleter>
    using if_unique_converts = std::enable_if_t<std::is_convertible_v<typename std::unique_ptr<Y, Deleter>::pointer, T*>>;

public:
    using element_type = T;
    using weak_type = tracked_weak<T>;

    constexpr tracked_ptr() noexcept = default;
    constexpr tracked_ptr(std::nullptr_t) noexcept {}

    template <class Y, class = detail::if_convertible<Y, T>>
    explicit tracked_ptr(Y* object) : pointer_(object) {
        static_assert(!std::is_void_v<Y>, "what void points to cannot be deleted: give a deleter");
        static_assert(sizeof(Y) > 0, "an incomplete type cannot be deleted: give a deleter");
        begin(object, detail::adopt(object, std::default_delete<Y>(), std::allocator<char>()));
    }
    template <class Y, class Deleter, class = detail::if_convertible<Y, T>, class = if_deletes<Deleter, Y*>>
    tracked_ptr(Y* object, Deleter deleter) : tracked_ptr(object, std::move(deleter), std::allocator<char>()) {}
    template <class Y, class Deleter, class Allocator, class = detail::if_convertible<Y, T>, class = if_deletes<Deleter, Y*>>
    tracked_ptr(Y* object, Deleter deleter, Allocator allocator) : pointer_(object) {
        begin(object, detail::adopt(object, std::move(deleter), allocator));
    }
    template <class Deleter, class = if_deletes<Deleter, std::nullptr_t>>
    tracked_ptr(std::nullptr_t null, Deleter deleter) : tracked_ptr(null, std::move(deleter), std::allocator<char>()) {}
    template <class Deleter, class Allocator, class = if_deletes<Deleter, std::nullptr_t>>
    tracked_ptr(std::nullptr_t null, Deleter deleter, Allocator allocator) {
        begin(static_cast<T*>(null), detail::adopt(null, std::move(deleter), allocator));
    }

    /// Shares what `owner` holds, and points to `pointer`.
    template <class Y>
    tracked_ptr(const tracked_ptr<Y>& owner, T* pointer) noexcept : pointer_(pointer) {
        acquire(owner.block());
    }
    template <class Y>
    tracked_ptr(tracked_ptr<Y>&& owner, T* pointer) noexcept : pointer_(pointer) {
        take(owner);
        owner.pointer_ = nullptr;
    }

    tracked_ptr(const tracked_ptr& other) noexcept : tracked_ptr(other, other.pointer_) {}
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_ptr(const tracked_ptr<Y>& other) noexcept : tracked_ptr(other, other.pointer_) {}
    tracked_ptr(tracked_ptr&& other) noexcept : tracked_ptr(std::move(other), other.pointer_) {}
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_ptr(tracked_ptr<Y>&& other) noexcept : tracked_ptr(std::move(other), other.pointer_) {}

    template <class Y, class = detail::if_convertible<Y, T>>
    explicit tracked_ptr(const tracked_weak<Y>& weak) : tracked_ptr(weak, std::nothrow) {
        if (block() == nullptr) {
            detail::throw_bad_weak_ptr();
        }
    }
    template <class Y, class Deleter, class = if_unique_converts<Y, Deleter>>
    tracked_ptr(std::unique_ptr<Y, Deleter>&& unique) {
        static_assert(!std::is_array_v<Y>, "tracked_ptr has no arrays");
        if (unique) {
            auto object = unique.get();
            auto* made =
                detail::make_pointer_block<Deleter>(object, std::forward<Deleter>(unique.get_deleter()), std::allocator<char>());
            unique.release();
            pointer_ = object;
            if constexpr (std::is_void_v<Y>) {
                begin(object, made);
            } else {
                begin(std::addressof(*object), made);
            }
        }
    }

    ~tracked_ptr() = default;

    tracked_ptr& operator=(const tracked_ptr& other) noexcept { return copy(other); }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_ptr& operator=(const tracked_ptr<Y>& other) noexcept {
        return copy(other);
    }
    tracked_ptr& operator=(tracked_ptr&& other) noexcept { return this != &other ? replace(other) : *this; }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_ptr& operator=(tracked_ptr<Y>&& other) noexcept {
        return replace(other);
    }
    template <class Y, class Deleter, class = if_unique_converts<Y, Deleter>>
    tracked_ptr& operator=(std::unique_ptr<Y, Deleter>&& unique) {
        tracked_ptr made(std::move(unique));
        return replace(made);
    }

    void reset() noexcept {
        auto* last = release();
        pointer_ = nullptr;
        finish(last);
    }
    /// As the constructors with the same arguments.
    template <class Y, class... DeleterAndAllocator, class = detail::if_convertible<Y, T>>
    void reset(Y* object, DeleterAndAllocator... more) {
        tracked_ptr made(object, std::move(more)...);
        replace(made);
    }

    void swap(tracked_ptr& other) noexcept {
        share::swap(other);
        std::swap(pointer_, other.pointer_);
    }

    [[nodiscard]] T* get() const noexcept { return pointer_; }
    [[nodiscard]] std::add_lvalue_reference_t<T> operator*() const noexcept { return *pointer_; }
    [[nodiscard]] T* operator->() const noexcept { return pointer_; }
    [[nodiscard]] explicit operator bool() const noexcept { return pointer_ != nullptr; }
    [[nodiscard]] long use_count() const noexcept { return block() != nullptr ? static_cast<long>(block()->use_count()) : 0; }

    template <class Y>
    [[nodiscard]] bool owner_before(const tracked_ptr<Y>& other) const noexcept {
        return std::less<>()(block(), other.block());
    }
    template <class Y>
    [[nodiscard]] bool owner_before(const tracked_weak<Y>& other) const noexcept {
        return std::less<>()(block(), other.block());
    }

private:
    template <class Y>
    friend class tracked_ptr;
    template <class Y>
    friend class tracked_weak;
    friend detail::access;

    template <class Allocator>
    explicit tracked_ptr(detail::inplace_block<std::remove_cv_t<T>, Allocator>* made) noexcept : pointer_(made->object()) {
        begin(made->object(), made);
    }

    /// Empty where `weak` has expired.
    template <class Y>
    tracked_ptr(const tracked_weak<Y>& weak, std::nothrow_t) noexcept {
        if (weak.block() != nullptr && weak.block()->acquire_unless_expired(this)) {
            accept(weak.block());
            pointer_ = weak.pointer_;
        }
    }

    template <class Y>
    void begin(Y* object, detail::control_block* made) noexcept {
        accept(made);
        made->begin(this);
        if constexpr (detail::has_from_this<Y>::value) {
            if (object != nullptr) {
                detail::access::enable(*object, object, made);
            }
        }
    }

    template <class Y>
    tracked_ptr& copy(const tracked_ptr<Y>& other) noexcept {
        T* const pointer = other.pointer_;
        auto* last = acquire_instead(other.block());
        pointer_ = pointer;
        finish(last);
        return *this;
    }

    template <class Y>
    tracked_ptr& replace(tracked_ptr<Y>& other) noexcept {
        T* const pointer = std::exchange(other.pointer_, nullptr);
        auto* last = take_instead(other);
        pointer_ = pointer;
        finish(last);
        return *this;
    }

    T* pointer_ = nullptr;
};

template <class Y, class Deleter>
tracked_ptr(std::unique_ptr<Y, Deleter>) -> tracked_ptr<Y>;
template <class T>
tracked_ptr(tracked_weak<T>) -> tracked_ptr<T>;

/// Object and counts in one piece of memory.
template <class T, class... Args>
[[nodiscard]] tracked_ptr<T> make_tracked(Args&&... args) {
    static_assert(!std::is_array_v<T>, "make_tracked has no arrays: make a std::vector or a std::array");
    return detail::access::make<T>(std::allocator<std::remove_cv_t<T>>(), std::forward<Args>(args)...);
}

template <class T, class Allocator, class... Args>
[[nodiscard]] tracked_ptr<T> allocate_tracked(const Allocator& allocator, Args&&... args) {
    static_assert(!std::is_array_v<T>, "allocate_tracked has no arrays: make a std::vector or a std::array");
    return detail::access::make<T>(allocator, std::forward<Args>(args)...);
}

// ---- tracked_weak ----------------------------------------------------------------------------------------------------------------

template <class T>
class tracked_weak : private detail::handle<detail::weak_share> {
    static_assert(!std::is_array_v<T>, "tracked_weak has no arrays");

    using share = detail::handle<detail::weak_share>;

public:
    using element_type = T;

    constexpr tracked_weak() noexcept = default;
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak(const tracked_ptr<Y>& owner) noexcept : pointer_(owner.pointer_) {
        acquire(owner.block());
    }
    tracked_weak(const tracked_weak& other) noexcept : pointer_(other.pointer_) { acquire(other.block()); }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak(const tracked_weak<Y>& other) noexcept : pointer_(converted(other)) {
        acquire(other.block());
    }
    tracked_weak(tracked_weak&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) { take(other); }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak(tracked_weak<Y>&& other) noexcept : pointer_(converted(other)) {
        other.pointer_ = nullptr;
        take(other);
    }

    ~tracked_weak() = default;

    tracked_weak& operator=(const tracked_weak& other) noexcept { return copy(other.pointer_, other.block()); }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak& operator=(const tracked_weak<Y>& other) noexcept {
        return copy(converted(other), other.block());
    }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak& operator=(const tracked_ptr<Y>& owner) noexcept {
        return copy(owner.pointer_, owner.block());
    }
    tracked_weak& operator=(tracked_weak&& other) noexcept {
        return this != &other ? replace(std::exchange(other.pointer_, nullptr), other) : *this;
    }
    template <class Y, class = detail::if_convertible<Y, T>>
    tracked_weak& operator=(tracked_weak<Y>&& other) noexcept {
        T* const pointer = converted(other);
        other.pointer_ = nullptr;
        return replace(pointer, other);
    }

    void reset() noexcept {
        pointer_ = nullptr;
        finish(release());
    }

    void swap(tracked_weak& other) noexcept {
        share::swap(other);
        std::swap(pointer_, other.pointer_);
    }

    [[nodiscard]] long use_count() const noexcept { return block() != nullptr ? static_cast<long>(block()->use_count()) : 0; }
    [[nodiscard]] bool expired() const noexcept { return use_count() == 0; }
    [[nodiscard]] tracked_ptr<T> lock() const noexcept { return tracked_ptr<T>(*this, std::nothrow); }

    template <class Y>
    [[nodiscard]] bool owner_before(const tracked_ptr<Y>& other) const noexcept {
        return std::less<>()(block(), other.block());
    }
    template <class Y>
    [[nodiscard]] bool owner_before(const tracked_weak<Y>& other) const noexcept {
        return std::less<>()(block(), other.block());
    }

private:
    template <class Y>
    friend class tracked_ptr;
    template <class Y>
    friend class tracked_weak;
    friend detail::access;

    /// The object may be gone at any moment: it is kept while its place is looked at.
    template <class Y>
    static T* converted(const tracked_weak<Y>& other) noexcept {
        if constexpr (detail::converts_blindly<Y, T>::value) {
            return other.pointer_;
        } else {
            if (other.block() == nullptr || !other.block()->pin()) {
                return nullptr;
            }
            T* const pointer = other.pointer_;
            other.block()->unpin();
            return pointer;
        }
    }

    tracked_weak& copy(T* pointer, detail::control_block* block) noexcept {
        pointer_ = pointer;
        finish(acquire_instead(block));
        return *this;
    }

    tracked_weak& replace(T* pointer, share& other) noexcept {
        pointer_ = pointer;
        finish(take_instead(other));
        return *this;
    }

    void bind(T* pointer, detail::control_block* block) noexcept { copy(pointer, block); }

    T* pointer_ = nullptr;
};

template <class T>
tracked_weak(tracked_ptr<T>) -> tracked_weak<T>;

// ---- enable_tracked_from_this ----------------------------------------------------------------------------------------------------

/// For a class that hands out handles of itself: derive it publicly, as `class Session : public enable_tracked_from_this<Session>`.
template <class T>
class enable_tracked_from_this {
public:
    /// Throws bad_weak_ptr where no tracked_ptr holds the object (yet: it is being constructed; or any more).
    [[nodiscard]] tracked_ptr<T> tracked_from_this() { return tracked_ptr<T>(weak_this_); }
    [[nodiscard]] tracked_ptr<const T> tracked_from_this() const { return tracked_ptr<const T>(weak_this_); }
    [[nodiscard]] tracked_weak<T> weak_from_this() noexcept { return weak_this_; }
    [[nodiscard]] tracked_weak<const T> weak_from_this() const noexcept { return weak_this_; }

protected:
    constexpr enable_tracked_from_this() noexcept = default;
    enable_tracked_from_this(const enable_tracked_from_this&) noexcept {} // another object, with a block of its own
    enable_tracked_from_this& operator=(const enable_tracked_from_this&) noexcept { return *this; }
    ~enable_tracked_from_this() = default;

private:
    friend detail::access;

    mutable tracked_weak<T> weak_this_;
};

// ---- casts, comparisons, and what else goes with them ----------------------------------------------------------------------------

template <class T, class U>
[[nodiscard]] tracked_ptr<T> static_pointer_cast(const tracked_ptr<U>& pointer) noexcept {
    return tracked_ptr<T>(pointer, static_cast<T*>(pointer.get()));
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> static_pointer_cast(tracked_ptr<U>&& pointer) noexcept {
    auto* const to = static_cast<T*>(pointer.get());
    return tracked_ptr<T>(std::move(pointer), to);
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> const_pointer_cast(const tracked_ptr<U>& pointer) noexcept {
    return tracked_ptr<T>(pointer, const_cast<T*>(pointer.get()));
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> const_pointer_cast(tracked_ptr<U>&& pointer) noexcept {
    auto* const to = const_cast<T*>(pointer.get());
    return tracked_ptr<T>(std::move(pointer), to);
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> reinterpret_pointer_cast(const tracked_ptr<U>& pointer) noexcept {
    return tracked_ptr<T>(pointer, reinterpret_cast<T*>(pointer.get()));
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> reinterpret_pointer_cast(tracked_ptr<U>&& pointer) noexcept {
    auto* const to = reinterpret_cast<T*>(pointer.get());
    return tracked_ptr<T>(std::move(pointer), to);
}
/// Empty where the object is no T; `pointer` keeps it then.
template <class T, class U>
[[nodiscard]] tracked_ptr<T> dynamic_pointer_cast(const tracked_ptr<U>& pointer) noexcept {
    auto* const to = dynamic_cast<T*>(pointer.get());
    return to != nullptr ? tracked_ptr<T>(pointer, to) : tracked_ptr<T>();
}
template <class T, class U>
[[nodiscard]] tracked_ptr<T> dynamic_pointer_cast(tracked_ptr<U>&& pointer) noexcept {
    auto* const to = dynamic_cast<T*>(pointer.get());
    return to != nullptr ? tracked_ptr<T>(std::move(pointer), to) : tracked_ptr<T>();
}

/// The deleter that the first handle was given; null where it was none of that type.
template <class Deleter, class T>
[[nodiscard]] Deleter* get_deleter(const tracked_ptr<T>& pointer) noexcept {
    auto* const block = detail::access::block_of(pointer);
    return block != nullptr ? static_cast<Deleter*>(block->deleter(&detail::deleter_tag<std::remove_cv_t<Deleter>>)) : nullptr;
}

template <class T>
void swap(tracked_ptr<T>& left, tracked_ptr<T>& right) noexcept {
    left.swap(right);
}
template <class T>
void swap(tracked_weak<T>& left, tracked_weak<T>& right) noexcept {
    left.swap(right);
}

template <class T, class U>
[[nodiscard]] bool operator==(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return left.get() == right.get();
}
template <class T, class U>
[[nodiscard]] bool operator!=(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return left.get() != right.get();
}
template <class T, class U>
[[nodiscard]] bool operator<(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return std::less<>()(left.get(), right.get());
}
template <class T, class U>
[[nodiscard]] bool operator>(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return right < left;
}
template <class T, class U>
[[nodiscard]] bool operator<=(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return !(right < left);
}
template <class T, class U>
[[nodiscard]] bool operator>=(const tracked_ptr<T>& left, const tracked_ptr<U>& right) noexcept {
    return !(left < right);
}
template <class T>
[[nodiscard]] bool operator==(const tracked_ptr<T>& pointer, std::nullptr_t) noexcept {
    return !pointer;
}
template <class T>
[[nodiscard]] bool operator==(std::nullptr_t, const tracked_ptr<T>& pointer) noexcept {
    return !pointer;
}
template <class T>
[[nodiscard]] bool operator!=(const tracked_ptr<T>& pointer, std::nullptr_t) noexcept {
    return static_cast<bool>(pointer);
}
template <class T>
[[nodiscard]] bool operator!=(std::nullptr_t, const tracked_ptr<T>& pointer) noexcept {
    return static_cast<bool>(pointer);
}

template <class Char, class Traits, class T>
std::basic_ostream<Char, Traits>& operator<<(std::basic_ostream<Char, Traits>& stream, const tracked_ptr<T>& pointer) {
    return stream << pointer.get();
}

/// As std::owner_less<void>, for containers with handles as keys.
struct tracked_owner_less {
    using is_transparent = void;
    template <class Left, class Right>
    [[nodiscard]] bool operator()(const Left& left, const Right& right) const noexcept {
        return left.owner_before(right);
    }
};

} // namespace memtrace

template <class T>
struct std::hash<memtrace::tracked_ptr<T>> {
    [[nodiscard]] std::size_t operator()(const memtrace::tracked_ptr<T>& pointer) const noexcept {
        return std::hash<T*>()(pointer.get());
    }
};
