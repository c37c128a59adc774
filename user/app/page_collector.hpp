// What the pages tier's kernel half holds, turned into events: the part of the collector that looks at pages. One thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "app/image_change.hpp"
#include "base/result.hpp"
#include "kernel/page_tracer.hpp"
#include "model/events.hpp"
#include "model/page_regions.hpp"

namespace memtrace {

class PageCollector {
public:
    using Sink = std::function<void(const Event&)>;
    /// Makes a stack of a process known to the model.
    using InternStack = std::function<StackId(std::int32_t pid, const mt_stack&)>;

    /// `tracer` must outlive this.
    PageCollector(PageTracer& tracer, Sink sink, InternStack intern)
        : tracer_(tracer), sink_(std::move(sink)), intern_(std::move(intern)) {}

    /// Follows a process that the model knows as `id`; its figures run from activate() on.
    Status follow(std::int32_t pid, ProcessId id);
    void activate(std::int32_t pid) { tracer_.set_active(pid, true); }
    void deactivate(std::int32_t pid) { tracer_.set_active(pid, false); }
    /// The process has execed, and goes on as `id`.
    void follow_image(std::int32_t pid, ProcessId id);
    void end(std::int32_t pid);

    /// Takes the records that wait: what they say is told at the next tick.
    void read_records();
    /// Tells what has changed since the last one.
    Status tick();
    /// Adds this tier's counters to those of the heap.
    void add_counters(std::int32_t pid, mt_counters& counters) const;

    /// As coverage.sources names it.
    [[nodiscard]] std::string source() const { return "pages: " + tracer_.source(); }
    [[nodiscard]] int records_fd() const { return tracer_.records_fd(); }

private:
    /// An entry of the kernel half, as of the tick before.
    struct FaultSite {
        PageSiteId site;
        std::uint64_t bytes = 0;
        std::uint64_t events = 0;
    };
    struct Followed {
        ProcessId id;
        mt_process_key key = 0;
        PageRegions regions;
        std::map<std::pair<StackId, PageKind>, PageSiteId> sites;
        std::unordered_map<std::uint64_t, FaultSite> fault_sites; ///< by the kernel half's key
        std::unordered_map<PageSiteId, PageSiteSample> told;
        std::map<std::pair<std::uint64_t, std::uint64_t>, StackId> stacks; ///< by the kernel half's key, and code
        PageSample sent;
        EarlyRecords<mt_page_record> early;
    };

    void apply(std::int32_t pid, Followed& process, const mt_page_record& record);
    StackId stack_of(std::int32_t pid, Followed& process, std::uint64_t stack, std::uint64_t code);
    void forget_stacks(const Followed& process);
    PageSiteId site_of(Followed& process, StackId stack, PageKind kind);
    void tell(Followed& process, const PageSiteSample& sample);
    Status sample_faults();
    void sample_regions();
    void sample_totals();

    PageTracer& tracer_;
    Sink sink_;
    InternStack intern_;
    std::map<std::int32_t, Followed> followed_;
    std::uint32_t next_site_ = 1;
};

} // namespace memtrace
