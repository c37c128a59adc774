// How many objects are heard of: up at once when records are lost or the budget is not kept, down with patience.
#include "app/contract_sampling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace memtrace {
namespace {

constexpr double kBudget = 0.05;
constexpr double kSecond = 1e9;

ContractLoad cost(double share) {
    return {1, kSecond, share * kSecond, 0};
}
ContractLoad loss(std::uint64_t lost) {
    return {1, kSecond, 0, lost};
}

/// Seconds until it changes under the same load; -1: not in `most`.
int seconds_until_change(ContractSampling& state, const ContractLoad& load, int most, double budget = kBudget) {
    for (int i = 1; i <= most; ++i) {
        const auto decision = sample_contract(state, budget, load);
        state = decision.state;
        if (decision.changed) {
            return i;
        }
    }
    return -1;
}

TEST(ContractSampling, NothingChangesWhereNothingIsLostAndTheBudgetIsKept) {
    ContractSampling state;
    EXPECT_EQ(seconds_until_change(state, cost(0.9 * kBudget), 10'000), -1);
    EXPECT_EQ(state.shift, 0U);
}

TEST(ContractSampling, ALossRaisesItAtOnceAndSaysSo) {
    const auto decision = sample_contract({}, kBudget, loss(17));
    EXPECT_TRUE(decision.changed);
    EXPECT_EQ(decision.state.shift, 1U);
    EXPECT_EQ(decision.reason, "17 records of what the program tells were lost: one object in 2");
}

TEST(ContractSampling, LossesRaiseItToTheEndAndNotBeyond) {
    ContractSampling state;
    for (int i = 0; i < 100; ++i) {
        state = sample_contract(state, 0, loss(1)).state;
    }
    EXPECT_EQ(state.shift, 10U);
}

TEST(ContractSampling, CostRaisesItAsFarAsThatHelps) {
    ContractSampling state;
    EXPECT_EQ(seconds_until_change(state, cost(0.2), 10), 1);
    for (int i = 0; i < 100; ++i) {
        state = sample_contract(state, kBudget, cost(0.2)).state;
    }
    EXPECT_EQ(state.shift, 6U);
}

TEST(ContractSampling, WithoutABudgetCostIsNoReason) {
    ContractSampling state;
    EXPECT_EQ(seconds_until_change(state, cost(1), 1000, 0), -1);
}

TEST(ContractSampling, AnIdleProgramMayBeHeardWhateverShareOfItThatIs) {
    ContractSampling state;
    EXPECT_EQ(seconds_until_change(state, {1, 0.002 * kSecond, 0.0015 * kSecond, 0}, 1000), -1);
    state.shift = 1;
    EXPECT_EQ(seconds_until_change(state, {1, 0.002 * kSecond, 0.0015 * kSecond, 0}, 1000), 10);
}

TEST(ContractSampling, CalmLowersItStepByStepAfterSomeTime) {
    ContractSampling state;
    state = sample_contract(state, kBudget, loss(1)).state;
    state = sample_contract(state, kBudget, loss(1)).state;
    ASSERT_EQ(state.shift, 2U);
    EXPECT_EQ(seconds_until_change(state, cost(0), 100), 10);
    EXPECT_EQ(state.shift, 1U);
    EXPECT_EQ(seconds_until_change(state, cost(0), 100), 10);
    EXPECT_EQ(state.shift, 0U);
    EXPECT_EQ(seconds_until_change(state, cost(0), 1000), -1);
}

TEST(ContractSampling, JustBelowTheBudgetIsNotCalm) {
    ContractSampling state;
    state = sample_contract(state, kBudget, cost(0.2)).state;
    EXPECT_EQ(seconds_until_change(state, cost(0.9 * kBudget), 1000), -1);
}

TEST(ContractSampling, AMistakeMakesItMorePatient) {
    ContractSampling state;
    state = sample_contract(state, kBudget, loss(1)).state;
    int waited = 0;
    for (const int expected : {10, 20, 40, 80, 160, 320, 600, 600}) {
        waited = seconds_until_change(state, cost(0), 10'000);
        EXPECT_EQ(waited, expected);
        state = sample_contract(state, kBudget, loss(1)).state; // and it was
        EXPECT_EQ(state.shift, 1U);
    }
}

TEST(ContractSampling, WhatWasRightMakesItLessPatientAgain) {
    ContractSampling state;
    state.shift = 3;
    state.patience_s = 80;
    EXPECT_EQ(seconds_until_change(state, cost(0), 1000), 80);
    EXPECT_EQ(seconds_until_change(state, cost(0), 1000), 80);
    for (int i = 0; i < 1000; ++i) {
        state = sample_contract(state, kBudget, cost(0)).state;
    }
    EXPECT_LT(state.patience_s, 80);
    EXPECT_GE(state.patience_s, 10);
}

ContractLoad memory(std::uint64_t kept_mib, std::uint64_t most_mib) {
    return {1, kSecond, 0, 0, kept_mib << 20, most_mib << 20};
}

TEST(ContractSampling, WhereMemoryIsShortFewerObjectsAreKept) {
    ContractSampling state;
    std::uint64_t kept_mib = 700;
    for (int i = 0; i < 20; ++i) {
        const auto decision = sample_contract(state, 0, memory(kept_mib, 128)); // also where nothing else is a reason to sample
        EXPECT_EQ(decision.changed, kept_mib > 128);
        if (decision.changed) {
            EXPECT_NE(decision.reason.find(std::to_string(kept_mib) + " MiB"), std::string::npos) << decision.reason;
            kept_mib /= 2;
        }
        state = decision.state;
    }
    EXPECT_EQ(state.shift, 3U);
}

TEST(ContractSampling, WhileMemoryIsShortNoMoreObjectsAreKeptThanNow) {
    ContractSampling state;
    state.shift = 3;
    EXPECT_EQ(seconds_until_change(state, memory(1, 128), 1000), -1);
    EXPECT_EQ(state.shift, 3U);
    EXPECT_EQ(seconds_until_change(state, memory(1, 0), 1000), 10) << "there is room again";
    EXPECT_EQ(state.shift, 2U);
}

TEST(ContractSampling, MemoryThatIsNotShortIsNoReason) {
    EXPECT_FALSE(sample_contract({}, kBudget, memory(700, 0)).changed);
    EXPECT_FALSE(sample_contract({}, kBudget, memory(100, 128)).changed) << "others take it";
}

TEST(ContractSampling, NonsenseIsNoEvidence) {
    ContractSampling state;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const auto& load :
         {ContractLoad{nan, 1, 1, 0}, ContractLoad{0, kSecond, kSecond, 5}, ContractLoad{-1, kSecond, kSecond, 5},
          ContractLoad{1, nan, nan, 0}, ContractLoad{1, 0, kSecond, 0}, ContractLoad{1, -1, -1, 0}}) {
        state = sample_contract(state, kBudget, load).state;
        EXPECT_EQ(state.shift, 0U);
        EXPECT_TRUE(std::isfinite(state.now_s) && std::isfinite(state.calm_s));
    }
}

} // namespace
} // namespace memtrace
