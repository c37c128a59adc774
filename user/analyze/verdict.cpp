#include "analyze/verdict.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "analyze/growth.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMinPoints = 8;         ///< fewer say nothing
constexpr double kSuspectP = 1e-2;            ///< after the correction for the number of sites
constexpr double kProbableP = 1e-4;           ///< likewise
constexpr double kDefiniteP = 1e-6;           ///< likewise
constexpr double kStillGrowing = 0.5;         ///< the second half rises at least half as fast as the first: not saturating
constexpr double kStillRisingP = 0.05;        ///< of the second half alone; four points that all rise reach it
constexpr double kOneStep = 0.5;              ///< share of the second half's growth that a single tick may bring
constexpr double kProbableSeconds = 10;       ///< of observed growth
constexpr double kDefiniteSeconds = 60;       ///< likewise
constexpr double kMostlySurvive = 0.6;        ///< share of its allocations still live: below, turnover explains the trend as well
constexpr double kSurvive = 0.9;              ///< likewise: nothing frees here
constexpr std::uint64_t kProbableAllocs = 10; ///< fewer are start-up work, whatever their trend
constexpr std::uint64_t kDefiniteAllocs = 100;

/// True where one rise, between two ticks, makes up most of the whole: something was built once. Ranks, which the trend is judged
/// by, do not see that: with a little turnover on either side a step looks like a rise all along.
bool is_one_step(std::span<const double> values) {
    double largest = 0;
    for (std::size_t i = 1; i < values.size(); ++i) {
        largest = std::max(largest, values[i] - values[i - 1]);
    }
    return largest > kOneStep * (values.back() - values.front());
}

/// Why growth, which is certain, is not taken for lasting; empty where it is. The second half decides: what a program builds first
/// of all says nothing.
std::string why_not_lasting(const SiteHistory& history) {
    const std::size_t half = history.seconds.size() / 2;
    const auto recent = history.live.subspan(half);
    const double first = theil_sen_slope(history.seconds.first(half), history.live.first(half));
    const double second = theil_sen_slope(history.seconds.subspan(half), recent);
    if (second <= 0 || second < kStillGrowing * first || mann_kendall_rise(recent) >= kStillRisingP) {
        return "grew, but is levelling off";
    }
    return is_one_step(recent) ? "grew in one step" : "";
}

} // namespace

const char* site_verdict_name(SiteVerdict verdict) {
    switch (verdict) {
    case SiteVerdict::unknown:
        return "unknown";
    case SiteVerdict::stable:
        return "stable";
    case SiteVerdict::suspect:
        return "suspect";
    case SiteVerdict::probable:
        return "probable";
    case SiteVerdict::definite:
        return "definite";
    }
    return "unknown";
}

Trend judge_trend(const SiteHistory& history, std::size_t sites_tested) {
    Trend trend;
    if (history.seconds.size() >= 2) {
        trend.growth_per_s = theil_sen_slope(history.seconds, history.live);
    }
    if (history.seconds.size() < kMinPoints) {
        trend.reason = "too short a history";
        return trend;
    }
    trend.verdict = SiteVerdict::stable;
    trend.p = std::min(1.0, mann_kendall_rise(history.live) * static_cast<double>(std::max<std::size_t>(sites_tested, 1)));
    if (trend.p >= kSuspectP || trend.growth_per_s <= 0) {
        trend.reason = "no lasting growth";
        return trend;
    }
    trend.reason = why_not_lasting(history);
    if (!trend.reason.empty()) {
        return trend;
    }
    trend.survivors = history.allocs <= history.frees
                          ? 0
                          : static_cast<double>(history.allocs - history.frees) / static_cast<double>(history.allocs);
    trend.seconds = history.seconds.back() - history.seconds.front();
    trend.verdict = SiteVerdict::suspect;
    if (trend.p < kProbableP && trend.seconds >= kProbableSeconds && history.allocs >= kProbableAllocs &&
        trend.survivors >= kMostlySurvive) {
        trend.verdict = SiteVerdict::probable;
        if (trend.p < kDefiniteP && trend.seconds >= kDefiniteSeconds && trend.survivors >= kSurvive &&
            history.allocs >= kDefiniteAllocs) {
            trend.verdict = SiteVerdict::definite;
        }
    }
    trend.confidence = 1 - trend.p;
    return trend;
}

std::string describe_rise(const Trend& trend, std::uint64_t allocs, const char* what, const char* freed) {
    char text[160];
    std::snprintf(text, sizeof(text), " for %.0f s, p %s %.0e; %.0f %% of its %llu %s were never %s", trend.seconds,
                  trend.p < 1e-12 ? "<" : "=", std::max(trend.p, 1e-12), trend.survivors * 100,
                  static_cast<unsigned long long>(allocs), what, freed);
    return text;
}

SiteJudgement judge_site(const SiteHistory& history, std::size_t sites_tested) {
    auto trend = judge_trend(history, sites_tested);
    if (trend.reason.empty()) {
        char rate[64];
        std::snprintf(rate, sizeof(rate), "grew %.1f KiB/s", trend.growth_per_s / 1024);
        trend.reason = rate + describe_rise(trend, history.allocs, "allocations", "freed");
    }
    return {trend.verdict, trend.confidence, trend.growth_per_s, std::move(trend.reason)};
}

} // namespace memtrace
