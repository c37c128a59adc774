// tracked_ptr by the standard's rules: the same tests run on std::shared_ptr, which says what is right. What is told to tracers is in
// sdk_tracked_told_test.cpp.
#include "memtrace/tracked_ptr.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace memtrace {
namespace {

struct Standard {
    template <class T>
    using ptr = std::shared_ptr<T>;
    template <class T>
    using weak = std::weak_ptr<T>;
    template <class T>
    using from_this_base = std::enable_shared_from_this<T>;
    using owner_less = std::owner_less<void>;

    template <class T, class... Args>
    static ptr<T> make(Args&&... args) {
        return std::make_shared<T>(std::forward<Args>(args)...);
    }
    template <class T, class Allocator, class... Args>
    static ptr<T> allocate(const Allocator& allocator, Args&&... args) {
        return std::allocate_shared<T>(allocator, std::forward<Args>(args)...);
    }
    template <class T>
    static auto from_this(T& object) {
        return object.shared_from_this();
    }
    template <class T, class P>
    static auto static_cast_to(P&& p) {
        return std::static_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto dynamic_cast_to(P&& p) {
        return std::dynamic_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto const_cast_to(P&& p) {
        return std::const_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto reinterpret_cast_to(P&& p) {
        return std::reinterpret_pointer_cast<T>(std::forward<P>(p));
    }
    template <class D, class P>
    static D* deleter(const P& p) {
        return std::get_deleter<D>(p);
    }
};

struct Tracked {
    template <class T>
    using ptr = tracked_ptr<T>;
    template <class T>
    using weak = tracked_weak<T>;
    template <class T>
    using from_this_base = enable_tracked_from_this<T>;
    using owner_less = tracked_owner_less;

    template <class T, class... Args>
    static ptr<T> make(Args&&... args) {
        return make_tracked<T>(std::forward<Args>(args)...);
    }
    template <class T, class Allocator, class... Args>
    static ptr<T> allocate(const Allocator& allocator, Args&&... args) {
        return allocate_tracked<T>(allocator, std::forward<Args>(args)...);
    }
    template <class T>
    static auto from_this(T& object) {
        return object.tracked_from_this();
    }
    template <class T, class P>
    static auto static_cast_to(P&& p) {
        return static_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto dynamic_cast_to(P&& p) {
        return dynamic_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto const_cast_to(P&& p) {
        return const_pointer_cast<T>(std::forward<P>(p));
    }
    template <class T, class P>
    static auto reinterpret_cast_to(P&& p) {
        return reinterpret_pointer_cast<T>(std::forward<P>(p));
    }
    template <class D, class P>
    static D* deleter(const P& p) {
        return get_deleter<D>(p);
    }
};

/// Counts those that live.
struct Counted {
    static inline int alive = 0;
    int value = 0;

    explicit Counted(int with = 0) : value(with) { ++alive; }
    Counted(const Counted& other) : value(other.value) { ++alive; }
    Counted& operator=(const Counted&) = default;
    ~Counted() { --alive; }
};

struct Shape {
    virtual ~Shape() { ++ended; }
    int sides = 0;
    static inline int ended = 0;
};
struct Named {
    virtual ~Named() = default;
    std::string name = "named";
};
struct Square : Named, Shape {
    Square() { sides = 4; }
};
struct Left : virtual Shape {};
struct Right : virtual Shape {};
struct Diamond : Left, Right {};

/// Counts its calls in `*calls`.
struct CountingDeleter {
    int* calls;
    template <class T>
    void operator()(T* object) const {
        ++*calls;
        delete object;
    }
    void operator()(std::nullptr_t) const { ++*calls; }
};

/// Counts bytes that it has given out; gives out none after `limit` allocations.
struct Ledger {
    long bytes = 0;
    int allocations = 0;
    int limit = 1 << 20;
};
template <class T>
struct LedgerAllocator {
    using value_type = T;
    Ledger* ledger;

    explicit LedgerAllocator(Ledger* in) : ledger(in) {}
    template <class U>
    LedgerAllocator(const LedgerAllocator<U>& other) : ledger(other.ledger) {}
    T* allocate(std::size_t count) {
        if (ledger->allocations >= ledger->limit) {
            throw std::bad_alloc();
        }
        ++ledger->allocations;
        ledger->bytes += static_cast<long>(count * sizeof(T));
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T* memory, std::size_t count) {
        ledger->bytes -= static_cast<long>(count * sizeof(T));
        std::allocator<T>().deallocate(memory, count);
    }
    template <class U>
    bool operator==(const LedgerAllocator<U>& other) const {
        return ledger == other.ledger;
    }
};

/// Declared, not defined until the end of this file.
struct Incomplete;
Incomplete* make_incomplete();
void end_incomplete(Incomplete* object);
int incomplete_alive = 0;

template <class Family>
class SharedOwnership : public testing::Test {
protected:
    void SetUp() override {
        Counted::alive = 0;
        Shape::ended = 0;
    }
    void TearDown() override { EXPECT_EQ(Counted::alive, 0); }
};

struct FamilyNames {
    template <class Family>
    static std::string GetName(int) {
        return std::is_same_v<Family, Standard> ? "Standard" : "Tracked";
    }
};
using Families = testing::Types<Standard, Tracked>;
TYPED_TEST_SUITE(SharedOwnership, Families, FamilyNames);

// ---- what compiles ---------------------------------------------------------------------------------------------------------------

template <class F>
constexpr bool converts_as_it_should() {
    using PS = typename F::template ptr<Square>;
    using PB = typename F::template ptr<Shape>;
    using PI = typename F::template ptr<int>;
    using PCI = typename F::template ptr<const int>;
    using PV = typename F::template ptr<void>;
    using WS = typename F::template weak<Square>;
    using WB = typename F::template weak<Shape>;
    static_assert(std::is_convertible_v<PS, PB> && !std::is_convertible_v<PB, PS>);
    static_assert(std::is_convertible_v<PI, PCI> && !std::is_convertible_v<PCI, PI>);
    static_assert(std::is_convertible_v<PI, PV> && !std::is_convertible_v<PV, PI>);
    static_assert(std::is_convertible_v<WS, WB> && !std::is_convertible_v<WB, WS>);
    static_assert(std::is_convertible_v<PS, WB> && !std::is_convertible_v<WB, PB>);
    static_assert(std::is_constructible_v<PB, WS> && !std::is_constructible_v<PS, WB>);
    static_assert(!std::is_convertible_v<int*, PI> && std::is_constructible_v<PI, int*>);
    static_assert(std::is_convertible_v<std::nullptr_t, PI> && !std::is_convertible_v<PI, bool>);
    static_assert(!std::is_constructible_v<PI, long*>);
    static_assert(std::is_constructible_v<PI, std::unique_ptr<int>> && !std::is_constructible_v<PI, std::unique_ptr<int>&>);
    static_assert(!std::is_constructible_v<PI, std::unique_ptr<long>>);
    static_assert(std::is_nothrow_default_constructible_v<PI> && std::is_nothrow_copy_constructible_v<PI> &&
                  std::is_nothrow_move_constructible_v<PI> && std::is_nothrow_copy_assignable_v<PI> &&
                  std::is_nothrow_move_assignable_v<PI> && std::is_nothrow_destructible_v<PI>);
    static_assert(std::is_nothrow_copy_constructible_v<WS> && std::is_nothrow_move_constructible_v<WS> &&
                  std::is_nothrow_move_assignable_v<WS> && std::is_nothrow_swappable_v<WS> && std::is_nothrow_swappable_v<PI>);
    static_assert(std::is_same_v<typename PI::element_type, int> && std::is_same_v<typename PS::weak_type, WS>);
    static_assert(sizeof(PI) == 2 * sizeof(void*) && sizeof(WS) == 2 * sizeof(void*));
    return true;
}
static_assert(converts_as_it_should<Standard>() && converts_as_it_should<Tracked>());
static_assert(std::is_same_v<decltype(tracked_ptr(std::unique_ptr<int>())), tracked_ptr<int>>);
static_assert(std::is_same_v<decltype(tracked_ptr(tracked_weak<int>())), tracked_ptr<int>>);
static_assert(std::is_same_v<decltype(tracked_weak(tracked_ptr<int>())), tracked_weak<int>>);

// ---- creation and end ------------------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, EmptyOnesHoldNothing) {
    typename TypeParam::template ptr<Counted> empty;
    typename TypeParam::template ptr<Counted> null(nullptr);
    typename TypeParam::template weak<Counted> weak;
    EXPECT_EQ(empty.get(), nullptr);
    EXPECT_EQ(empty.use_count(), 0);
    EXPECT_FALSE(empty);
    EXPECT_EQ(null, nullptr);
    EXPECT_TRUE(weak.expired());
    EXPECT_EQ(weak.lock(), nullptr);
    empty.reset();
    weak.reset();
}

TYPED_TEST(SharedOwnership, LastOwnerEndsTheObject) {
    auto first = TypeParam::template make<Counted>(7);
    {
        const auto second = first;
        EXPECT_EQ(first.use_count(), 2);
        EXPECT_EQ(second->value, 7);
    }
    EXPECT_EQ(first.use_count(), 1);
    EXPECT_EQ(Counted::alive, 1);
    first.reset();
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_EQ(first, nullptr);
    EXPECT_EQ(first.use_count(), 0);
}

TYPED_TEST(SharedOwnership, RawPointerIsEndedAsTheTypeThatItWasGivenAs) {
    struct Base {
        int value = 0;
    };
    struct Derived : Base {
        Counted member;
    };
    typename TypeParam::template ptr<Base> base(new Derived); // no virtual destructor is needed
    EXPECT_EQ(Counted::alive, 1);
    base.reset();
    EXPECT_EQ(Counted::alive, 0);
    const typename TypeParam::template ptr<void> anything(new Counted);
    EXPECT_EQ(Counted::alive, 1);
}

TYPED_TEST(SharedOwnership, NullRawPointerIsOwned) {
    typename TypeParam::template ptr<Counted> null(static_cast<Counted*>(nullptr));
    EXPECT_FALSE(null);
    EXPECT_EQ(null.use_count(), 1);
    const auto other = null;
    EXPECT_EQ(null.use_count(), 2);
}

TYPED_TEST(SharedOwnership, ConstObjectsAndOveralignedOnes) {
    struct alignas(256) Wide {
        char bytes[512] = {};
    };
    const auto constant = TypeParam::template make<const Counted>(5);
    EXPECT_EQ(constant->value, 5);
    const auto wide = TypeParam::template make<Wide>();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide.get()) % 256, 0U);
    const typename TypeParam::template ptr<const Counted> given(new const Counted(6));
    EXPECT_EQ(given->value, 6);
}

TYPED_TEST(SharedOwnership, ThrowingConstructorLeavesNothing) {
    struct Throwing {
        Counted before;
        explicit Throwing(int value) : before(value) { throw value; }
    };
    Ledger ledger;
    EXPECT_THROW((TypeParam::template allocate<Throwing>(LedgerAllocator<int>(&ledger), 3)), int);
    EXPECT_EQ(ledger.allocations, 1);
    EXPECT_EQ(ledger.bytes, 0);
    EXPECT_EQ(Counted::alive, 0);
}

TYPED_TEST(SharedOwnership, NoMemoryForTheCountsEndsTheObjectThatWasGiven) {
    Ledger ledger;
    ledger.limit = 0;
    int calls = 0;
    using P = typename TypeParam::template ptr<Counted>;
    EXPECT_THROW(P(new Counted, CountingDeleter{&calls}, LedgerAllocator<int>(&ledger)), std::bad_alloc);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_THROW(P(nullptr, CountingDeleter{&calls}, LedgerAllocator<int>(&ledger)), std::bad_alloc);
    EXPECT_EQ(calls, 2);
    P before(new Counted(1));
    EXPECT_THROW(before.reset(new Counted(2), CountingDeleter{&calls}, LedgerAllocator<int>(&ledger)), std::bad_alloc);
    EXPECT_EQ(calls, 3);
    EXPECT_EQ(before->value, 1);
}

TYPED_TEST(SharedOwnership, AllocatorGetsItsMemoryBackWithTheLastWeakOne) {
    Ledger ledger;
    typename TypeParam::template weak<Counted> weak;
    {
        const auto made = TypeParam::template allocate<Counted>(LedgerAllocator<Counted>(&ledger), 9);
        EXPECT_EQ(made->value, 9);
        weak = made;
    }
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_GT(ledger.bytes, 0);
    weak.reset();
    EXPECT_EQ(ledger.bytes, 0);
    EXPECT_EQ(ledger.allocations, 1);
}

TYPED_TEST(SharedOwnership, IncompleteTypeIsHeldByADeleter) {
    {
        const typename TypeParam::template ptr<Incomplete> object(make_incomplete(), end_incomplete);
        const auto copy = object;
        const typename TypeParam::template weak<Incomplete> weak = copy;
        EXPECT_EQ(weak.lock(), object);
        EXPECT_EQ(incomplete_alive, 1);
    }
    EXPECT_EQ(incomplete_alive, 0);
}

// ---- deleters --------------------------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, DeleterIsCalledOnceAndCanBeAskedFor) {
    int calls = 0;
    using P = typename TypeParam::template ptr<Counted>;
    P object(new Counted, CountingDeleter{&calls});
    const typename TypeParam::template ptr<const void> other = object;
    ASSERT_NE(TypeParam::template deleter<CountingDeleter>(other), nullptr);
    EXPECT_EQ(TypeParam::template deleter<CountingDeleter>(other)->calls, &calls);
    EXPECT_EQ(TypeParam::template deleter<std::default_delete<Counted>>(object), nullptr);
    EXPECT_EQ(TypeParam::template deleter<CountingDeleter>(P()), nullptr);
    EXPECT_EQ(TypeParam::template deleter<CountingDeleter>(TypeParam::template make<Counted>()), nullptr);
    object.reset();
    EXPECT_EQ(calls, 0);
}

TYPED_TEST(SharedOwnership, NullptrWithADeleterIsAGuard) {
    int calls = 0;
    {
        const typename TypeParam::template ptr<void> guard(nullptr, CountingDeleter{&calls});
        EXPECT_FALSE(guard);
        EXPECT_EQ(guard.use_count(), 1);
    }
    EXPECT_EQ(calls, 1);
}

TYPED_TEST(SharedOwnership, DeleterMayBeMoveOnlyOrAFunction) {
    struct MoveOnly {
        std::unique_ptr<int> marker = std::make_unique<int>(1);
        void operator()(Counted* object) const { delete object; }
    };
    const typename TypeParam::template ptr<Counted> first(new Counted, MoveOnly());
    const typename TypeParam::template ptr<Counted> second(new Counted, +[](Counted* object) { delete object; });
    EXPECT_EQ(Counted::alive, 2);
}

TYPED_TEST(SharedOwnership, UniquePtrIsTakenOver) {
    int calls = 0;
    auto unique = std::make_unique<Square>();
    auto* const raw = unique.get();
    typename TypeParam::template ptr<Shape> shape(std::move(unique));
    EXPECT_EQ(unique, nullptr);
    EXPECT_EQ(shape.get(), raw);
    EXPECT_EQ(shape.use_count(), 1);
    shape = std::make_unique<Square>();
    EXPECT_EQ(Shape::ended, 1);
    shape = std::unique_ptr<Shape>();
    EXPECT_EQ(Shape::ended, 2);
    EXPECT_EQ(shape.use_count(), 0);
    std::unique_ptr<Counted, CountingDeleter> with_deleter(new Counted, CountingDeleter{&calls});
    typename TypeParam::template ptr<Counted>(std::move(with_deleter)).reset();
    EXPECT_EQ(calls, 1);
    const CountingDeleter shared{&calls};
    std::unique_ptr<Counted, const CountingDeleter&> by_reference(new Counted, shared);
    typename TypeParam::template ptr<Counted>(std::move(by_reference)).reset();
    EXPECT_EQ(calls, 2);
}

/// Of what it points to nothing is known but how to end it.
struct VoidDeleter {
    int* calls;
    void operator()(void* memory) const {
        ++*calls;
        std::free(memory);
    }
};

TYPED_TEST(SharedOwnership, UniquePtrToVoidIsTakenOver) {
    int calls = 0;
    std::unique_ptr<void, VoidDeleter> unique(std::malloc(10), VoidDeleter{&calls});
    auto* const raw = unique.get();
    typename TypeParam::template ptr<void> memory(std::move(unique));
    EXPECT_EQ(memory.get(), raw);
    EXPECT_EQ(memory.use_count(), 1);
    memory = std::unique_ptr<void, VoidDeleter>(std::malloc(20), VoidDeleter{&calls});
    EXPECT_EQ(calls, 1);
    typename TypeParam::template ptr<const void> other = memory;
    memory.reset();
    EXPECT_EQ(calls, 1);
    other.reset();
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(
        (typename TypeParam::template ptr<void>(std::unique_ptr<void, VoidDeleter>(nullptr, VoidDeleter{&calls})).use_count()),
        0);
}

// ---- copies, moves, assignments --------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, MovedFromIsEmpty) {
    auto from = TypeParam::template make<Counted>(1);
    auto* const raw = from.get();
    auto to = std::move(from);
    EXPECT_EQ(from, nullptr); // NOLINT: the state after a move is what is tested
    EXPECT_EQ(from.use_count(), 0);
    EXPECT_EQ(to.get(), raw);
    EXPECT_EQ(to.use_count(), 1);
    typename TypeParam::template weak<Counted> weak_from = to;
    typename TypeParam::template weak<Counted> weak_to = std::move(weak_from);
    EXPECT_TRUE(weak_from.expired());
    EXPECT_EQ(weak_to.lock(), to);
    weak_from = std::move(weak_to);
    EXPECT_TRUE(weak_to.expired());
    EXPECT_EQ(weak_from.use_count(), 1);
}

TYPED_TEST(SharedOwnership, AssignmentToItselfChangesNothing) {
    auto one = TypeParam::template make<Counted>(1);
    auto& same = one;
    one = same;
    EXPECT_EQ(one.use_count(), 1);
    one = std::move(same);
    ASSERT_NE(one, nullptr);
    EXPECT_EQ(one->value, 1);
    one.swap(same);
    EXPECT_EQ(one.use_count(), 1);
    typename TypeParam::template weak<Counted> weak = one;
    auto& same_weak = weak;
    weak = same_weak;
    EXPECT_EQ(weak.lock(), one);
    if constexpr (std::is_same_v<TypeParam, Tracked>) { // libstdc++'s weak_ptr is empty after that
        weak = std::move(same_weak);
        EXPECT_EQ(weak.lock(), one);
    }
}

TYPED_TEST(SharedOwnership, AssignmentWithinOneOwnershipGroup) {
    auto one = TypeParam::template make<Counted>(1);
    auto two = one;
    two = one;
    EXPECT_EQ(one.use_count(), 2);
    two = std::move(one);
    EXPECT_EQ(two.use_count(), 1);
    EXPECT_EQ(one, nullptr); // NOLINT
    EXPECT_EQ(Counted::alive, 1);
    int elsewhere = 0;
    typename TypeParam::template ptr<int> alias(two, &elsewhere);
    alias = typename TypeParam::template ptr<int>(two, &two->value);
    EXPECT_EQ(alias.get(), &two->value);
    EXPECT_EQ(two.use_count(), 2);
}

TYPED_TEST(SharedOwnership, AssignmentReplacesTheOldObject) {
    auto one = TypeParam::template make<Counted>(1);
    const auto two = TypeParam::template make<Counted>(2);
    one = two;
    EXPECT_EQ(Counted::alive, 1);
    EXPECT_EQ(one.use_count(), 2);
    one = TypeParam::template make<Counted>(3);
    EXPECT_EQ(two.use_count(), 1);
    EXPECT_EQ(one->value, 3);
    one.reset(new Counted(4));
    EXPECT_EQ(one->value, 4);
    EXPECT_EQ(Counted::alive, 2);
    one = nullptr;
    EXPECT_EQ(Counted::alive, 1);
}

TYPED_TEST(SharedOwnership, ConvertedCopiesAndMovesShareOwnership) {
    auto square = TypeParam::template make<Square>();
    typename TypeParam::template ptr<Shape> shape = square; // at another address
    EXPECT_NE(static_cast<void*>(shape.get()), static_cast<void*>(square.get()));
    EXPECT_EQ(shape->sides, 4);
    EXPECT_EQ(square.use_count(), 2);
    shape = square;
    EXPECT_EQ(square.use_count(), 2);
    typename TypeParam::template ptr<const Named> named = std::move(square);
    EXPECT_EQ(square, nullptr); // NOLINT
    EXPECT_EQ(named->name, "named");
    named = typename TypeParam::template ptr<Square>();
    EXPECT_EQ(shape.use_count(), 1);
    shape.reset();
    EXPECT_EQ(Shape::ended, 1);
}

TYPED_TEST(SharedOwnership, VirtualBasesOfLivingAndExpiredObjects) {
    auto diamond = TypeParam::template make<Diamond>();
    const typename TypeParam::template ptr<Shape> shape = diamond;
    EXPECT_EQ(diamond.use_count(), 2);
    typename TypeParam::template weak<Diamond> weak = diamond;
    typename TypeParam::template weak<Shape> weak_shape = weak;
    EXPECT_EQ(weak_shape.lock(), shape);
    EXPECT_EQ(diamond.use_count(), 2) << "the look at the object is over";
    weak_shape = weak;
    typename TypeParam::template weak<Shape> moved = std::move(weak_shape);
    EXPECT_EQ(moved.lock(), shape);
    const_cast<typename TypeParam::template ptr<Shape>&>(shape).reset();
    diamond.reset();
    EXPECT_EQ(Shape::ended, 1);
    const typename TypeParam::template weak<Shape> late = weak; // must not look at what is gone
    EXPECT_TRUE(late.expired());
    const typename TypeParam::template weak<Shape> late_move = std::move(weak);
    EXPECT_TRUE(late_move.expired());
}

TYPED_TEST(SharedOwnership, SwapExchangesObjects) {
    auto one = TypeParam::template make<Counted>(1);
    auto two = TypeParam::template make<Counted>(2);
    typename TypeParam::template ptr<Counted> none;
    swap(one, two);
    EXPECT_EQ(one->value, 2);
    EXPECT_EQ(two->value, 1);
    one.swap(none);
    EXPECT_EQ(one, nullptr);
    EXPECT_EQ(none->value, 2);
    typename TypeParam::template weak<Counted> weak_one = two;
    typename TypeParam::template weak<Counted> weak_two = none;
    swap(weak_one, weak_two);
    EXPECT_EQ(weak_one.lock(), none);
    EXPECT_EQ(weak_two.lock(), two);
    EXPECT_EQ(two.use_count(), 1);
}

// ---- aliases and casts -----------------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, AliasKeepsTheWholeAlive) {
    auto whole = TypeParam::template make<Counted>(5);
    typename TypeParam::template ptr<int> part(whole, &whole->value);
    EXPECT_EQ(part.use_count(), 2);
    whole.reset();
    EXPECT_EQ(Counted::alive, 1);
    EXPECT_EQ(*part, 5);
    part.reset();
    EXPECT_EQ(Counted::alive, 0);
    int local = 3;
    const typename TypeParam::template ptr<int> of_nothing(typename TypeParam::template ptr<Counted>(), &local);
    EXPECT_EQ(of_nothing.use_count(), 0);
    EXPECT_EQ(*of_nothing, 3);
    const typename TypeParam::template ptr<int> to_nothing(TypeParam::template make<Counted>(), nullptr);
    EXPECT_FALSE(to_nothing);
    EXPECT_EQ(to_nothing.use_count(), 1);
}

