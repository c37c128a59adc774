#include "report/build.hpp"

#include <algorithm>
#include <cstdio>

#include "analyze/estimate.hpp"
#include "analyze/verdict.hpp"
#include "base/clock.hpp"
#include "report/build_parts.hpp"

namespace memtrace {

double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns) {
    return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) / static_cast<double>(kNanosPerSecond) : 0;
}

namespace {

/// FNV-1a (Fowler, Noll, Vo), 64 bits: stable between runs and machines, unlike std::hash.
class StableHash {
public:
    void add(std::string_view bytes) {
        for (const char byte : bytes) {
            step(static_cast<unsigned char>(byte));
        }
        step(0);
    }
    void add(std::uint64_t value) {
        for (int shift = 0; shift < 64; shift += 8) {
            step(static_cast<unsigned char>(value >> shift));
        }
    }
    [[nodiscard]] std::string hex() const {
        char text[17];
        std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(state_));
        return text;
    }

private:
    void step(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3ull; }
    std::uint64_t state_ = 0xcbf29ce484222325ull;
};

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

const char* state_name(const Process& process) {
    if (!process.ended) {
        return "running";
    }
    switch (*process.ended) {
    case EndReason::exited:
        return "exited";
    case EndReason::exec:
        return "exec";
    case EndReason::detached:
        return "detached";
    }
    return "running";
}

void add_frame(const Model& model, const Frame& frame, std::vector<ReportFrame>& out) {
    ReportFrame named;
    named.offset = frame.offset;
    if (const auto* module = model.module(frame.module)) {
        named.module = module->about.path;
        named.build_id = module->about.build_id;
    }
    const auto* lines = model.symbol(frame);
    if (lines == nullptr) {
        out.push_back(named);
        return;
    }
    for (const auto& line : *lines) {
        named.function = line.function;
        named.file = line.file;
        named.line = line.line;
        named.column = line.column;
        named.inlined = line.inlined;
        out.push_back(named);
    }
}

} // namespace

Series build_series(const Process& process, const std::vector<std::uint64_t>& ticks) {
    Series series;
    for (std::size_t i = 0; i < process.timeline.mono_ns.size(); ++i) {
        series.seconds.push_back(seconds_between(process.about.attach_mono_ns, process.timeline.mono_ns[i]));
        series.values.push_back(i < ticks.size() ? static_cast<double>(ticks[i]) : 0);
    }
    return series;
}

std::vector<ReportFrame> build_stack(const Model& model, StackId id) {
    std::vector<ReportFrame> frames;
    if (const auto* stack = model.stack(id)) {
        for (const auto& frame : stack->frames) {
            add_frame(model, frame, frames);
        }
    }
    return frames;
}

