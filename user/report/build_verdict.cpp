// The verdict on a process, and how long its memory lasts.
#include <algorithm>
#include <cstdio>

#include "analyze/forecast.hpp"
#include "analyze/process_verdict.hpp"
#include "report/build_parts.hpp"
#include "report/format.hpp"
#include "report/top_sites.hpp"

namespace memtrace {

namespace {

/// What the sites of a report come to.
struct SitesSum {
    const ReportSite* worst = nullptr; ///< of those that leak
    std::size_t leaking = 0;
    std::size_t suspect = 0;
    bool judged = false;
    Slope leak; ///< of all that leak
};

SitesSum sum_up(const std::vector<ReportSite>& sites) {
    SitesSum sum;
    for (const auto& site : sites) {
        sum.judged = sum.judged || site.verdict != "unknown";
        sum.suspect += site.verdict == "suspect" ? 1 : 0;
        if (is_leak(site)) {
            ++sum.leaking;
            sum.leak.per_s += site.growth_bytes_per_s;
            sum.leak.low += site.growth_bytes_per_s_ci95[0];
            sum.leak.high += site.growth_bytes_per_s_ci95[1];
            if (sum.worst == nullptr || site.growth_bytes_per_s > sum.worst->growth_bytes_per_s) {
                sum.worst = &site;
            }
        }
    }
    return sum;
}

void blame(const SitesSum& sites, ReportVerdict& verdict) {
    const auto& worst = *sites.worst;
    verdict.class_name = "leak";
    const auto& name = worst.stack.empty() || worst.stack.front().function.empty() ? worst.id : worst.stack.front().function;
    char text[96];
    std::snprintf(text, sizeof(text), "%zu call site%s leak%s %.1f KiB/s in all, most of it ", sites.leaking,
                  sites.leaking == 1 ? "" : "s", sites.leaking == 1 ? "s" : "", sites.leak.per_s / 1024);
    verdict.text = text + ("from " + name);
    verdict.evidence["site"] = worst.id;
    verdict.evidence["reason"] = worst.evidence;
}

constexpr double kMost = 0.5; ///< of the process's growth: sites that leak less do not explain it

/// The process grows, and no site that leaks explains it: what it grows by. A leak stays one. Cache growth is what a site that is like a cache accounts for.
void explain_growth(const ProcessJudgement& process, const Report& report, ReportVerdict& verdict) {
    const auto called = verdict.class_name;
    std::string what;
    switch (process.growth) {
    case ProcessGrowth::none:
        return;
    case ProcessGrowth::heap: {
        const bool cache = std::any_of(report.sites.begin(), report.sites.end(), [&](const ReportSite& site) {
            return site.verdict == "cache-like" && static_cast<double>(site.live_bytes) >= process.of_it_bytes / 2;
        });
        verdict.class_name = cache ? "cache growth" : "unknown";
        what = cache ? "by blocks of sites that behave like caches" : "by live blocks of the heap";
        break;
    }
    case ProcessGrowth::fragmentation:
        verdict.class_name = "fragmentation";
        what = "that hold no live block: far more was freed in the meantime, and the allocator kept it";
        break;
    case ProcessGrowth::mapped_files:
        verdict.class_name = "mapped files";
        what = "by pages of mapped files, which the kernel can take back";
        break;
    case ProcessGrowth::stacks:
        verdict.class_name = "stacks";
        what = "by stacks of threads";
        break;
    case ProcessGrowth::unexplained:
        verdict.class_name = "unknown";
        what = "by anonymous memory that the heap does not account for";
        break;
    }
    if (called == "leak") {
        verdict.class_name = called;
    }
    const auto grown = human_bytes(static_cast<std::uint64_t>(std::max(process.grown_bytes, 0.0)));
    const auto of_it = human_bytes(static_cast<std::uint64_t>(std::max(process.of_it_bytes, 0.0)));
    const auto sentence = "resident memory grew by " + grown + ", " + of_it + " of it " + what;
    verdict.text = verdict.text.empty() ? sentence : verdict.text + "; " + sentence;
    verdict.evidence["growth"] = sentence;
}

/// `rss`: its slope, where the process grows.
void judge_growth(const Process& process, const SitesSum& sites, const ProcessJudgement& growth, const Slope& rss,
                  Report& report) {
    auto& verdict = report.verdict;
    const bool windowed = is_windowed(process.mode);
    if (sites.worst != nullptr) {
        blame(sites, verdict);
        if (sites.leak.per_s < kMost * rss.per_s) { // a small leak does not hide what else there is
            explain_growth(growth, report, verdict);
        }
        return;
    }
    if (sites.suspect != 0) { // neither a leak nor a clean bill
        verdict.text = std::to_string(sites.suspect) + (sites.suspect == 1 ? " call site grows" : " call sites grow") +
                       ", too briefly or too little to call it a leak";
    } else if (windowed) {
        verdict.text = "no call site was seen to grow, but allocations are watched for a small share of the time only";
    } else if (sites.judged && growth.growth == ProcessGrowth::none) {
        verdict.class_name = "healthy";
        verdict.text = "no call site keeps growing";
    } else if (report.coverage.mode == "pages") {
        verdict.text = "no allocator was found to watch: see what touches and maps memory";
    } else if (!sites.judged) {
        verdict.text = "followed too briefly to say";
    }
    const bool heap_unknown = windowed || report.coverage.mode == "pages";
    const bool of_heap = growth.growth == ProcessGrowth::heap || growth.growth == ProcessGrowth::fragmentation ||
                         growth.growth == ProcessGrowth::unexplained;
    if (!(heap_unknown && of_heap)) {
        explain_growth(growth, report, verdict);
    }
}

void build_forecast(const Process& process, const SitesSum& sites, const ProcessJudgement& growth, const Slope& rss,
                    Report& report) {
    const auto& memory = process.memory;
    if (memory.limit_bytes == 0) {
        return;
    }
    auto& out = report.forecast;
    out.limit = memory.cgroup_limit ? "cgroup" : "machine";
    out.limit_bytes = memory.limit_bytes;
    out.used_bytes = memory.limit_used_bytes;
    const bool grows = growth.growth != ProcessGrowth::none && growth.growth != ProcessGrowth::mapped_files;
    const Slope slope = grows ? rss : sites.leak;
    if (slope.per_s <= 0) {
        return;
    }
    const auto left = forecast(memory.limit_bytes, memory.limit_used_bytes, slope);
    out.growth_bytes_per_s = slope.per_s;
    out.seconds = left.seconds;
    out.seconds_ci95[0] = left.low;
    out.seconds_ci95[1] = left.high;
}

} // namespace

void build_verdict(const Process& process, Report& report) {
    const ProcessHistories histories(process);
    const auto rss = histories.trend([&](std::size_t level) { return histories.at(level).rss_bytes; });
    const auto& series = histories.at(rss.level);
    const auto sites = sum_up(report.sites);
    const auto growth = judge_process({series.seconds, series.live_bytes, series.rss_bytes, series.anon_bytes, series.file_bytes,
                                       series.stack_bytes, static_cast<double>(report.totals.freed_bytes)},
                                      rss.trend);
    judge_growth(process, sites, growth, rss.trend.slope, report);
    build_forecast(process, sites, growth, rss.trend.slope, report);
    if (!report.coverage.lost.empty()) {
        report.verdict.evidence["loss"] = "some allocations were not followed: see coverage.lost";
    }
}

} // namespace memtrace