TYPED_TEST(SharedOwnership, CastsShareOwnership) {
    const auto square = TypeParam::template make<Square>();
    const typename TypeParam::template ptr<Shape> shape = square;
    EXPECT_EQ(TypeParam::template static_cast_to<Square>(shape), square);
    EXPECT_EQ(TypeParam::template dynamic_cast_to<Square>(shape), square);
    EXPECT_EQ(TypeParam::template dynamic_cast_to<Named>(shape)->name, "named");
    EXPECT_EQ(TypeParam::template dynamic_cast_to<Diamond>(shape), nullptr);
    const typename TypeParam::template ptr<const Square> constant = square;
    EXPECT_EQ(TypeParam::template const_cast_to<Square>(constant), square);
    const auto bytes = TypeParam::template reinterpret_cast_to<char>(square);
    EXPECT_EQ(static_cast<void*>(bytes.get()), static_cast<void*>(square.get()));
    EXPECT_EQ(square.use_count(), 4);
}

TEST(TrackedPtr, CastsOfWhatIsMovedTakeTheShare) { // the standard's do so from C++20 on
    tracked_ptr<Shape> shape = make_tracked<Square>();
    auto square = static_pointer_cast<Square>(std::move(shape));
    EXPECT_EQ(shape, nullptr); // NOLINT
    EXPECT_EQ(square.use_count(), 1);
    shape = std::move(square);
    EXPECT_EQ(dynamic_pointer_cast<Diamond>(std::move(shape)), nullptr);
    EXPECT_NE(shape, nullptr) << "a cast that fails takes nothing"; // NOLINT
    const auto named = dynamic_pointer_cast<Named>(std::move(shape));
    EXPECT_EQ(shape, nullptr); // NOLINT
    EXPECT_EQ(named.use_count(), 1);
    auto constant = tracked_ptr<const Named>(named);
    const auto back = const_pointer_cast<Named>(std::move(constant));
    EXPECT_EQ(named.use_count(), 2);
}