namespace {

std::string site_id(const Model& model, const std::string& allocator, const std::string& function, StackId id) {
    StableHash hash;
    hash.add(allocator);
    hash.add(function);
    if (const auto* stack = model.stack(id)) {
        for (const auto& frame : stack->frames) {
            const auto* module = model.module(frame.module);
            hash.add(module != nullptr ? base_name(module->about.path) : "");
            hash.add(frame.offset);
        }
    }
    return hash.hex();
}

/// Live bytes and objects of an estimate; both ends are the estimate where nothing has been sampled.
void build_intervals(const Process& process, double bytes, double bytes_variance, double objects, double objects_variance,
                     double (&bytes_ci95)[2], double (&objects_ci95)[2]) {
    const auto interval = static_cast<double>(process.largest_interval_bytes);
    const double mean_size = objects > 0 ? std::max(bytes / objects, 1.0) : 1;
    const auto of_bytes = interval > 0 ? interval95(bytes, bytes_variance, interval) : ConfidenceInterval{bytes, bytes};
    const auto of_objects =
        interval > 0 ? interval95(objects, objects_variance, interval / mean_size) : ConfidenceInterval{objects, objects};
    bytes_ci95[0] = of_bytes.low;
    bytes_ci95[1] = of_bytes.high;
    objects_ci95[0] = of_objects.low;
    objects_ci95[1] = of_objects.high;
}

ReportSite build_site(const Model& model, const Process& process, const Site& site) {
    ReportSite out;
    out.id = site_id(model, site.about.allocator, site.about.function, site.about.stack);
    const bool aged = model.run().min_age_ns != 0;
    out.live_bytes = aged ? site.sample.aged_bytes : site.live_bytes();
    out.live_objects = aged ? site.sample.aged_objects : site.live_objects();
    build_intervals(process, static_cast<double>(out.live_bytes), site.sample.live_bytes_variance,
                    static_cast<double>(out.live_objects), site.sample.live_objects_variance, out.live_bytes_ci95,
                    out.live_objects_ci95);
    out.unverified_bytes = std::min(site.sample.unverified_bytes, out.live_bytes);
    out.unverified_objects = std::min(site.sample.unverified_objects, out.live_objects);
    out.allocs = site.sample.allocs;
    out.frees = site.sample.frees;
    out.allocated_bytes = site.sample.allocated_bytes;
    out.freed_bytes = site.sample.freed_bytes;
    out.oldest_age_s = site.sample.oldest_ns != 0 ? seconds_between(site.sample.oldest_ns, process.last_mono_ns) : 0;
    out.grown_bytes = static_cast<std::int64_t>(site.live_bytes() - site.live_bytes_at_report);
    out.allocator = site.about.allocator;
    out.function = site.about.function;
    if (const auto* stack = model.stack(site.about.stack)) {
        out.stack_truncated = stack->truncated;
        out.stack = build_stack(model, site.about.stack);
    }
    return out;
}

bool is_windowed(const ModeChanged& mode) {
    return mode.mode == TraceMode::windowed || mode.mode == TraceMode::pages;
}

void judge(const Process& process, const Site& site, std::size_t sites_tested, ReportSite& out) {
    const auto series = build_series(process, site.live_bytes_ticks);
    auto judgement = judge_site({series.seconds, series.values, site.sample.allocs, site.sample.frees}, sites_tested);
    if (const auto& mode = process.mode; is_windowed(mode)) { // what a window saw stay may have gone since
        judgement.growth_bytes_per_s *= mode.window_s > 0 ? mode.period_s / mode.window_s : 1;
        if (judgement.verdict == SiteVerdict::probable || judgement.verdict == SiteVerdict::definite) {
            judgement.verdict = SiteVerdict::suspect;
            judgement.evidence += "; seen in windows only, frees between them are not watched";
        }
    }
    out.verdict = site_verdict_name(judgement.verdict);
    out.confidence = judgement.confidence;
    out.growth_bytes_per_s = judgement.growth_bytes_per_s;
    out.evidence = judgement.evidence;
}

void build_sites(const Model& model, const Process& process, Report& report) {
    const auto tested = static_cast<std::size_t>(
        std::count_if(process.sites.begin(), process.sites.end(), [&](SiteId id) { return model.site(id)->live_bytes() != 0; }));
    for (const auto id : process.sites) {
        const auto* site = model.site(id);
        if (site->sample.allocs == 0) {
            continue;
        }
        auto built = build_site(model, process, *site);
        judge(process, *site, tested, built);
        report.totals.grown_bytes += built.grown_bytes;
        report.totals.live_bytes += built.live_bytes;
        report.totals.live_objects += built.live_objects;
        report.totals.unverified_bytes += built.unverified_bytes;
        report.totals.unverified_objects += built.unverified_objects;
        report.totals.allocs += built.allocs;
        report.totals.frees += built.frees;
        report.totals.allocated_bytes += built.allocated_bytes;
        report.totals.freed_bytes += built.freed_bytes;
        report.sites.push_back(std::move(built));
    }
    std::sort(report.sites.begin(), report.sites.end(), [](const ReportSite& a, const ReportSite& b) {
        return a.live_bytes != b.live_bytes ? a.live_bytes > b.live_bytes : a.id < b.id;
    });
}

std::uint64_t counter_value(const Process& process, const char* name) {
    const auto found = process.counters.find(name);
    return found == process.counters.end() ? 0 : found->second.value;
}

void build_coverage(const Model& model, const Process& process, Report& report) {
    auto& coverage = report.coverage;
    coverage.mode = trace_mode_name(process.mode.mode);
    coverage.sample_interval_bytes = process.mode.interval_bytes;
    coverage.window_s = process.mode.window_s;
    coverage.period_s = process.mode.period_s;
    coverage.mode_reason = process.mode.reason;
    if (process.mode.budget > 0) {
        coverage.overhead.budget = process.mode.budget;
    }
    coverage.sources = process.about.sources;
    if (process.pages) {
        coverage.mode = coverage.sources.empty() ? "pages" : coverage.mode;
        coverage.sources.insert(coverage.sources.end(), process.pages->sources.begin(), process.pages->sources.end());
    }
    if (process.kernel_resources) {
        const auto& sources = process.kernel_resources->sources;
        coverage.sources.insert(coverage.sources.end(), sources.begin(), sources.end());
    }
    coverage.from_start = process.about.from_start;
    coverage.max_live = model.run().max_live;
    coverage.kernel_bytes = model.run().kernel_bytes;
    coverage.unmatched_frees = counter_value(process, "unmatched_frees");
    double hits = 0;
    for (const auto& [name, counter] : process.counters) {
        coverage.counters[name] = counter.value;
        if (counter.loss && counter.value != 0) {
            coverage.lost[name] = counter.value;
            coverage.lost_now += name.ends_with("_bytes") ? 0 : counter.value - counter.at_report;
        }
        if (name.rfind("hits_", 0) == 0 || name == "contract_hits") {
            hits += static_cast<double>(counter.value - counter.at_report);
        }
    }
    auto& overhead = coverage.overhead;
    overhead.hits_per_s = report.interval_s > 0 ? hits / report.interval_s : 0;
    const double probe_ns = process.usage.probe_ns - process.usage_at_report.probe_ns;
    overhead.trap_ns = hits > 0 && probe_ns > 0 ? probe_ns / hits : model.run().trap_ns;
    const auto cpu_ns = static_cast<double>(process.usage.cpu_ns - process.usage_at_report.cpu_ns);
    overhead.ratio = cpu_ns > 0 ? std::clamp(probe_ns / cpu_ns, 0.0, 1.0) : 0;
}

const char* kind_name(PageKind kind) {
    return kind == PageKind::fault ? "fault" : kind == PageKind::mmap ? "mmap" : "brk";
}

ReportPageSite build_page_site(const Model& model, const PageSite& site, double interval_s) {
    ReportPageSite out;
    out.kind = kind_name(site.about.kind);
    out.id = site_id(model, "pages", out.kind, site.about.stack);
    out.bytes = site.held_bytes();
    out.returned_bytes = site.sample.returned_bytes;
    out.events = site.sample.events;
    if (interval_s > 0) {
        out.bytes_per_s = (static_cast<double>(site.held_bytes()) - static_cast<double>(site.held_at_report)) / interval_s;
    }
    if (const auto* stack = model.stack(site.about.stack)) {
        out.stack_truncated = stack->truncated;
        out.stack = build_stack(model, site.about.stack);
    }
    return out;
}

/// Every place that ever touches new memory is one, most of them by a page or two.
constexpr std::size_t kMaxPageSites = 100;

void build_pages(const Model& model, const Process& process, Report& report) {
    if (!process.pages) {
        return;
    }
    auto& pages = report.pages;
    pages.sources = process.pages->sources;
    const auto& totals = process.page_totals;
    pages.faulted_bytes = totals.faulted_bytes;
    pages.returned_bytes = totals.returned_bytes;
    pages.mapped_bytes = totals.mapped_bytes;
    pages.unmapped_bytes = totals.unmapped_bytes;
    std::vector<const PageSite*> holding;
    for (const auto id : process.page_sites) {
        if (const auto* site = model.page_site(id); site->held_bytes() != 0) {
            holding.push_back(site);
        }
    }
    std::stable_sort(holding.begin(), holding.end(),
                     [](const PageSite* a, const PageSite* b) { return a->held_bytes() > b->held_bytes(); });
    for (const auto* site : holding) {
        if (pages.sites.size() < kMaxPageSites) {
            pages.sites.push_back(build_page_site(model, *site, report.interval_s));
        } else {
            pages.other_sites += 1;
            pages.other_bytes += site->held_bytes();
        }
    }
    std::sort(pages.sites.begin(), pages.sites.end(), [](const ReportPageSite& a, const ReportPageSite& b) {
        return a.bytes != b.bytes ? a.bytes > b.bytes : a.id < b.id;
    });
}

/// What was lost could be live, all of it or none.
void build_totals_interval(const Model& model, const Process& process, Report& report) {
    auto& totals = report.totals;
    double bytes_variance = 0;
    double objects_variance = 0;
    for (const auto id : process.sites) {
        bytes_variance += model.site(id)->sample.live_bytes_variance;
        objects_variance += model.site(id)->sample.live_objects_variance;
    }
    build_intervals(process, static_cast<double>(totals.live_bytes), bytes_variance, static_cast<double>(totals.live_objects),
                    objects_variance, totals.live_bytes_ci95, totals.live_objects_ci95);
    for (const char* name : {"live_full_bytes", "returns_refused_bytes"}) {
        const auto found = report.coverage.lost.find(name);
        totals.live_bytes_ci95[1] += found == report.coverage.lost.end() ? 0 : static_cast<double>(found->second);
    }
}

void build_verdict(const Process& process, Report& report) {
    const ReportSite* worst = nullptr;
    std::size_t leaking = 0;
    std::size_t suspect = 0;
    double rate = 0;
    bool judged = false;
    for (const auto& site : report.sites) {
        judged = judged || site.verdict != "unknown";
        suspect += site.verdict == "suspect" ? 1 : 0;
        if (site.verdict == "definite" || site.verdict == "probable") {
            ++leaking;
            rate += site.growth_bytes_per_s;
            if (worst == nullptr || site.growth_bytes_per_s > worst->growth_bytes_per_s) {
                worst = &site;
            }
        }
    }
    auto& verdict = report.verdict;
    if (worst != nullptr) {
        verdict.class_name = "leak";
        const auto& name =
            worst->stack.empty() || worst->stack.front().function.empty() ? worst->id : worst->stack.front().function;
        char text[96];
        std::snprintf(text, sizeof(text), "%zu call site%s leak%s %.1f KiB/s in all, most of it ", leaking,
                      leaking == 1 ? "" : "s", leaking == 1 ? "s" : "", rate / 1024);
        verdict.text = text + ("from " + name);
        verdict.evidence["site"] = worst->id;
        verdict.evidence["reason"] = worst->evidence;
    } else if (suspect != 0) { // neither a leak nor a clean bill
        verdict.text = std::to_string(suspect) + (suspect == 1 ? " call site grows" : " call sites grow") +
                       ", too briefly or too little to call it a leak";
    } else if (is_windowed(process.mode)) {
        verdict.text = "no call site was seen to grow, but allocations are watched for a small share of the time only";
    } else if (judged) {
        verdict.class_name = "healthy";
        verdict.text = "no call site keeps growing";
    } else if (report.coverage.mode == "pages") {
        verdict.text = "no allocator was found to watch: see what touches and maps memory";
    } else {
        verdict.text = "followed too briefly to say";
    }
    if (!report.coverage.lost.empty()) {
        verdict.evidence["loss"] = "some allocations were not followed: see coverage.lost";
    }
}

} // namespace

