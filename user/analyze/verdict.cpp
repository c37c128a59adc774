#include "analyze/verdict.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace memtrace {

namespace {

constexpr double kSuspectP = 0.05;          ///< after the correction for the number of sites
constexpr double kProbableP = 0.01;         ///< likewise
constexpr double kDefiniteP = 0.001;        ///< likewise
constexpr double kProbableSeconds = 10;     ///< of observed growth
constexpr double kDefiniteSeconds = 300;    ///< likewise
constexpr double kProbableBytes = 32 << 10; ///< of growth, for `definite` too, or ...
constexpr double kPatientSeconds = 300;     ///< ... so long, and ...
constexpr double kPatientBytes = 8 << 10;   ///< ... so much: logs and rings of some hundred entries fill up before that
constexpr double kMostlySurvive = 0.6; ///< share of its allocations still live, where ages are not known: turnover explains less
constexpr double kSurvive = 0.9;       ///< likewise: nothing frees here
constexpr double kDefinitelyRetained = 0.97;  ///< share of the blocks that got old
constexpr std::uint64_t kProbableBlocks = 10; ///< live: fewer are start-up work, whatever their trend
constexpr std::uint64_t kDefiniteBlocks = 100;

std::string printed(const char* format, double value) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), format, value);
    return text.data();
}

std::string rate(double per_s) {
    constexpr std::array kUnits{"B", "KiB", "MiB", "GiB"};
    const char* time = "s";
    if (std::abs(per_s) < 1024) {
        per_s *= 60;
        time = "min";
    }
    std::size_t unit = 0;
    for (; std::abs(per_s) >= 1024 && unit + 1 < kUnits.size(); ++unit) {
        per_s /= 1024;
    }
    return printed(std::abs(per_s) < 10 ? "%.2g " : "%.0f ", per_s) + kUnits[unit] + "/" + time;
}

std::string duration(double seconds) {
    return seconds < 120    ? printed("%.0f s", seconds)
           : seconds < 7200 ? printed("%.0f min", seconds / 60)
                            : printed("%.1f h", seconds / 3600);
}

/// Rounded down: 99.97 % is not all.
std::string percent(double share) {
    return share > 0 && share < 0.01 ? printed("%.2g %%", share * 100) : printed("%.0f %%", std::floor(share * 100 + 1e-9));
}

double survivors(const SiteHistory& history) {
    return history.allocs <= history.frees
               ? 0
               : static_cast<double>(history.allocs - history.frees) / static_cast<double>(history.allocs);
}

std::string describe_growth(const SiteHistory& history, const Trend& trend, double p) {
    const auto how = history.counted == Counted::bytes ? rate(trend.slope.per_s) : printed("by %.3g a second", trend.slope.per_s);
    std::string text = "grew " + how + " for " + duration(history.lasted_s) + ", ";
    return text + (p < 0.001 ? "p < 0.001" : printed("p = %.1g", p));
}

std::string describe_survival(const SiteHistory& history) {
    const auto& plateau = history.plateau;
    if (!history.ages_known || !plateau.found) {
        return percent(survivors(history)) + " of its " + std::to_string(history.allocs) +
               (history.counted == Counted::bytes ? " allocations were never freed" : " acquisitions were never released");
    }
    std::string text = percent(plateau.retained) + " of its blocks";
    if (plateau.age_s > 0 && plateau.reaching < 0.99) {
        text += " older than " + duration(plateau.age_s);
    }
    text += " were never freed";
    if (plateau.others_retained >= 0) {
        text += "; others at this age: " + percent(plateau.others_retained);
    }
    if (plateau.reaching < 0.9) {
        text += "; " + percent(plateau.reaching) + " of its allocations get that old";
    }
    return text;
}

/// What growth that has ended, or will, is called. Verdict unknown: it is neither.
SiteJudgement judge_shape(Shape shape, bool grows) {
    switch (shape) {
    case Shape::saturating:
        return {SiteVerdict::cache_like, 0, grows ? "grows, but is levelling off" : "grew, and has levelled off"};
    case Shape::step:
        return {grows ? SiteVerdict::cache_like : SiteVerdict::stable, 0, "grew in a few steps"};
    case Shape::sawtooth:
        return {SiteVerdict::stable, 0, "grows and falls back, again and again"};
    case Shape::noise:
    case Shape::linear:
        break;
    }
    return {};
}

bool grew_much(const SiteHistory& history, const Trend& trend, double bytes) {
    return history.counted != Counted::bytes || trend.slope.per_s * history.lasted_s >= bytes;
}

/// Why growth is no more than suspect; empty where it is more.
std::string why_suspect(const SiteHistory& history, const Trend& trend, double p) {
    if (history.may_replace) {
        return "as many blocks from before the tracing were freed, and the process does not grow with it";
    }
    const char* little = "too little or too briefly to call it a leak";
    if (p >= kProbableP || history.lasted_s < kProbableSeconds || history.live_objects < kProbableBlocks) {
        return little;
    }
    if (history.ages_known && !history.plateau.found) {
        return history.plateau.retained >= kSurvive ? "too few of its blocks have been seen to grow old"
                                                    : "its blocks are freed, sooner or later";
    }
    if (!history.ages_known && survivors(history) < kMostlySurvive) {
        return history.counted == Counted::bytes ? "its blocks are freed, sooner or later" : "they are released, sooner or later";
    }
    return grew_much(history, trend, history.lasted_s >= kPatientSeconds ? kPatientBytes : kProbableBytes) ? "" : little;
}

bool is_definite(const SiteHistory& history, const Trend& trend, double p) {
    const bool stays = history.ages_known ? history.plateau.retained >= kDefinitelyRetained : survivors(history) >= kSurvive;
    return stays && p < kDefiniteP && history.lasted_s >= kDefiniteSeconds && history.live_objects >= kDefiniteBlocks &&
           grew_much(history, trend, kProbableBytes);
}

} // namespace

const char* site_verdict_name(SiteVerdict verdict) {
    constexpr std::array kNames{"unknown", "stable", "cache-like", "suspect", "probable", "definite"};
    return kNames[static_cast<std::size_t>(verdict)];
}

int verdict_rank(std::string_view name) {
    return name == "definite" ? 3 : name == "probable" ? 2 : name == "suspect" ? 1 : 0;
}

SiteJudgement judge_site(const SiteHistory& history, const Trend& trend, double p) {
    SiteJudgement judgement;
    if (history.points < kLeastPoints) {
        judgement.evidence = "too short a history";
        return judgement;
    }
    const bool grows = p < kSuspectP && trend.slope.low > 0;
    if (auto bounded = judge_shape(trend.shape, grows); bounded.verdict != SiteVerdict::unknown) {
        return bounded;
    }
    if (!grows) {
        judgement.verdict = SiteVerdict::stable;
        judgement.evidence = "no lasting growth";
        return judgement;
    }
    judgement.verdict = SiteVerdict::suspect;
    judgement.confidence = (1 - p) * (history.ages_known ? history.plateau.retained : survivors(history));
    judgement.evidence = describe_growth(history, trend, p) + "; ";
    if (const auto reason = why_suspect(history, trend, p); !reason.empty()) {
        judgement.evidence += reason;
        return judgement;
    }
    judgement.verdict = is_definite(history, trend, p) ? SiteVerdict::definite : SiteVerdict::probable;
    judgement.evidence += describe_survival(history);
    return judgement;
}

} // namespace memtrace