// ---- weak ones -------------------------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, WeakOnesDoNotKeepTheObject) {
    auto object = TypeParam::template make<Counted>(1);
    typename TypeParam::template weak<Counted> weak = object;
    const auto copy = weak;
    EXPECT_EQ(weak.use_count(), 1);
    EXPECT_FALSE(weak.expired());
    {
        const auto locked = weak.lock();
        EXPECT_EQ(locked, object);
        EXPECT_EQ(object.use_count(), 2);
    }
    object.reset();
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_TRUE(weak.expired());
    EXPECT_EQ(copy.lock(), nullptr);
    const auto late_copy = copy;
    EXPECT_TRUE(late_copy.expired());
    using P = typename TypeParam::template ptr<Counted>;
    EXPECT_THROW(P{weak}, std::bad_weak_ptr);
    EXPECT_THROW((P{typename TypeParam::template weak<Counted>()}), std::bad_weak_ptr);
}

// ---- from this -------------------------------------------------------------------------------------------------------------------

template <class F>
struct Self : F::template from_this_base<Self<F>> {
    Counted member;
};
template <class F>
struct DerivedSelf : Named, Self<F> {};
template <class F>
struct SelfInConstructor : F::template from_this_base<SelfInConstructor<F>> {
    bool threw = false;
    SelfInConstructor() {
        try {
            (void)F::from_this(*this);
        } catch (const std::bad_weak_ptr&) {
            threw = true;
        }
    }
};
template <class F>
struct PrivateSelf : private F::template from_this_base<PrivateSelf<F>> {};

