// Trends and verdicts of call sites: from histories to analyze/verdict, all sites of a process at once.
#include <algorithm>
#include <cmath>

#include "analyze/verdict.hpp"
#include "report/build_parts.hpp"

namespace memtrace {

namespace {

/// So many sites of a process are judged at most: the largest, and those that grew most since the report before. Of others, with that
/// many before them, nobody would read.
constexpr std::size_t kMostJudged = 500;
constexpr double kExplains = 0.5; ///< of a site's growth

struct Candidate {
    const Site* site = nullptr;
    ReportSite* built = nullptr;
    ResolvedTrend found;
};

std::vector<Candidate> choose(std::uint64_t ticks, const std::vector<const Site*>& sites, std::vector<ReportSite>& built) {
    std::vector<Candidate> chosen;
    for (std::size_t i = 0; i < sites.size(); ++i) {
        if (sites[i]->live_bytes_history.any(ticks, static_cast<float>(sites[i]->live_bytes()))) {
            chosen.push_back({sites[i], &built[i], {}});
        }
    }
    if (chosen.size() <= kMostJudged) {
        return chosen;
    }
    const auto half = static_cast<std::ptrdiff_t>(kMostJudged / 2);
    std::nth_element(chosen.begin(), chosen.begin() + half, chosen.end(),
                     [](const Candidate& a, const Candidate& b) { return a.built->live_bytes > b.built->live_bytes; });
    std::nth_element(chosen.begin() + half, chosen.begin() + 2 * half, chosen.end(),
                     [](const Candidate& a, const Candidate& b) { return a.built->grown_bytes > b.built->grown_bytes; });
    chosen.resize(kMostJudged);
    return chosen;
}

/// How many blocks of a site one record stands for.
double blocks_for_a_record(const Process& process, const Site& site) {
    if (process.largest_interval_bytes == 0 || site.sample.allocs == 0) {
        return 1;
    }
    const double size = static_cast<double>(site.sample.allocated_bytes) / static_cast<double>(site.sample.allocs);
    return 1 / -std::expm1(-std::max(size, 1.0) / static_cast<double>(process.largest_interval_bytes));
}

/// What is allocated anew in place of blocks from before the tracing, whose frees nobody can tell apart: a full cache when it is
/// attached to, sessions that come and go. Growth of the process speaks against it. Under sampling frees of blocks that were passed over
/// are unmatched too, so only the process's growth can tell.
bool may_replace(const Process& process, const ProcessSeries& series, const Site& site, const Trend& trend) {
    if (process.about.from_start || site.sample.allocs == 0) {
        return false;
    }
    const auto from = trend.begin + (series.seconds.size() - trend.begin) / 4 * 3; // what was there first goes first
    const double lasted = series.seconds.back() - series.seconds[from];
    const double size = static_cast<double>(site.sample.allocated_bytes) / static_cast<double>(site.sample.allocs);
    const double grown = trend.slope.per_s * lasted;
    const bool sampled = process.largest_interval_bytes != 0;
    const double unmatched = (series.unmatched_frees.back() - series.unmatched_frees[from]) * size;
    if (unmatched == 0 || (!sampled && unmatched < kExplains * grown)) {
        return false;
    }
    const auto rss = theil_sen(std::span(series.seconds).subspan(from), std::span(series.rss_bytes).subspan(from));
    return rss.per_s * lasted < kExplains * grown;
}

void judge(const Process& process, const ProcessHistories& histories, const AgeClasses& all_ages, double p,
           const Candidate& candidate) {
    const auto& site = *candidate.site;
    const auto& trend = candidate.found.trend;
    const auto& series = histories.at(candidate.found.level);
    auto& out = *candidate.built;
    SiteHistory history;
    history.points = series.seconds.size();
    history.lasted_s = series.seconds.back() - series.seconds[trend.begin];
    history.allocs = site.sample.allocs;
    history.frees = site.sample.frees;
    history.live_objects = site.live_objects();
    history.ages_known = site.survival.ages().born > 0;
    if (p < 1) { // else nothing is asked of them
        auto others = all_ages;
        others -= site.survival.ages();
        history.plateau = find_plateau(site.survival.ages(), others, blocks_for_a_record(process, site));
        history.may_replace = may_replace(process, series, site, trend);
    }
    auto judgement = judge_site(history, trend, p);
    double scale = 1;
    if (const auto& mode = process.mode; is_windowed(mode)) { // what a window saw stay may have gone since
        scale = mode.window_s > 0 ? mode.period_s / mode.window_s : 1;
        if (judgement.verdict == SiteVerdict::probable || judgement.verdict == SiteVerdict::definite) {
            judgement.verdict = SiteVerdict::suspect;
            judgement.evidence += "; seen in windows only, frees between them are not watched";
        }
    }
    out.growth_bytes_per_s = trend.slope.per_s * scale;
    out.growth_bytes_per_s_ci95[0] = trend.slope.low * scale;
    out.growth_bytes_per_s_ci95[1] = trend.slope.high * scale;
    out.p_value = p;
    out.shape = shape_name(trend.shape);
    out.verdict = site_verdict_name(judgement.verdict);
    out.confidence = judgement.confidence;
    out.evidence = judgement.evidence;
}

} // namespace

void judge_sites(const Process& process, const std::vector<const Site*>& sites, std::vector<ReportSite>& built) {
    const ProcessHistories histories(process);
    const bool brief = histories.whole().seconds.size() < kLeastPoints;
    for (std::size_t i = 0; i < sites.size(); ++i) {
        built[i].verdict = site_verdict_name(brief ? SiteVerdict::unknown : SiteVerdict::stable);
        built[i].evidence = brief ? "too short a history" : "no lasting growth";
    }
    auto chosen = choose(process.history.ticks, sites, built);
    std::vector<double> p;
    for (auto& candidate : chosen) {
        const auto& site = *candidate.site;
        const auto live = static_cast<float>(site.live_bytes());
        candidate.found =
            histories.trend([&](std::size_t level) { return site.live_bytes_history.read(level, process.history.ticks, live); });
        p.push_back(candidate.found.trend.p);
    }
    p = adjusted_p_values(p);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        judge(process, histories, process.ages, p[i], chosen[i]);
    }
}

} // namespace memtrace
