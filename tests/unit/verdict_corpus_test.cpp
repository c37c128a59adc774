// A part of the corpus that `make bench-verdicts` measures, with floors that are met by a margin. Seeds are neither those that thresholds
// were chosen on nor those of the figure.
#include <gtest/gtest.h>

#include "tests/corpus/outcome.hpp"

namespace memtrace::corpus {
namespace {

constexpr std::uint64_t kSeed = 50'000;
constexpr int kLongest = 1'200; ///< virtual seconds of a run

struct Sums {
    int leaks = 0, found = 0, wrong = 0, definite = 0, sites = 0;
};

/// Every third workload.
Sums run_some(const std::vector<Workload>& workloads, std::size_t from) {
    Sums sums;
    for (std::size_t i = from; i < workloads.size(); i += 3) {
        auto workload = workloads[i];
        workload.duration_s = std::min(workload.duration_s, kLongest);
        for (const auto& outcome : run(workload, kSeed + i)) {
            ++sums.sites;
            sums.leaks += outcome.leaks ? 1 : 0;
            sums.found += outcome.leaks && outcome.called ? 1 : 0;
            sums.wrong += !outcome.leaks && outcome.called ? 1 : 0;
            sums.definite += !outcome.leaks && outcome.called && outcome.verdict == "definite" ? 1 : 0;
        }
    }
    return sums;
}

TEST(VerdictCorpus, LeaksAreFoundAndTheirNeighboursAreNotBlamed) {
    const auto sums = run_some(leaking_workloads(), 0);
    EXPECT_EQ(sums.leaks, 13);
    EXPECT_GE(sums.found, 11);
    EXPECT_LE(sums.wrong, 1) << "of " << sums.sites;
    EXPECT_EQ(sums.definite, 0);
}

TEST(VerdictCorpus, HealthyProcessesAreLeftAlone) {
    const auto sums = run_some(healthy_workloads(), 1);
    EXPECT_EQ(sums.leaks, 0);
    EXPECT_LE(sums.wrong, 1) << "of " << sums.sites;
    EXPECT_EQ(sums.definite, 0);
}

TEST(VerdictCorpus, WindowsAreNoCertainty) {
    for (const auto& workload : windowed_workloads()) {
        for (const auto& outcome : run(workload, kSeed)) {
            EXPECT_FALSE(outcome.called) << workload.name << ": " << outcome.evidence;
        }
    }
}

TEST(VerdictCorpus, CountsSixtyWorkloadsAndMore) {
    EXPECT_GE(leaking_workloads().size() + healthy_workloads().size() + windowed_workloads().size(), 60U);
}

} // namespace
} // namespace memtrace::corpus