TYPED_TEST(SharedOwnership, ObjectHandsOutHandlesOfItself) {
    auto object = TypeParam::template make<Self<TypeParam>>();
    auto self = TypeParam::from_this(*object);
    EXPECT_EQ(self, object);
    EXPECT_EQ(object.use_count(), 2);
    const auto& constant = *object;
    static_assert(
        std::is_same_v<decltype(TypeParam::from_this(constant)), typename TypeParam::template ptr<const Self<TypeParam>>>);
    EXPECT_EQ(TypeParam::from_this(constant), object);
    auto weak = object->weak_from_this();
    EXPECT_EQ(constant.weak_from_this().lock(), object);
    self.reset();
    object.reset();
    EXPECT_TRUE(weak.expired());
}

TYPED_TEST(SharedOwnership, DerivedAndConstObjectsKnowThemselvesToo) {
    const typename TypeParam::template ptr<Named> named(new DerivedSelf<TypeParam>);
    auto& derived = dynamic_cast<DerivedSelf<TypeParam>&>(*named);
    EXPECT_EQ(TypeParam::from_this(derived).use_count(), 2);
    const typename TypeParam::template ptr<const Self<TypeParam>> constant(new const Self<TypeParam>);
    EXPECT_EQ(TypeParam::from_this(*constant), constant);
    const auto hidden = TypeParam::template make<PrivateSelf<TypeParam>>();
    EXPECT_EQ(hidden.use_count(), 1);
}

