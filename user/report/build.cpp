#include "report/build.hpp"

#include <algorithm>
#include <iterator>

#include "base/clock.hpp"
#include "report/build_parts.hpp"

namespace memtrace {

namespace {

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

ProcessSeries::ProcessSeries(const Process& process, std::size_t level) {
    const auto& history = process.history;
    const auto read = [&](const auto& rings) { return rings.read(level, history.ticks); };
    seconds = read(history.mono_ns);
    for (auto& value : seconds) {
        value = (value - static_cast<double>(process.about.attach_mono_ns)) / static_cast<double>(kNanosPerSecond);
    }
    live_bytes = read(history.live_bytes);
    rss_bytes = read(history.rss_bytes);
    anon_bytes = read(history.anon_bytes);
    file_bytes = read(history.file_bytes);
    stack_bytes = read(history.stack_bytes);
    cpu_s = read(history.cpu_s);
    unmatched_frees = read(history.unmatched_frees);
}

ProcessHistories::ProcessHistories(const Process& process) {
    for (std::size_t level = 0; level <= Timeline::whole_run(process.history.ticks); ++level) {
        levels_.emplace_back(process, level);
    }
    for (const auto& series : levels_) {
        moments_.push_back({series.seconds, series.cpu_s});
    }
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

/// Counters of hits; that of stepped ones counts some of these once more.
constexpr const char* kHits[] = {"hits_enter",     "hits_return", "hits_free",     "contract_hits",
                                 "told_heap_hits", "mapped_hits", "mapped_returns"};

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
    if (const auto& own = model.collector()) {
        coverage.collector = {own->cpu_ratio, own->cpu_budget,   own->rss_bytes, own->memory_budget, own->interval_s, own->tick_s,
                              own->ages_s,    own->sites_listed, own->max_sites, own->forgotten,     own->reason};
    }
    coverage.unmatched_frees = counter_value(process, "unmatched_frees");
    double hits = 0;
    for (const auto& [name, counter] : process.counters) {
        coverage.counters[name] = counter.value;
        if (counter.loss && counter.value != 0) {
            coverage.lost[name] = counter.value;
            coverage.lost_now += name.ends_with("_bytes") ? 0 : counter.value - counter.at_report;
        }
        if (std::find(std::begin(kHits), std::end(kHits), name) != std::end(kHits)) {
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

void build_history(const Process& process, Report& report) {
    ProcessSeries series(process, Timeline::whole_run(process.history.ticks));
    report.history = {std::move(series.seconds), std::move(series.live_bytes), std::move(series.rss_bytes)};
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
void build_totals_interval(const Process& process, Report& report) {
    auto& totals = report.totals;
    double bytes_variance = 0;
    double objects_variance = 0;
    for (const auto& site : process.sites) {
        bytes_variance += site.sample.live_bytes_variance;
        objects_variance += site.sample.live_objects_variance;
    }
    build_intervals(process, static_cast<double>(totals.live_bytes), bytes_variance, static_cast<double>(totals.live_objects),
                    objects_variance, totals.live_bytes_ci95, totals.live_objects_ci95);
    for (const char* name : {"live_full_bytes", "returns_refused_bytes"}) {
        const auto found = report.coverage.lost.find(name);
        totals.live_bytes_ci95[1] += found == report.coverage.lost.end() ? 0 : static_cast<double>(found->second);
    }
}

} // namespace

Report build_report(const Model& model, ProcessId id, std::size_t sites) {
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
    const auto& memory = process->memory;
    report.process = {process->about.pid,     rfc3339(process->about.start_wall_ns),
                      process->about.comm,    process->about.exe,
                      process->about.cmdline, process->usage.rss_bytes,
                      state_name(*process),   memory.anon_bytes,
                      memory.file_bytes,      memory.shmem_bytes,
                      memory.swap_bytes,      memory.stack_bytes};
    build_sites(model, *process, sites, report);
    build_coverage(model, *process, report);
    build_totals_interval(*process, report);
    build_references(model, *process, report);
    build_resources(model, *process, report);
    build_history(*process, report);
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
