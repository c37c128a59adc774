// Hard cases of the SDK's resources, by name: no memory to be had, and fork while other threads are at work. Prints "ok"; or what went wrong,
// and status 1. A child that hangs is ended by its alarm, long after it should have been done.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "memtrace/resource.hpp"

using namespace memtrace;

namespace {

std::atomic<long> memory_left{-1}; ///< allocations that succeed yet; negative: all

[[noreturn]] void broken(const char* file, int line, const char* what) {
    std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    _exit(1);
}
#define CHECK(...) ((__VA_ARGS__) ? (void)0 : broken(__FILE__, __LINE__, #__VA_ARGS__))

} // namespace

// Not inlined: gcc takes the pair for a mismatch otherwise.
__attribute__((noinline)) void* operator new(std::size_t size) {
    if (memory_left.load() >= 0 && memory_left.fetch_sub(1) <= 0) {
        memory_left.store(0);
        throw std::bad_alloc();
    }
    if (void* const memory = std::malloc(size)) {
        return memory;
    }
    throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
    std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace {

struct Starved {
    Starved() { memory_left.store(0); }
    ~Starved() { memory_left.store(-1); }
};

constexpr emergency_policy kNoMatterHowIdle{{resource_priority::low, std::chrono::seconds(0)},
                                            {resource_priority::normal, std::chrono::seconds(0)},
                                            {resource_priority::high, std::chrono::seconds(0)}};

// ---- no memory ----------------------------------------------------------------------------------------------------------------

void collect_without_memory() {
    constexpr int kMany = 1000;
    resource_manager manager;
    std::vector<int> freed;
    freed.reserve(kMany);
    std::vector<resource_handle<int>> handles;
    for (int i = 0; i < kMany; ++i) {
        handles.emplace_back(
            i, resource_info("thing"), cleanup_strategy::deferred, [&](int& value) { freed.push_back(value); }, manager);
    }
    for (int i = 0; i < kMany; ++i) { // in no order: 7 and 1000 have no divisor in common
        handles[static_cast<std::size_t>(i * 7 % kMany)].reset();
    }
    const Starved starved;
    CHECK(manager.collect() == kMany);
    CHECK(manager.live() == 0);
    for (int i = 0; i < kMany; ++i) {
        CHECK(freed[static_cast<std::size_t>(i)] == kMany - 1 - i); // the youngest first
    }
    CHECK(manager.collect() == 0);
}

void emergency_without_memory() {
    resource_manager manager(kNoMatterHowIdle);
    int freed = 0;
    resource_handle<int> deferred(1, {"thing", "", 10}, cleanup_strategy::deferred, [&](int&) { ++freed; }, manager);
    resource_handle<int> evictable(2, {"thing", "", 20}, [&](int&) { ++freed; }, manager);
    evictable.evictable();
    deferred.reset();
    {
        const Starved starved;
        const auto result = manager.relieve(3);
        CHECK(result.released == 1 && result.freed_bytes == 10); // what takes no memory to find
    }
    CHECK(freed == 1 && evictable);
    CHECK(manager.relieve(3).released == 1);
    CHECK(freed == 2);
}

int destroyed;
struct Counted {
    int* cleaned;
    bool here = true;
    explicit Counted(int* cleaned_) : cleaned(cleaned_) {}
    Counted(Counted&& other) noexcept : cleaned(other.cleaned), here(std::exchange(other.here, false)) {}
    Counted& operator=(Counted&&) = delete;
    ~Counted() { destroyed += here ? 1 : 0; }
};

void handle_without_memory() {
    resource_manager manager;
    struct Expected {
        cleanup_strategy strategy;
        int cleaned;
        int destroyed;
    };
    for (const auto& expected : {Expected{cleanup_strategy::drop, 0, 1}, Expected{cleanup_strategy::function, 1, 1},
                                 Expected{cleanup_strategy::deferred, 1, 1}, Expected{cleanup_strategy::none, 0, 0}}) {
        int cleaned = 0;
        destroyed = 0;
        bool refused = false;
        resource_handle<Counted>::cleanup_function cleanup;
        if (expected.strategy != cleanup_strategy::drop) {
            cleanup = [](Counted& value) { ++*value.cleaned; };
        }
        {
            Counted value(&cleaned);
            const Starved starved;
            try {
                const resource_handle<Counted> handle(std::move(value), {"thing"}, expected.strategy, cleanup, manager);
            } catch (const std::bad_alloc&) {
                refused = true;
            }
        }
        CHECK(refused && manager.live() == 0);
        CHECK(cleaned == expected.cleaned);
        CHECK(destroyed == expected.destroyed);
    }
}

void pool_without_memory() {
    int open = 0;
    resource_pool<int> pool({"connection", "storage", 1}, [&] { return std::optional(++open); }, {}, [&](int&) { --open; });
    CHECK(pool.try_acquire());
    CHECK(open == 1);
    CHECK(pool.evict_idle() == 0);
    auto lease = pool.try_acquire();
    lease.discard();
    CHECK(open == 0);
    {
        const Starved starved;
        try {
            CHECK(!pool.try_acquire());
            CHECK(false);
        } catch (const std::bad_alloc&) {
        }
    }
    CHECK(open == 0); // what was made and found no room was closed
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.try_acquire());
}

// ---- fork ---------------------------------------------------------------------------------------------------------------------

constexpr unsigned kChildAlarm = 120; // seconds

/// Runs `in_child` in a child, which must end it well.
template <typename Function>
void fork_and(Function in_child) {
    const auto child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(kChildAlarm);
        in_child();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) {
        broken(__FILE__, __LINE__, WIFSIGNALED(status) ? "the child was killed: it hung" : "the child failed");
    }
}

