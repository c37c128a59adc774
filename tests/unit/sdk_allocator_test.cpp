// Sampling within the process: unbiased, and every free of a sampled block told, no other; the allocators that use it.
#include "memtrace/allocator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tests/unit/probe_trap.hpp"

namespace memtrace {
namespace {

/// Sets the interval, and puts back what it was.
class Interval {
public:
    explicit Interval(std::uint64_t bytes) : before_(sample_interval()) { set_sample_interval(bytes); }
    ~Interval() { set_sample_interval(before_); }
    Interval(const Interval&) = delete;
    Interval& operator=(const Interval&) = delete;

private:
    std::uint64_t before_;
};

// ---- the arithmetic -----------------------------------------------------------------------------------------------------------

TEST(SdkSampler, LogarithmAndExponentialAreThoseOfTheLibrary) {
    for (double u = 0x1p-53; u <= 1; u *= 1.37) {
        EXPECT_NEAR(detail::minus_log(u), -std::log(u), 1e-12) << u;
    }
    EXPECT_EQ(detail::minus_log(1), 0);
    for (double x = 1e-12; x < 100; x *= 1.7) {
        EXPECT_NEAR(detail::one_minus_exp(x) / -std::expm1(-x), 1, 1e-12) << x;
    }
    EXPECT_EQ(detail::one_minus_exp(0), 0);
}

// ---- the statistics -----------------------------------------------------------------------------------------------------------

// Two-sided false-alarm rate of 6e-5 for each z-test; the seeds are fixed, so they pass or fail for good.
constexpr double kLargestZ = 4;
constexpr std::uint64_t kRate = 4096;

double probability(double size, double rate = kRate) {
    return -std::expm1(-size / rate);
}

TEST(SdkSampler, BytesAndBlocksAreEstimatedWithoutBias) {
    const Interval interval(kRate);
    std::mt19937_64 random(3);
    std::lognormal_distribution<double> mixed(6, 2);
    const std::array<std::function<std::uint64_t()>, 6> sizes = {
        [] { return 1U; },      [] { return 64U; },      [] { return 4096U; },
        [] { return 40'000U; }, [] { return 1U << 20; }, [&] { return 1 + static_cast<std::uint64_t>(mixed(random)); }};
    for (std::size_t kind = 0; kind < sizes.size(); ++kind) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            poisson_sampler sampler(seed * 7919);
            double bytes = 0;
            double estimate = 0;
            double variance = 0;
            double kept = 0;
            double expected = 0;
            double kept_variance = 0;
            for (int i = 0; i < 200'000; ++i) {
                const auto size = sizes[kind]();
                const auto weighted = sampler.take(size);
                const double p = probability(static_cast<double>(size));
                bytes += static_cast<double>(size);
                estimate += static_cast<double>(weighted);
                variance += static_cast<double>(size) * static_cast<double>(size) * (1 - p) / p;
                kept += weighted != 0;
                expected += p;
                kept_variance += p * (1 - p);
            }
            // Half a byte for each that is kept: weights are whole bytes.
            EXPECT_LT(std::abs(estimate - bytes), kLargestZ * std::sqrt(variance) + kept / 2)
                << "sizes " << kind << ", seed " << seed;
            EXPECT_LT(std::abs(kept - expected), kLargestZ * std::sqrt(kept_variance) + 1e-6)
                << "sizes " << kind << ", seed " << seed;
        }
    }
}

// A biased sampler would pass the test above if its intervals were too wide: so they must not cover more than they say, either.
TEST(SdkSampler, TheSpreadIsWhatThePoissonProcessSays) {
    const Interval interval(kRate);
    constexpr int kRuns = 3000;
    constexpr int kBlocks = 2000;
    constexpr std::uint64_t kSize = 600;
    const double p = probability(kSize);
    double sum = 0;
    double squares = 0;
    for (int run = 0; run < kRuns; ++run) {
        poisson_sampler sampler(static_cast<std::uint64_t>(run) * 104'729 + 1);
        int kept = 0;
        for (int i = 0; i < kBlocks; ++i) {
            kept += sampler.take(kSize) != 0;
        }
        const double z = (kept - kBlocks * p) / std::sqrt(kBlocks * p * (1 - p));
        sum += z;
        squares += z * z;
    }
    EXPECT_LT(std::abs(sum) / std::sqrt(kRuns), kLargestZ);
    EXPECT_LT(std::abs(squares - kRuns) / std::sqrt(2.0 * kRuns), kLargestZ);
}

// Small blocks between large ones must not inherit their chance, nor the other way about.
TEST(SdkSampler, EachSizeIsUnbiasedAmongOthers) {
    const Interval interval(kRate);
    std::mt19937_64 random(5);
    std::map<std::uint64_t, std::array<double, 3>> totals; // truth, estimate, variance
    poisson_sampler sampler(17);
    const std::array<std::uint64_t, 4> sizes = {24, 512, 9000, 100'000};
    for (int i = 0; i < 1'000'000; ++i) {
        const auto size = sizes[random() % 64 == 0 ? 2 + random() % 2 : random() % 2];
        const double p = probability(static_cast<double>(size));
        auto& [truth, estimate, variance] = totals[size];
        truth += static_cast<double>(size);
        estimate += static_cast<double>(sampler.take(size));
        variance += static_cast<double>(size) * static_cast<double>(size) * (1 - p) / p;
    }
    for (const auto& [size, total] : totals) {
        const auto& [truth, estimate, variance] = total;
        EXPECT_LT(std::abs(estimate - truth) / std::sqrt(variance), kLargestZ) << size;
    }
}

// The mark that is under way was drawn under the old rate: its sample is weighed by that.
TEST(SdkSampler, AnIntervalThatChangesLeavesNoBias) {
    constexpr int kRuns = 20'000;
    constexpr std::uint64_t kSize = 3000;
    double estimate = 0;
    double variance = 0;
    double bytes = 0;
    for (int run = 0; run < kRuns; ++run) {
        const Interval coarse(16 * kRate);
        poisson_sampler sampler(static_cast<std::uint64_t>(run) * 15'485'863 + 1);
        set_sample_interval(kRate);
        for (int i = 0; i < 20; ++i) {
            estimate += static_cast<double>(sampler.take(kSize));
            bytes += kSize;
            const double p = probability(kSize, 16 * kRate); // at the most
            variance += static_cast<double>(kSize) * kSize * (1 - p) / p;
        }
    }
    EXPECT_LT(std::abs(estimate - bytes) / std::sqrt(variance), kLargestZ);
}

TEST(SdkSampler, NothingAndEverything) {
    const Interval interval(1);
    poisson_sampler sampler(1);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(sampler.take(0), 0U);
        EXPECT_EQ(sampler.take(100), 100U);
    }
}

// ---- the set of sampled addresses -----------------------------------------------------------------------------------------------

const void* address(std::uintptr_t number) {
    return reinterpret_cast<const void*>(0x7f0000000000 + 16 * number);
}

TEST(SdkSampledSet, RemembersUntilRemoved) {
    const auto set = std::make_unique<sampled_set>();
    EXPECT_FALSE(set->remove(address(1)));
    EXPECT_FALSE(set->remove(nullptr));
    constexpr std::uintptr_t kMany = 60'000;
    for (std::uintptr_t i = 0; i < kMany; ++i) {
        ASSERT_TRUE(set->insert(address(2 * i))) << i;
    }
    EXPECT_EQ(set->size(), kMany);
    for (std::uintptr_t i = 0; i < kMany; ++i) {
        ASSERT_FALSE(set->remove(address(2 * i + 1))) << i;
        ASSERT_TRUE(set->remove(address(2 * i))) << i;
        ASSERT_FALSE(set->remove(address(2 * i))) << i;
    }
    EXPECT_FALSE(set->remove(nullptr));
    EXPECT_EQ(set->size(), 0U);
    EXPECT_EQ(set->refused(), 0U);
}

TEST(SdkSampledSet, RefusesWhatHasNoRoomAndSaysSo) {
    const auto set = std::make_unique<basic_sampled_set<4, 64>>();
    std::uintptr_t taken = 0;
    for (std::uintptr_t i = 0; i < 100; ++i) {
        taken += set->insert(address(i));
    }
    EXPECT_EQ(taken, 32U);
    EXPECT_EQ(set->refused(), 68U);
    std::uintptr_t removed = 0;
    for (std::uintptr_t i = 0; i < 100; ++i) {
        removed += set->remove(address(i));
    }
    EXPECT_EQ(removed, taken);
    EXPECT_EQ(set->size(), 0U);
    EXPECT_TRUE(set->insert(address(1000)));
}

TEST(SdkSampledSet, EachAddressIsRemovedByExactlyOne) {
    const auto set = std::make_unique<sampled_set>();
    constexpr std::uintptr_t kEach = 50'000;
    std::vector<std::thread> threads;
    std::array<std::size_t, 4> wrong{};
    for (std::size_t t = 0; t < wrong.size(); ++t) {
        threads.emplace_back([&, t] {
            for (std::uintptr_t i = 0; i < kEach; ++i) {
                const auto* const own = address(i * wrong.size() + t);
                wrong[t] += !set->insert(own);
                wrong[t] += i % 7 != 0 && !set->remove(own);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, (std::array<std::size_t, 4>{}));
    EXPECT_EQ(set->size(), wrong.size() * ((kEach + 6) / 7));
}

// ---- the allocators -------------------------------------------------------------------------------------------------------------

class SdkAllocatorProbes : public testing::Test {
protected:
    void SetUp() override {
        if (!probe_test::kProbeListenerWorks) {
            GTEST_SKIP() << "this architecture's breakpoints are not known here";
        }
    }
};

TEST_F(SdkAllocatorProbes, EverySampledBlockIsToldAndSoIsItsFree) {
    const Interval interval(1); // every block
    ProbeTrap trap("otel_memory");
    std::string first; // its address
    {                  // the thread's mark may still be one of another interval: used up by this
        std::vector<char, tracking_allocator<char>> large(64 << 20);
    }
    trap.take();
    {
        const std::vector<int, tracking_allocator<int>> numbers(25);
        first = std::to_string(reinterpret_cast<std::uintptr_t>(numbers.data()));
    }
    EXPECT_EQ(trap.take(), (std::vector<std::string>{"alloc " + first + " 100 100", "free " + first}));
}

TEST_F(SdkAllocatorProbes, FreesAreThoseOfSampledBlocks) {
    const Interval interval(2000);
    ProbeTrap trap("otel_memory");
    double bytes = 0;
    double variance = 0;
    double estimate = 0;
    std::map<std::uint64_t, std::uint64_t> live; // address -> size
    std::size_t frees = 0;
    std::mt19937_64 random(23);
    tracking_allocator<char> allocator;
    std::vector<std::pair<char*, std::size_t>> blocks;
    const auto look = [&] {
        for (auto line : trap.take()) {
            std::uint64_t values[3] = {};
            char name[16] = {};
            ASSERT_GE(std::sscanf(line.c_str(), "%15s %lu %lu %lu", name, &values[0], &values[1], &values[2]), 2);
            if (std::string(name) == "alloc") {
                EXPECT_TRUE(live.emplace(values[0], values[1]).second) << line;
                estimate += static_cast<double>(values[2]);
            } else {
                EXPECT_EQ(live.erase(values[0]), 1U) << line;
                ++frees;
            }
        }
    };
    for (int i = 0; i < 100'000; ++i) {
        if (blocks.size() > 100) {
            std::swap(blocks[random() % blocks.size()], blocks.back());
            allocator.deallocate(blocks.back().first, blocks.back().second);
            blocks.pop_back();
        }
        const std::size_t size = 1 + random() % 500;
        blocks.emplace_back(allocator.allocate(size), size);
        const double p = probability(static_cast<double>(size), 2000);
        bytes += static_cast<double>(size);
        variance += static_cast<double>(size) * static_cast<double>(size) * (1 - p) / p;
        if (i % 1000 == 0) {
            look();
        }
    }
    for (const auto& [block, size] : blocks) {
        allocator.deallocate(block, size);
    }
    look();
    EXPECT_GT(frees, 1000U);
    EXPECT_TRUE(live.empty());
    EXPECT_LT(std::abs(estimate - bytes) / std::sqrt(variance), 6); // the thread's own seed: a false alarm in 5e8 runs
}

TEST_F(SdkAllocatorProbes, APmrResourceTellsToo) {
    const Interval interval(1);
    ProbeTrap trap("otel_memory");
    {
        std::vector<char, tracking_allocator<char>> large(64 << 20);
    }
    trap.take();
    std::pmr::monotonic_buffer_resource arena;
    tracking_resource tracked(&arena);
    {
        const std::pmr::vector<int> numbers(10, &tracked);
    }
    const auto lines = trap.take();
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0].substr(lines[0].size() - 6), " 40 40");
    EXPECT_EQ(lines[1], "free " + lines[0].substr(6, lines[0].size() - 12));
}

TEST_F(SdkAllocatorProbes, ABlockSampledWhileTracedIsForgottenWhenItIsFreedLater) {
    const Interval interval(1);
    const auto before = detail::sampled_blocks.size();
    tracking_allocator<char> allocator;
    char* block = nullptr;
    {
        ProbeTrap trap("otel_memory");
        allocator.deallocate(allocator.allocate(64 << 20), 64 << 20);
        block = allocator.allocate(1000);
        EXPECT_EQ(detail::sampled_blocks.size(), before + 1);
    }
    allocator.deallocate(block, 1000);
    EXPECT_EQ(detail::sampled_blocks.size(), before);
}

TEST(SdkAllocator, NothingIsCountedWhileNobodyTraces) {
    const Interval interval(1);
    const auto before = detail::sampled_blocks.size();
    const std::vector<int, tracking_allocator<int>> numbers(1000);
    EXPECT_EQ(detail::sampled_blocks.size(), before);
}

TEST(SdkAllocator, ContainersWorkWithIt) {
    const RaisedSemaphore alloc("otel_memory", "alloc");
    const RaisedSemaphore free("otel_memory", "free");
    const Interval interval(64);
    const auto before = detail::sampled_blocks.size();
    {
        std::vector<std::string, tracking_allocator<std::string>> strings(100, "hello");
        std::list<int, tracking_allocator<int>> list(strings.size());
        std::map<int, int, std::less<>, tracking_allocator<std::pair<const int, int>>> map;
        std::unordered_map<int, int, std::hash<int>, std::equal_to<>, tracking_allocator<std::pair<const int, int>>> hashed;
        std::deque<int, tracking_allocator<int>> deque;
        std::basic_string<char, std::char_traits<char>, tracking_allocator<char>> text(1000, 'x');
        const auto shared = std::allocate_shared<int>(tracking_allocator<int>(), 7);
        for (int i = 0; i < 1000; ++i) {
            map[i] = hashed[i] = i;
            deque.push_back(i);
        }
        auto copy = map;
        auto moved = std::move(map);
        EXPECT_EQ(copy, moved);
        std::swap(copy, moved);
        EXPECT_EQ(hashed.size(), 1000U);
        EXPECT_EQ(deque.back(), 999);
        EXPECT_EQ(list.size(), 100U);
        EXPECT_EQ(text.size(), 1000U);
        EXPECT_EQ(*shared, 7);
        EXPECT_GT(detail::sampled_blocks.size(), before);
    }
    EXPECT_EQ(detail::sampled_blocks.size(), before);
}

TEST(SdkAllocator, StateIsThatOfTheBase) {
    std::pmr::monotonic_buffer_resource one;
    std::pmr::monotonic_buffer_resource two;
    using Tracking = tracking_allocator<int, std::pmr::polymorphic_allocator<int>>;
    const Tracking a{std::pmr::polymorphic_allocator<int>(&one)};
    const Tracking b{std::pmr::polymorphic_allocator<int>(&two)};
    const tracking_allocator<char, std::pmr::polymorphic_allocator<char>> c(a);
    EXPECT_TRUE(a == a);
    EXPECT_TRUE(a != b);
    EXPECT_TRUE(a == c);
    EXPECT_EQ(a.beneath().resource(), &one);
    static_assert(std::allocator_traits<tracking_allocator<int>>::is_always_equal::value);
    static_assert(!std::allocator_traits<Tracking>::is_always_equal::value);
    static_assert(sizeof(tracking_allocator<int>) == sizeof(std::allocator<int>));
    std::vector<int, Tracking> numbers(a);
    numbers.push_back(5);
    EXPECT_EQ(numbers.get_allocator(), a);
}

TEST(SdkAllocator, ResourcesAreEqualIfWhatTheyStandInFrontOfIs) {
    std::pmr::monotonic_buffer_resource arena;
    const tracking_resource one(&arena);
    const tracking_resource two(&arena);
    const tracking_resource other;
    EXPECT_TRUE(one == two);
    EXPECT_FALSE(one == other);
    EXPECT_EQ(other.upstream_resource(), std::pmr::get_default_resource());
}

} // namespace
} // namespace memtrace