TYPED_TEST(SharedOwnership, NobodyHoldsItYet) {
    Self<TypeParam> local;
    EXPECT_THROW((void)TypeParam::from_this(local), std::bad_weak_ptr);
    EXPECT_TRUE(local.weak_from_this().expired());
    EXPECT_TRUE(TypeParam::template make<SelfInConstructor<TypeParam>>()->threw);
}

TYPED_TEST(SharedOwnership, CopyOfAnObjectIsNotTheObject) {
    auto object = TypeParam::template make<Self<TypeParam>>();
    Self<TypeParam> copy(*object);
    EXPECT_TRUE(copy.weak_from_this().expired());
    copy = *object;
    EXPECT_TRUE(copy.weak_from_this().expired());
    *object = copy;
    EXPECT_EQ(TypeParam::from_this(*object), object);
}

TYPED_TEST(SharedOwnership, SecondOwnershipGroupDoesNotReplaceTheFirst) {
    const auto first = TypeParam::template make<Self<TypeParam>>();
    const typename TypeParam::template ptr<Self<TypeParam>> second(first.get(), [](Self<TypeParam>*) {});
    EXPECT_EQ(TypeParam::from_this(*first).use_count(), 2);
    EXPECT_EQ(first.use_count(), 1);
    EXPECT_EQ(second.use_count(), 1);
}