Report build_report(const Model& model, ProcessId id) {
    Report report;
    const auto* process = model.process(id);
    if (process == nullptr) {
        return report;
    }
    report.tool_version = model.run().version;
    report.time_unix_ns = model.now().wall_ns;
    report.time = rfc3339(model.now().wall_ns);
    report.duration_s = seconds_between(process->about.attach_mono_ns, process->last_mono_ns);
    report.interval_s = seconds_between(process->report_mono_ns, process->last_mono_ns);
    report.min_age_s = static_cast<double>(model.run().min_age_ns) / static_cast<double>(kNanosPerSecond);
    build_pages(model, *process, report);
    report.process = {process->about.pid,     rfc3339(process->about.start_wall_ns),
                      process->about.comm,    process->about.exe,
                      process->about.cmdline, process->usage.rss_bytes,
                      state_name(*process)};
    build_sites(model, *process, report);
    build_coverage(model, *process, report);
    build_totals_interval(model, *process, report);
    build_references(model, *process, report);
    build_resources(model, *process, report);
    build_verdict(*process, report);
    add_told_to_verdict(report);
    return report;
}

std::vector<Report> build_reports(const Model& model) {
    std::vector<Report> reports;
    for (const auto id : model.processes()) {
        reports.push_back(build_report(model, id));
    }
    return reports;
}

} // namespace memtrace
