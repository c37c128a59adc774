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
    const auto recent = history.live_bytes.subspan(half);
    const double first = theil_sen_slope(history.seconds.first(half), history.live_bytes.first(half));
    const double second = theil_sen_slope(history.seconds.subspan(half), recent);
    if (second <= 0 || second < kStillGrowing * first || mann_kendall_rise(recent) >= kStillRisingP) {
        return "grew, but is levelling off";
    }
    return is_one_step(recent) ? "grew in one step" : "";
}

std::string describe(const SiteHistory& history, double slope, double p, double survivors) {
    char text[160];
    std::snprintf(text, sizeof(text), "grew %.1f KiB/s for %.0f s, p %s %.0e; %.0f %% of its %llu allocations were never freed",
                  slope / 1024, history.seconds.back() - history.seconds.front(), p < 1e-12 ? "<" : "=", std::max(p, 1e-12),
                  survivors * 100, static_cast<unsigned long long>(history.allocs));
    return text;
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

SiteJudgement judge_site(const SiteHistory& history, std::size_t sites_tested) {
    SiteJudgement judgement;
    if (history.seconds.size() >= 2) {
        judgement.growth_bytes_per_s = theil_sen_slope(history.seconds, history.live_bytes);
    }
    if (history.seconds.size() < kMinPoints) {
        judgement.evidence = "too short a history";
        return judgement;
    }
    judgement.verdict = SiteVerdict::stable;
    const double p =
        std::min(1.0, mann_kendall_rise(history.live_bytes) * static_cast<double>(std::max<std::size_t>(sites_tested, 1)));
    if (p >= kSuspectP || judgement.growth_bytes_per_s <= 0) {
        judgement.evidence = "no lasting growth";
        return judgement;
    }
    if (auto reason = why_not_lasting(history); !reason.empty()) {
        judgement.evidence = std::move(reason);
        return judgement;
    }
    const double survivors = history.allocs <= history.frees
                                 ? 0
                                 : static_cast<double>(history.allocs - history.frees) / static_cast<double>(history.allocs);
    const double lasted = history.seconds.back() - history.seconds.front();
    judgement.verdict = SiteVerdict::suspect;
    if (p < kProbableP && lasted >= kProbableSeconds && history.allocs >= kProbableAllocs && survivors >= kMostlySurvive) {
        judgement.verdict = SiteVerdict::probable;
        if (p < kDefiniteP && lasted >= kDefiniteSeconds && survivors >= kSurvive && history.allocs >= kDefiniteAllocs) {
            judgement.verdict = SiteVerdict::definite;
        }
    }
    judgement.confidence = 1 - p;
    judgement.evidence = describe(history, judgement.growth_bytes_per_s, p, survivors);
    return judgement;
}

} // namespace memtrace