// ---- order, hash, output ---------------------------------------------------------------------------------------------------------

TYPED_TEST(SharedOwnership, ComparisonsAndHashAreThoseOfThePointers) {
    int numbers[2] = {};
    using P = typename TypeParam::template ptr<int>;
    const P low(P(), &numbers[0]);
    const P high(P(), &numbers[1]);
    const typename TypeParam::template ptr<const int> same = low;
    EXPECT_TRUE(low == same && !(low != same) && low != high);
    EXPECT_TRUE(low < high && high > low && low <= same && low >= same && !(high <= low));
    EXPECT_TRUE(P() == nullptr && nullptr == P() && low != nullptr && nullptr != low);
    EXPECT_EQ(std::hash<P>()(low), std::hash<int*>()(&numbers[0]));
    const std::unordered_set<P> set{low, high, low};
    EXPECT_EQ(set.size(), 2U);
    std::ostringstream by_handle;
    std::ostringstream by_pointer;
    by_handle << low;
    by_pointer << low.get();
    EXPECT_EQ(by_handle.str(), by_pointer.str());
}

TYPED_TEST(SharedOwnership, OwnerOrderIsThatOfTheOwnershipGroups) {
    const auto one = TypeParam::template make<Counted>(1);
    const auto two = TypeParam::template make<Counted>(2);
    const typename TypeParam::template ptr<int> part(one, &two->value); // owns one, points into two
    typename TypeParam::template weak<Counted> weak = one;
    EXPECT_FALSE(one.owner_before(part) || part.owner_before(one));
    EXPECT_FALSE(one.owner_before(weak) || weak.owner_before(part));
    EXPECT_NE(one.owner_before(two), two.owner_before(one));
    EXPECT_NE(weak.owner_before(two), two.owner_before(weak));
    std::set<typename TypeParam::template weak<Counted>, typename TypeParam::owner_less> set{weak, weak};
    EXPECT_EQ(set.size(), 1U);
    set.insert(two);
    EXPECT_EQ(set.size(), 2U);
    EXPECT_EQ(set.count(one), 1U);
}

