// What is known of the traced processes: passive, no I/O, fed by events alone (model/events.hpp), so a recording rebuilds it.
//
//   Process  has  modules, stacks, sites (vectors by id), histories of its memory by tick, the cohorts that blocks are counted by
//   Site     has  its latest sample, the history of its live bytes, what became of its blocks: at most 2.5 KiB besides its stack
//
// What belongs to a process goes when it is forgotten (ProcessForgotten). Nothing is done for a site at ticks at which it does not change.
//
// One thread owns a Model. Ids are global to the run and handed out by whoever makes the events; an event that names an unknown
// id is ignored and counted (a damaged recording must not crash a replay).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/events.hpp"
#include "model/references.hpp"
#include "model/resources.hpp"
#include "model/survival_table.hpp"
#include "model/timeline.hpp"

namespace memtrace {

/// What is known of a process at each of its ticks. Those of one number belong together.
struct ProcessHistory {
    std::uint64_t ticks = 0; ///< the newest one's number
    Rings<std::uint64_t> mono_ns;
    Timeline live_bytes;
    Timeline rss_bytes;
    Timeline anon_bytes;
    Timeline file_bytes;
    Timeline stack_bytes;
    Timeline cpu_s;           ///< its CPU time
    Timeline unmatched_frees; ///< so far
};

struct Site {
    SiteDefined about;
    SiteSample sample;
    std::uint64_t live_bytes_before = 0; ///< at the report before, where it has changed since
    std::uint64_t changed_report = 0;    ///< how many reports there had been when it did
    LazyTimeline live_bytes_history;     ///< by the process's ticks
    SurvivalTable survival;
    /// Never below zero: totals are read one after the other while the program runs, so what was freed in between may be counted
    /// without its allocation.
    [[nodiscard]] std::uint64_t live_bytes() const {
        return sample.allocated_bytes > sample.freed_bytes ? sample.allocated_bytes - sample.freed_bytes : 0;
    }
    [[nodiscard]] std::uint64_t live_objects() const { return sample.allocs > sample.frees ? sample.allocs - sample.frees : 0; }
    /// `reports`: how many there have been of its process.
    [[nodiscard]] std::uint64_t live_bytes_at_report(std::uint64_t reports) const {
        return changed_report == reports ? live_bytes_before : live_bytes();
    }
};

struct Counter {
    std::uint64_t value = 0;
    std::uint64_t at_report = 0; ///< its value at the report before
    bool loss = false;
};

/// A site of the pages tier. What is returned never exceeds what was mapped, as both come from one place.
struct PageSite {
    PageSiteDefined about;
    PageSiteSample sample;
    std::uint64_t held_at_report = 0; ///< held_bytes at the report before
    [[nodiscard]] std::uint64_t held_bytes() const {
        return sample.bytes > sample.returned_bytes ? sample.bytes - sample.returned_bytes : 0;
    }
};

/// Figures "at the report before" are what a ReportDue event stored: a report is built first, then the event is applied.
struct Process {
    ProcessStarted about;
    std::optional<EndReason> ended;
    std::uint64_t last_mono_ns = 0; ///< the newest tick while it was followed
    ProcessSample usage;
    ProcessSample usage_at_report;            ///< before the first report: the first sample
    bool sampled = false;                     ///< usage has been told
    ModeChanged mode;                         ///< as of now
    std::uint64_t largest_interval_bytes = 0; ///< of sampling, since it began
    std::map<std::string, Counter> counters;
    std::uint64_t live_bytes = 0;     ///< of all sites
    std::uint64_t report_mono_ns = 0; ///< when the report before was made; attach time before the first
    std::uint64_t reports = 0;        ///< that have been made since it was followed
    ProcessHistory history;
    MemorySample memory;
    std::vector<std::uint64_t> cohorts; ///< as CohortsCut told
    AgeClasses ages;                    ///< of all sites
    std::deque<Site> sites;             ///< in order of appearance: they stay where they are
    std::vector<StackId> stacks;
    std::vector<ModuleId> modules;
    std::optional<PagesStarted> pages; ///< the pages tier follows it
    PageSample page_totals;
    std::vector<PageSiteId> page_sites;
    std::optional<ContractStarted> contract;          ///< the contract tier follows it
    std::optional<ResourcesStarted> kernel_resources; ///< the resources tier follows it
    ReferenceLedger references;
    ResourceTable resources;
};

struct Module {
    ModuleMapped about;
};

class Model {
public:
    Model() = default;
    Model(Model&&) = default; // a copy's places of sites would be those of the original
    Model& operator=(Model&&) = default;

