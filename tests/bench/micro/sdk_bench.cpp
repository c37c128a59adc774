// What the SDK costs a program that nobody traces: handles against the standard's, and work with a probe in it and without.
// Repetitions take turns, so that a machine that changes its pace changes it for both of a pair:
//
//     .output/bench/micro --benchmark_filter=sdk_ --benchmark_repetitions=25 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

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

/// Some steps of a hash, each waits for the one before: work that is not memory.
std::uint64_t work(std::uint64_t value, int steps) {
    for (int i = 0; i < steps; ++i) {
        value = (value ^ (value >> 29)) * 0xBF58'476D'1CE4'E5B9;
    }
    return value;
}

template <bool kAnnotated>
__attribute__((noinline, aligned(64))) std::uint64_t loop(std::uint64_t value, int rounds, int steps) {
    for (int i = 0; i < rounds; ++i) {
        value = work(value, steps);
        if constexpr (kAnnotated) {
            memtrace_resource_touch("cursor", value);
        }
        benchmark::DoNotOptimize(value);
    }
    return value;
}

template <bool kAnnotated>
double ns_of_loop(std::uint64_t& value, int rounds, int steps) {
    const auto start = std::chrono::steady_clock::now();
    value = loop<kAnnotated>(value, rounds, steps);
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// What one untraced probe adds to so many steps of work. Both loops in turn, each for some microseconds, so that one disturbance
/// hits few pairs and the medians do not see it.
void sdk_untraced_probe(benchmark::State& state) {
    constexpr int kStepsOfALoop = 20'000;
    const auto steps = static_cast<int>(state.range(0));
    const int rounds = kStepsOfALoop / (steps + 1);
    std::uint64_t value = 1;
    std::vector<double> bare;
    std::vector<double> ratios;
    for (auto _ : state) {
        const bool bare_first = ratios.size() % 2 == 0;
        auto without = bare_first ? ns_of_loop<false>(value, rounds, steps) : 0.0;
        const auto with = ns_of_loop<true>(value, rounds, steps);
        without = bare_first ? without : ns_of_loop<false>(value, rounds, steps);
        bare.push_back(without / rounds);
        ratios.push_back(with / without);
    }
    const auto added = median(ratios) - 1;
    state.counters["work_ns"] = median(bare);
    state.counters["added_ns"] = added * median(bare);
    state.counters["added_percent"] = 100 * added;
}
BENCHMARK(sdk_untraced_probe)->Arg(0)->Arg(10)->Arg(50)->Arg(500);

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