// ---- structures, reentrancy ------------------------------------------------------------------------------------------------------

template <class F>
struct Node {
    typename F::template ptr<Node> next;
    typename F::template weak<Node> previous;
    Counted member;
};

TYPED_TEST(SharedOwnership, ListLosesItsHeadByMoveFromWithin) {
    auto head = TypeParam::template make<Node<TypeParam>>();
    head->next = TypeParam::template make<Node<TypeParam>>();
    head->next->previous = head;
    head->next->next = TypeParam::template make<Node<TypeParam>>();
    head = std::move(head->next);
    EXPECT_EQ(Counted::alive, 2);
    EXPECT_TRUE(head->previous.expired());
    head = head->next; // a copy from within what the assignment ends
    EXPECT_EQ(Counted::alive, 1);
    EXPECT_EQ(head.use_count(), 1);
}

TYPED_TEST(SharedOwnership, CycleLivesUntilItIsBroken) {
    auto one = TypeParam::template make<Node<TypeParam>>();
    one->next = TypeParam::template make<Node<TypeParam>>();
    one->next->next = one;
    auto* const raw = one.get();
    one.reset();
    EXPECT_EQ(Counted::alive, 2);
    auto held = raw->next;
    held->next.reset();
    EXPECT_EQ(Counted::alive, 1);
}

