// What memtrace probes says of a call rate: from numbers to lines.
#include "app/call_rate.hpp"

#include <gtest/gtest.h>

#include <string>

namespace memtrace {
namespace {

/// 200 ms in which a target with a whole CPU made so many allocations and frees, which took what the costs say.
CallRate rate_of(double calls, double cpu_s = 0.2) {
    CallRate rate;
    rate.costs = {.enter_ns = 200, .return_ns = 500, .free_ns = 300, .return_declinable = true};
    auto& load = rate.load;
    load.seconds = load.open_seconds = 0.2;
    load.cpu_seconds = load.open_cpu_seconds = cpu_s;
    load.enters = load.kept = load.returns = load.frees = calls;
    load.kept_bytes = 100 * calls;
    load.added_ns = calls * 1000;
    rate.allocations = {{"calloc", static_cast<std::uint64_t>(calls / 4)}, {"malloc", static_cast<std::uint64_t>(calls * 3 / 4)}};
    return rate;
}

bool says(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(CallRateText, FewCallsAreTracedExactly) {
    const auto text = describe_call_rate(rate_of(1000), 0.05); // 1 ms of 200
    EXPECT_TRUE(says(text, "calls in 200 ms: 5,000/s allocations (malloc 3,750/s, calloc 1,250/s), 5,000/s frees")) << text;
    EXPECT_TRUE(says(text, "it used 100 % of a CPU")) << text;
    EXPECT_TRUE(says(text, "exact tracing would take 0.50 % of its CPU time")) << text;
    EXPECT_TRUE(says(text, "200 ns an allocation, 500 ns its return, 300 ns a free")) << text;
    EXPECT_TRUE(says(text, "--max-overhead 5% would choose exact: exact is within the budget")) << text;
    EXPECT_FALSE(says(text, "times as often")) << text;
}

TEST(CallRateText, SamplesWhereTheReturnsAreTooDear) {
    auto rate = rate_of(13'000); // 6.5 %; without returns 3.25 %
    const auto text = describe_call_rate(rate, 0.05);
    EXPECT_TRUE(says(text, "would choose sampling every ")) << text;
    EXPECT_TRUE(says(text, "exact is over the budget")) << text;
    EXPECT_TRUE(says(describe_call_rate(rate, 0.1), "--max-overhead 10% would choose exact")) << text;
}

TEST(CallRateText, OpensWindowsWhereCallsAreMany) {
    const auto text = describe_call_rate(rate_of(150'000), 0.05); // 75 %
    EXPECT_TRUE(says(text, "exact tracing would take 75 % of its CPU time")) << text;
    EXPECT_TRUE(says(text, "may call up to 4.0 times as often")) << text;
    EXPECT_TRUE(says(text, "would choose windows of ")) << text;
}

TEST(CallRateText, ChoosesWhatTheGovernorDoes) {
    for (const double calls : {10.0, 3'000.0, 12'000.0, 14'000.0, 30'000.0, 100'000.0, 190'000.0}) {
        const auto rate = rate_of(calls);
        GovernorSettings settings;
        settings.costs = rate.costs;
        const auto decision = govern(initial_governor_state(settings), settings, rate.load);
        const auto text = describe_call_rate(rate, settings.budget);
        EXPECT_TRUE(says(text, "would choose " + knobs_name(decision.state.knobs) + (decision.changed ? ", " : ":"))) << text;
    }
}

TEST(CallRateText, MoreThanThereWasTimeFor) {
    EXPECT_TRUE(says(describe_call_rate(rate_of(400'000), 0.05), "more than 10 times as often")); // an estimate of 200 %
}

TEST(CallRateText, NoCall) {
    for (const double cpu_s : {0.0, 0.2}) {
        const auto text = describe_call_rate(rate_of(0, cpu_s), 0.05);
        EXPECT_EQ(text, "  no call was seen in 200 ms: what tracing takes is not known; it would begin exact\n");
    }
}

TEST(CallRateText, TooLittleCpuTimeForAShare) {
    auto rate = rate_of(1, 1e-5);
    rate.allocations = {}; // what returned no block
    const auto text = describe_call_rate(rate, 0.05);
    EXPECT_TRUE(says(text, "calls in 200 ms: 5.00/s allocations, 5.00/s frees")) << text;
    EXPECT_TRUE(says(text, "would choose exact: its CPU time is too little to take a share of")) << text;
    EXPECT_FALSE(says(text, "would take")) << text;
}

} // namespace
} // namespace memtrace