/// What all threads of `work` use at once, while the first one forks.
void fork_in_the_middle() {
    resource_manager manager(kNoMatterHowIdle);
    resource_pool<int> pool({"connection", "storage", 2}, [] { return std::optional(1); }, {}, {}, manager);
    resource_handle<int> shared(1, {"shared"}, [](int&) {}, manager);
    shared.evictable([](int&) -> std::uint64_t { return 1; });
    std::atomic<bool> over{false};
    const auto until_over = [&](auto work) {
        return std::thread([&over, work] {
            while (!over.load(std::memory_order_relaxed)) {
                work();
            }
        });
    };
    std::vector<std::thread> threads;
    threads.push_back(until_over([&] {
        resource_handle<int>(1, {"brief"}, cleanup_strategy::deferred, {}, manager).reset();
        manager.collect(); // at once: it would grow without end
    }));
    threads.push_back(until_over([&] { manager.relieve(3); }));
    threads.push_back(until_over([&] { (void)pool.acquire(std::chrono::milliseconds(1)); }));
    threads.push_back(until_over([&] { (void)pool.acquire(std::chrono::milliseconds(1)); }));
    threads.push_back(until_over([&] { (void)pool.acquire(std::chrono::milliseconds(1)); }));
    threads.push_back(until_over([&] { (void)shared.pin(); }));
    threads.push_back(until_over([&] { const resource_manager brief; }));
    for (int i = 0; i < 200; ++i) {
        fork_and([&] {
            int cleaned = 0;
            (void)shared.pin();
            (void)manager.live();
            {
                const resource_handle<int> own(1, {"own"}, [&](int&) { ++cleaned; }, manager);
            }
            CHECK(cleaned == 1);
            pool.set_limit(8); // leases of threads that are not here do not come back
            CHECK(pool.acquire(std::chrono::hours(1)));
            manager.relieve(3);
            manager.collect();
            const resource_manager another;
            manager.shutdown();
            CHECK(!shared);
        });
    }
    over.store(true);
    for (auto& thread : threads) {
        thread.join();
    }
}

/// What the process has one of is made by its first user: while that is at it, another thread forks.
void fork_at_first_use() {
    const auto use = [] {
        resource_manager manager;
        resource_handle<int> value(1, {"value"}, [](int&) {}, manager);
        value.evictable();
        CHECK(manager.relieve(3).released == 1);
    };
    for (int i = 0; i < 500; ++i) {
        fork_and([&] { // nothing has been used in here
            std::atomic<bool> begins{false};
            std::thread other([&] {
                begins.store(true);
                use();
            });
            while (!begins.load()) {
            }
            fork_and(use);
            other.join();
        });
    }
}

/// What was acquired before a fork is cleaned up once in the parent, and once in a child that gives it back.
void fork_and_clean_up_once() {
    resource_manager manager;
    int cleaned = 0;
    const auto count = [&](int&) { ++cleaned; };
    std::vector<resource_handle<int>> held;
    held.emplace_back(1, resource_info("held"), count, manager);
    held.emplace_back(2, resource_info("held"), cleanup_strategy::deferred, count, manager);
    held.emplace_back(3, resource_info("queued"), cleanup_strategy::deferred, count, manager);
    held.back().reset();
    fork_and([&] {
        CHECK(manager.shutdown() == 3 && cleaned == 3);
        held.clear();
        manager.collect();
        CHECK(manager.shutdown() == 0 && cleaned == 3);
    });
    CHECK(cleaned == 0);
    held.clear();
    CHECK(cleaned == 1 && manager.collect() == 2 && cleaned == 3);
}

struct Case {
    const char* name;
    void (*run)();
};
constexpr Case kCases[] = {
    {"collect_without_memory", collect_without_memory}, {"emergency_without_memory", emergency_without_memory},
    {"handle_without_memory", handle_without_memory},   {"pool_without_memory", pool_without_memory},
    {"fork_in_the_middle", fork_in_the_middle},         {"fork_at_first_use", fork_at_first_use},
    {"fork_and_clean_up_once", fork_and_clean_up_once}};

} // namespace

int main(int argc, char** argv) {
    for (const auto& one : kCases) {
        if (argc > 1 && std::strcmp(argv[1], one.name) == 0) {
            one.run();
            std::puts("ok");
            return 0;
        }
    }
    for (const auto& one : kCases) { // all that there are, for who runs them
        std::puts(one.name);
    }
    return 2;
}