TYPED_TEST(SharedOwnership, DestructorSeesTheHandleChangedAlready) {
    static typename TypeParam::template ptr<void> handle;
    static const void* seen = nullptr;
    static int calls = 0;
    calls = 0;
    const auto look = [](int* object) {
        seen = handle.get();
        ++calls;
        delete object;
    };
    int local = 0;
    handle = typename TypeParam::template ptr<int>(new int, look);
    handle.reset();
    EXPECT_EQ(seen, nullptr);
    handle = typename TypeParam::template ptr<int>(new int, look);
    handle = typename TypeParam::template ptr<int>(typename TypeParam::template ptr<int>(), &local);
    EXPECT_EQ(seen, &local);
    EXPECT_EQ(calls, 2);
    handle.reset();
}

// ---- threads ---------------------------------------------------------------------------------------------------------------------

struct SharedCounter {
    static inline std::atomic<int> alive{0};
    std::atomic<int> uses{0};
    SharedCounter() { ++alive; }
    ~SharedCounter() { --alive; }
};

TYPED_TEST(SharedOwnership, ManyThreadsCopyMoveAndDropHandlesOfOneObject) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 20'000;
    auto object = TypeParam::template make<SharedCounter>();
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([handle = object]() mutable {
            typename TypeParam::template weak<SharedCounter> weak = handle;
            for (int round = 0; round < kRounds; ++round) {
                auto copy = handle;
                auto moved = std::move(copy);
                copy = moved;
                if (const auto locked = weak.lock()) {
                    ++locked->uses;
                }
                auto weak_copy = weak;
                weak = std::move(weak_copy);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    threads.clear(); // and what the functions held
    EXPECT_EQ(object->uses, kThreads * kRounds);
    EXPECT_EQ(object.use_count(), 1);
    object.reset();
    EXPECT_EQ(SharedCounter::alive, 0);
}

// The last release races with lock: an object is locked whole or not at all, and ends once.
TYPED_TEST(SharedOwnership, LockRacesWithTheLastRelease) {
    constexpr int kRounds = 3'000;
    for (int round = 0; round < kRounds; ++round) {
        auto object = TypeParam::template make<SharedCounter>();
        const typename TypeParam::template weak<SharedCounter> weak = object;
        std::thread other([weak] {
            while (const auto locked = weak.lock()) {
                ASSERT_EQ(SharedCounter::alive, 1);
                ++locked->uses;
            }
        });
        object.reset();
        other.join();
        ASSERT_EQ(SharedCounter::alive, 0);
        ASSERT_TRUE(weak.expired());
    }
}

} // namespace

// ---- complete from here on -------------------------------------------------------------------------------------------------------

namespace {
struct Incomplete {
    int value = 1;
};
Incomplete* make_incomplete() {
    ++incomplete_alive;
    return new Incomplete;
}
void end_incomplete(Incomplete* object) {
    --incomplete_alive;
    delete object;
}
} // namespace
} // namespace memtrace
