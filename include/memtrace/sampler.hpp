// Poisson sampling of allocations within the process, for tracking_allocator and libmemtrace_alloc.so.
//
// Imagine marks on the bytes that a thread allocates, one every R bytes on average, each anywhere: an allocation is sampled when a mark
// falls into it. So one of S bytes is sampled with probability p = 1 - exp(-S/R), and stands for S/p bytes. A thread counts down to
// the next mark; the distance is drawn anew after each, and because a mark does not know of those before it, counting may begin at any time:
// while nobody traces, nothing is counted.
//
// Addresses that were sampled are remembered in a set, so that their frees, and no others, fire. While it is empty, a free costs a load.
//
// Nothing here allocates, locks, throws, calls into a library or needs a constructor: usable in malloc, before main, after fork, in a
// signal handler, in a thread that ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

#include "memtrace/probes.h"

/// Mean bytes between two samples, unless set_sample_interval() says otherwise.
#ifndef MEMTRACE_SAMPLE_INTERVAL
#define MEMTRACE_SAMPLE_INTERVAL (512 * 1024)
#endif

namespace memtrace {
namespace detail {

/// -ln(u) for 0 < u <= 1, to 1e-12. Of our own because libm is another library.
inline double minus_log(double u) noexcept {
    constexpr double kLn2 = 0.693147180559945309417;
    constexpr double kSqrtHalf = 0.70710678118654752440;
    int halvings = 0;
    while (u < kSqrtHalf) { // 53 times at the most
        u *= 2;
        ++halvings;
    }
    const double z = (u - 1) / (u + 1); // ln u = 2 artanh z, |z| < 0.172
    const double z2 = z * z;
    double series = 0;
    for (int n = 17; n >= 1; n -= 2) {
        series = series * z2 + 1.0 / n;
    }
    return halvings * kLn2 - 2 * z * series;
}

/// 1 - exp(-x) for x >= 0, exact also where x is small.
inline double one_minus_exp(double x) noexcept {
    if (x > 40) {
        return 1;
    }
    int doublings = 0;
    while (x > 0.25) {
        x /= 2;
        ++doublings;
    }
    double sum = 0; // exp(-x) - 1 by its series
    for (int n = 12; n >= 1; --n) {
        sum = (sum + 1) * -x / n;
    }
    for (; doublings > 0; --doublings) {
        sum = sum * (sum + 2); // exp(2a) - 1 from exp(a) - 1
    }
    return -sum;
}

/// Bytes that a sampled allocation stands for: size / p.
inline std::uint64_t weight_of(std::size_t bytes, std::uint64_t interval) noexcept {
    const auto size = static_cast<double>(bytes);
    return static_cast<std::uint64_t>(size / one_minus_exp(size / static_cast<double>(interval)) + 0.5);
}

inline std::atomic<std::uint64_t> sample_interval_bytes{MEMTRACE_SAMPLE_INTERVAL};

} // namespace detail

/// Mean bytes between two samples, from each thread's next sample on; at least 1. Threads: any.
inline void set_sample_interval(std::uint64_t bytes) noexcept {
    detail::sample_interval_bytes.store(bytes ? bytes : 1, std::memory_order_relaxed);
}
inline std::uint64_t sample_interval() noexcept {
    return detail::sample_interval_bytes.load(std::memory_order_relaxed);
}

/// One thread's countdown. All zero: not begun, it seeds itself.
class poisson_sampler {
public:
    constexpr poisson_sampler() noexcept = default;
    /// A fixed sequence, for tests.
    explicit poisson_sampler(std::uint64_t seed) noexcept : random_(seed ? seed : 1) { draw(); }

    /// 0: not sampled. Else: the bytes that this allocation of `size` stands for.
    std::uint64_t take(std::size_t size) noexcept {
        const auto bytes = static_cast<std::int64_t>(size); // more than half of the address space fails anyway
        if (__builtin_expect(remaining_ >= bytes, 1)) {
            remaining_ -= bytes;
            return 0;
        }
        return take_slowly(bytes);
    }

private:
    __attribute__((noinline, cold)) std::uint64_t take_slowly(std::int64_t bytes) noexcept {
        if (random_ == 0) {
            seed();
            draw();
            if (remaining_ >= bytes) {
                remaining_ -= bytes;
                return 0;
            }
        }
        const auto interval = interval_; // that the mark was drawn under
        draw();
        return detail::weight_of(static_cast<std::size_t>(bytes), interval);
    }

    void seed() noexcept {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        random_ = (static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this)) << 20) ^
                  static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U ^ static_cast<std::uint64_t>(now.tv_nsec);
        random_ |= 1;
    }

    // splitmix64: any seed will do.
    std::uint64_t next_random() noexcept {
        std::uint64_t z = random_ += 0x9E3779B97F4A7C15U;
        random_ += random_ == 0; // 0 means: not begun
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }

    void draw() noexcept {
        interval_ = sample_interval();
        const double uniform = (static_cast<double>(next_random() >> 11) + 1) * 0x1p-53; // (0, 1]
        remaining_ = static_cast<std::int64_t>(detail::minus_log(uniform) * static_cast<double>(interval_));
    }

    std::int64_t remaining_ = 0; ///< bytes before the next mark
    std::uint64_t interval_ = 0;
    std::uint64_t random_ = 0;
};

