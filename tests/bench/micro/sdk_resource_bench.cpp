// What the SDK's resources, pools and allocators cost a program: untraced, and with semaphores raised but no breakpoint behind them.
#include <benchmark/benchmark.h>

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "memtrace/allocator.hpp"
#include "memtrace/resource.hpp"

namespace memtrace {
namespace {

void resource_acquire_release(benchmark::State& state) {
    for (auto _ : state) {
        const resource_handle<int> handle(3, {"fd"});
        benchmark::DoNotOptimize(handle.id());
    }
}
BENCHMARK(resource_acquire_release)->ThreadRange(1, 2);

void resource_acquire_release_with_function(benchmark::State& state) {
    int freed = 0;
    for (auto _ : state) {
        const resource_handle<int> handle(3, {"fd"}, [&](int&) { ++freed; });
        benchmark::DoNotOptimize(handle.id());
    }
    benchmark::DoNotOptimize(freed);
}
BENCHMARK(resource_acquire_release_with_function);

void resource_touch(benchmark::State& state) {
    const resource_handle<int> handle(3, {"fd"});
    for (auto _ : state) {
        handle.touch();
    }
}
BENCHMARK(resource_touch);

void resource_pin_unpin(benchmark::State& state) {
    const resource_handle<int> handle(3, {"fd"});
    for (auto _ : state) {
        benchmark::DoNotOptimize(handle.pin().get());
    }
}
BENCHMARK(resource_pin_unpin);

void pool_take_and_give_back(benchmark::State& state) {
    resource_pool<int> pool({"buffer", "p", 4}, [] { return std::optional<int>(1); });
    for (auto _ : state) {
        benchmark::DoNotOptimize(pool.try_acquire().id());
    }
}
BENCHMARK(pool_take_and_give_back);

void emergency_poll(benchmark::State& state) {
    auto& manager = resource_manager::process();
    for (auto _ : state) {
        benchmark::DoNotOptimize(manager.poll_emergency().level);
    }
}
BENCHMARK(emergency_poll);

template <typename Allocator>
void allocate_pair(benchmark::State& state) {
    Allocator allocator;
    for (auto _ : state) {
        auto* const block = allocator.allocate(64);
        benchmark::DoNotOptimize(block);
        allocator.deallocate(block, 64);
    }
}

void allocator_std(benchmark::State& state) {
    allocate_pair<std::allocator<char>>(state);
}
BENCHMARK(allocator_std);

void allocator_tracking(benchmark::State& state) {
    allocate_pair<tracking_allocator<char>>(state);
}
BENCHMARK(allocator_tracking);

void allocator_tracking_counting(benchmark::State& state) {
    otel_memory_alloc_semaphore = 1;
    otel_memory_free_semaphore = 1;
    allocate_pair<tracking_allocator<char>>(state);
    otel_memory_alloc_semaphore = 0;
    otel_memory_free_semaphore = 0;
}
BENCHMARK(allocator_tracking_counting);

// A call through libmemtrace_alloc.so beside one of the allocator behind it, both by a pointer, as by the linker's table.
void pair(benchmark::State& state, void* (*allocate)(std::size_t), void (*release)(void*)) {
    for (auto _ : state) {
        auto* const block = allocate(64);
        benchmark::DoNotOptimize(block);
        release(block);
    }
}

void preload_libc(benchmark::State& state) {
    pair(state, std::malloc, std::free);
}
BENCHMARK(preload_libc);

void preload_before_libc(benchmark::State& state) {
    void* const library = dlopen(".output/libmemtrace_alloc.so", RTLD_NOW | RTLD_LOCAL); // never closed: it has blocks
    if (!library) {
        state.SkipWithError("make it, and run this at the top of the tree");
        return;
    }
    pair(state, reinterpret_cast<void* (*)(std::size_t)>(dlsym(library, "malloc")),
         reinterpret_cast<void (*)(void*)>(dlsym(library, "free")));
}
BENCHMARK(preload_before_libc);

} // namespace
} // namespace memtrace