    void apply(const Event& event);

    [[nodiscard]] const RunStarted& run() const { return run_; }
    [[nodiscard]] const TickEnded& now() const { return now_; }
    /// In order of appearance.
    [[nodiscard]] const std::vector<ProcessId>& processes() const { return process_order_; }
    [[nodiscard]] const Process* process(ProcessId id) const { return find(processes_, id); }
    [[nodiscard]] const Site* site(SiteId id) const {
        const auto* place = find(sites_, id);
        return place == nullptr ? nullptr : place->site;
    }
    /// Of memtrace itself; nullopt before it was told.
    [[nodiscard]] const std::optional<CollectorSample>& collector() const { return collector_; }
    [[nodiscard]] const PageSite* page_site(PageSiteId id) const { return find(page_sites_, id); }
    [[nodiscard]] const StackDefined* stack(StackId id) const { return find(stacks_, id); }
    [[nodiscard]] const Module* module(ModuleId id) const { return find(modules_, id); }
    [[nodiscard]] const std::vector<SymbolLine>* symbol(const Frame& frame) const;
    [[nodiscard]] const ResourceThresholds& resource_thresholds() const { return resource_thresholds_; }
    /// Events that named something unknown.
    [[nodiscard]] std::uint64_t ignored_events() const { return ignored_; }

private:
    template <typename Id, typename T>
    static const T* find(const std::unordered_map<Id, T>& map, Id id) {
        const auto found = map.find(id);
        return found == map.end() ? nullptr : &found->second;
    }

    void on(const RunStarted& event) { run_ = event; }
    void on(const ProcessStarted& event);
    void on(const ProcessEnded& event);
    void on(const ProcessForgotten& event);
    void on(const CollectorSample& event) { collector_ = event; }
    void on(const ModuleMapped& event);
    void on(const StackDefined& event);
    void on(const SymbolResolved& event) { symbols_[event.frame] = event.lines; }
    void on(const SiteDefined& event);
    void on(const SiteSample& event);
    void on(const CohortsCut& event);
    void on(const ProcessSample& event);
    void on(const MemorySample& event);
    void on(const CounterSample& event);
    void on(const ModeChanged& event);
    void on(const TickEnded& event);
    void on(const ReportDue& event);
    void on(const PagesStarted& event);
    void on(const PageSiteDefined& event);
    void on(const PageSiteSample& event);
    void on(const PageSample& event);
    void on(const ContractStarted& event);
    void on(const ObjectTold& event);
    void on(const ReferenceTold& event);
    void on(const ResourceTold& event);
    void on(const ResourceKindDefined& event);
    void on(const PoolTold& event);
    void on(const CleanupTold& event);
    void on(const ThreadEnded& event);
    void on(const HandlePlaced& event);
    void on(const StorageTold& event);
    void on(const ResourcesStarted& event);
    void on(const ResourceThresholds& event) { resource_thresholds_ = event; }

    struct SitePlace {
        Process* process = nullptr;
        Site* site = nullptr;
    };

    static void add_to_history(Process& process);
    /// The process that an event of the contract tier is about; nullptr, and counted, where it is unknown.
    Process* told_of(ProcessId id);

    RunStarted run_;
    TickEnded now_;
    std::vector<ProcessId> process_order_;
    std::unordered_map<ProcessId, Process> processes_;
    std::unordered_map<ModuleId, Module> modules_;
    std::unordered_map<StackId, StackDefined> stacks_;
    std::unordered_map<SiteId, SitePlace> sites_;
    std::unordered_map<PageSiteId, PageSite> page_sites_;
    std::map<Frame, std::vector<SymbolLine>> symbols_;
    std::optional<CollectorSample> collector_;
    ResourceThresholds resource_thresholds_;
    std::uint64_t ignored_ = 0;
};

} // namespace memtrace