/// Addresses of live blocks that were sampled, of any thread. Lock-free. All zero: empty; memory that is never touched takes none.
///
/// A bucket is a cache line; an address lies in one of the four that its hash names, so a look-up ends after 32 comparisons, and with a full
/// set of buckets insert() refuses (refused() counts: estimates are too low by those). In front of it a counter for each value of a
/// finer hash: 0, and that is nearly always, means that the address is not there.
template <std::size_t Buckets, std::size_t Counters>
class basic_sampled_set {
    static_assert((Buckets & (Buckets - 1)) == 0 && (Counters & (Counters - 1)) == 0, "powers of two");

public:
    constexpr basic_sampled_set() noexcept = default;

    /// False: there is no room.
    bool insert(const void* address) noexcept {
        const auto key = reinterpret_cast<std::uintptr_t>(address);
        const auto hash = hash_of(key);
        auto& counter = counters_[hash % Counters];
        if (counter.fetch_add(1, std::memory_order_relaxed) < kCounterMax) {
            size_.fetch_add(1, std::memory_order_relaxed);
            for (std::size_t i = 0; i < kProbes * kSlots; ++i) {
                std::uintptr_t empty = 0;
                if (slot(hash, i).load(std::memory_order_relaxed) == 0 &&
                    slot(hash, i).compare_exchange_strong(empty, key, std::memory_order_relaxed)) {
                    return true;
                }
            }
            size_.fetch_sub(1, std::memory_order_relaxed);
        }
        counter.fetch_sub(1, std::memory_order_relaxed);
        refused_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }

    /// True: it was there.
    bool remove(const void* address) noexcept {
        if (__builtin_expect(size_.load(std::memory_order_relaxed) == 0, 1)) {
            return false;
        }
        const auto key = reinterpret_cast<std::uintptr_t>(address);
        const auto hash = hash_of(key);
        if (__builtin_expect(counters_[hash % Counters].load(std::memory_order_relaxed) == 0, 1)) {
            return false;
        }
        return key != 0 && remove_slowly(key, hash);
    }

    bool empty() const noexcept { return size() == 0; }
    /// From now on it is never empty: for a user that has reasons of its own to look at what is freed.
    void never_empty() noexcept { size_.fetch_add(1, std::memory_order_relaxed); }
    std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
    std::uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t kSlots = 8;
    static constexpr std::size_t kProbes = 4;
    static constexpr std::uint16_t kCounterMax = 0xF000; ///< far from overflow, with threads to spare

    struct alignas(64) bucket {
        std::atomic<std::uintptr_t> slots[kSlots];
    };

    static std::uint64_t hash_of(std::uintptr_t key) noexcept {
        const std::uint64_t mixed = (static_cast<std::uint64_t>(key) >> 4) * 0x9E3779B97F4A7C15U;
        return mixed >> 24; // the low bits of a product are poor
    }
    std::atomic<std::uintptr_t>& slot(std::uint64_t hash, std::size_t i) noexcept {
        return buckets_[((hash >> 10) + i / kSlots) % Buckets].slots[i % kSlots];
    }

    __attribute__((noinline, cold)) bool remove_slowly(std::uintptr_t key, std::uint64_t hash) noexcept {
        for (std::size_t i = 0; i < kProbes * kSlots; ++i) {
            auto expected = key;
            if (slot(hash, i).load(std::memory_order_relaxed) == key &&
                slot(hash, i).compare_exchange_strong(expected, 0, std::memory_order_relaxed)) {
                counters_[hash % Counters].fetch_sub(1, std::memory_order_relaxed);
                size_.fetch_sub(1, std::memory_order_relaxed);
                return true;
            }
        }
        return false;
    }

    alignas(64) std::atomic<std::size_t> size_{0}; ///< read by every free; written by those that were sampled
    std::atomic<std::uint64_t> refused_{0};
    alignas(64) std::atomic<std::uint16_t> counters_[Counters]{};
    bucket buckets_[Buckets]{};
};

/// 131,072 blocks: at the default interval, 64 GiB that are alive.
using sampled_set = basic_sampled_set<std::size_t{1} << 14, std::size_t{1} << 16>;

namespace detail {
inline sampled_set sampled_blocks;
inline thread_local poisson_sampler thread_sampler;

__attribute__((noinline, cold)) inline void tell_sample(const void* pointer, std::size_t size, std::uint64_t weighted) noexcept {
    if (pointer && sampled_blocks.insert(pointer)) {
        memtrace_otel_alloc(pointer, size, weighted);
    }
}
} // namespace detail

/// After an allocation that did not fail: fires otel_memory:alloc if somebody traces and it is sampled.
inline void sample_alloc(const void* pointer, std::size_t size) noexcept {
    if (MEMTRACE_OTEL_ENABLED(alloc)) {
        if (const auto weighted = detail::thread_sampler.take(size)) {
            detail::tell_sample(pointer, size, weighted);
        }
    }
}

/// Before a block is freed: fires otel_memory:free if its allocation was sampled. Before, because afterwards the address may be another's.
/// True: it was.
inline bool sample_free(const void* pointer) noexcept {
    const bool sampled = detail::sampled_blocks.remove(pointer);
    if (__builtin_expect(sampled, 0)) {
        memtrace_otel_free(pointer);
    }
    return sampled;
}

} // namespace memtrace
