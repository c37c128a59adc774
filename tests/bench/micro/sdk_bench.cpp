// What the SDK costs a program that nobody traces: handles against the standard's, and work with a probe in it and without.
// Repetitions take turns, so that a machine that changes its pace changes it for both of a pair:
//
//     .output/bench/micro --benchmark_filter=sdk_ --benchmark_repetitions=15 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "memtrace/memtrace.hpp"

namespace memtrace {
namespace {

struct Payload {
    std::uint64_t words[6] = {};
};

/// Both the standard's pointers and ours leave locked instructions out until a process has had a second thread. Databases have many.
void become_threaded() {
    static const bool once = (std::thread([] {}).join(), true);
    benchmark::DoNotOptimize(once);
}

template <class Pointer>
void copy_and_drop(benchmark::State& state, const Pointer& pointer) {
    become_threaded();
    for (auto _ : state) {
        Pointer copy(pointer);
        benchmark::DoNotOptimize(copy);
    }
}

template <class Pointer>
void move_and_back(benchmark::State& state, Pointer pointer) {
    become_threaded();
    for (auto _ : state) {
        Pointer other(std::move(pointer));
        benchmark::DoNotOptimize(other);
        pointer = std::move(other);
        benchmark::DoNotOptimize(pointer);
    }
}

template <class Weak>
void lock_and_drop(benchmark::State& state, const Weak& weak) {
    become_threaded();
    for (auto _ : state) {
        auto locked = weak.lock();
        benchmark::DoNotOptimize(locked);
    }
}

template <class Make>
void make_and_drop(benchmark::State& state, const Make& make) {
    become_threaded();
    for (auto _ : state) {
        auto made = make();
        benchmark::DoNotOptimize(made);
    }
}

std::shared_ptr<Payload> make_standard() {
    return std::make_shared<Payload>();
}
tracked_ptr<Payload> make_ours() {
    return make_tracked<Payload>();
}

/// Some steps of a hash: work that is not memory, as between a database's own probes. `steps` of 50 are about 50 ns.
inline std::uint64_t work(std::uint64_t value, int steps) {
    for (int i = 0; i < steps; ++i) {
        value = (value ^ (value >> 29)) * 0xBF58'476D'1CE4'E5B9;
    }
    return value;
}

template <bool kAnnotated>
void loop(benchmark::State& state) {
    const auto steps = static_cast<int>(state.range(0));
    std::uint64_t value = 1;
    for (auto _ : state) {
        value = work(value, steps);
        if constexpr (kAnnotated) {
            memtrace_resource_touch("cursor", value);
        }
        benchmark::DoNotOptimize(value);
    }
}

void sdk_loop_bare(benchmark::State& state) {
    loop<false>(state);
}
void sdk_loop_annotated(benchmark::State& state) {
    loop<true>(state);
}
BENCHMARK(sdk_loop_bare)->Arg(0)->Arg(50)->Arg(500);
BENCHMARK(sdk_loop_annotated)->Arg(0)->Arg(50)->Arg(500);

void sdk_copy_shared_ptr(benchmark::State& state) {
    copy_and_drop(state, make_standard());
}
void sdk_copy_tracked_ptr(benchmark::State& state) {
    copy_and_drop(state, make_ours());
}
BENCHMARK(sdk_copy_shared_ptr);
BENCHMARK(sdk_copy_tracked_ptr);

void sdk_move_shared_ptr(benchmark::State& state) {
    move_and_back(state, make_standard());
}
void sdk_move_tracked_ptr(benchmark::State& state) {
    move_and_back(state, make_ours());
}
BENCHMARK(sdk_move_shared_ptr);
BENCHMARK(sdk_move_tracked_ptr);

void sdk_lock_weak_ptr(benchmark::State& state) {
    const auto object = make_standard();
    lock_and_drop(state, std::weak_ptr<Payload>(object));
}
void sdk_lock_tracked_weak(benchmark::State& state) {
    const auto object = make_ours();
    lock_and_drop(state, tracked_weak<Payload>(object));
}
BENCHMARK(sdk_lock_weak_ptr);
BENCHMARK(sdk_lock_tracked_weak);

void sdk_make_shared(benchmark::State& state) {
    make_and_drop(state, make_standard);
}
void sdk_make_tracked(benchmark::State& state) {
    make_and_drop(state, make_ours);
}
BENCHMARK(sdk_make_shared);
BENCHMARK(sdk_make_tracked);

/// What being known to an announcer costs, of sdk_make_tracked.
void sdk_registry(benchmark::State& state) {
    become_threaded();
    detail::live_node node;
    for (auto _ : state) {
        detail::objects_alive.add(node);
        benchmark::DoNotOptimize(node);
        detail::live_registry::remove(node);
    }
}
BENCHMARK(sdk_registry);

} // namespace
} // namespace memtrace
