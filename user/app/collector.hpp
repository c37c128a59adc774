// Turns what the kernel half and /proc hold into events (model/events.hpp). One thread.
//
//   follow     process -> ProcessStarted, ModuleMapped...; probes attached, not active
//   activate   from here on the figures run
//   tick       SiteDefined, StackDefined, SiteSample, ProcessSample, CounterSample, then TickEnded
//   end        the last figures of a process, ProcessEnded; probes gone
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/address_space.hpp"
#include "app/contract_collector.hpp"
#include "app/governor.hpp"
#include "app/handle_placer.hpp"
#include "app/page_collector.hpp"
#include "app/resource_collector.hpp"
#include "app/site_book.hpp"
#include "app/told_heap.hpp"
#include "app/told_interval.hpp"
#include "app/unwind_loader.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "kernel/heap_tracer.hpp"
#include "model/events.hpp"
#include "model/model.hpp"
#include "proc/allocators.hpp"
#include "proc/maps.hpp"
#include "symbol/symbolizer.hpp"
#include "unwind/table_cache.hpp"

namespace memtrace {

using EventSink = std::function<void(const Event&)>;

struct CollectorOptions {
    std::string allocator = "auto";
    std::uint64_t min_age_ns = 0;
};

class Collector {
public:
    Collector(HeapTracer& tracer, CollectorOptions options, EventSink sink)
        : tracer_(tracer), options_(std::move(options)), sink_(std::move(sink)),
          unwind_(tracer, TableCache::default_directory()) {}
    Collector(const Collector&) = delete;
    Collector& operator=(const Collector&) = delete;
    /// Leaves the processes as deactivate_all does, where that was not done.
    ~Collector();
    /// The pages tier follows what is followed from now on, also what has no allocator that can be found. `tracer` must outlive this.
    void watch_pages(PageTracer& tracer);
    /// Where the pages tier has more to say than should wait for a tick: a descriptor, -1 where it is not watched.
    [[nodiscard]] int pages_fd() const { return pages_ ? pages_->records_fd() : -1; }
    void read_pages() { pages_->read_records(); }
    /// The contract tier: as the pages tier, and the programs' own probes are attached to.
    void watch_contract(ContractCollector::Load load, std::optional<MappedCollector> recipes);
    /// As ContractCollector::keep_to.
    void set_contract_budget(std::optional<double> budget) { contract_->keep_to(budget); }
    [[nodiscard]] int contract_fd() const { return contract_ ? contract_->records_fd() : -1; }
    void read_contract() { contract_->read_records(); }

    /// Processes that tell of a sample of their heap themselves are listened to in the place of probes on their allocator, where these are
    /// not asked for: with --allocator otel_memory, where no function of an allocator is found, and where probes on these are too dear
    /// for anything but windows. Then until they end.
    void watch_told_heaps(ToldHeap::Load load);

    /// The resources tier: as the pages tier. `tracer`, which tells of `families`, must outlive this.
    void watch_resources(ResourceTracer& tracer, ResourceFamilies families);
    [[nodiscard]] int resources_fd() const { return resources_ ? resources_->records_fd() : -1; }
    void read_resources() { resources_->read_records(); }

    /// What a process has done when it is attached to.
    enum class Stage : std::uint8_t {
        running, ///< it has its libraries: without allocation functions among them it cannot be followed
        young,   ///< it has just execed: its libraries are still to come
        held,    ///< the same, and it is stopped until all of them are attached to
    };

    /// Attaches to a process; `children`: to those that it will have, too.
    Status follow(std::int32_t pid, Stage stage, bool children);
    void activate(std::int32_t pid);
    /// Waits up to 2 s for the tables that stacks are unwound by, so that the first stacks are whole already. What comes meanwhile of
    /// processes that are followed is taken.
    void await_tables();
    /// Looks at its mappings again: new libraries are attached to and named.
    /// `held`: it is stopped until this returns, so it cannot have called what is attached to now.
    void rescan(std::int32_t pid, bool held);
    /// Takes the last figures of a process, then detaches from it.
    void end(std::int32_t pid, EndReason reason);
    /// Stops the figures of these processes at one moment, then takes away the probes of allocations and frees, and waits for the calls in
    /// flight to end. Threads that unwind meanwhile are served, or they would stay stopped. Takes some 100 ms.
    void deactivate(const std::vector<std::int32_t>& pids);
    /// The same for all of them, for good.
    void deactivate_all();
    /// Tells the model that tracing of the processes still followed ends here.
    void mark_detached();

    /// Applies to all processes, to those that come later too. `reason`: why, in a sentence.
    void set_mode(const GovernorKnobs& knobs, double budget, const std::string& reason);
    /// Attaches and detaches the probes of allocations and those of frees, in all processes. What is live when frees go unwatched
    /// may be freed unseen: it counts as unverified from then on.
    Status watch(bool allocations, bool frees);
    /// What all processes together have done and what that cost since the last call; times in which probes were attached are the
    /// caller's to say.
    GovernorInterval take_load();
    [[nodiscard]] ProbeCosts probe_costs() const { return tracer_.probe_costs(); }

    /// Reads what changes all the time; `with_ages` the whole live map too, for the ages of blocks, `with_memory` what the processes' memory is of.
    Status tick(bool with_ages, bool with_memory);
    /// What is known of objects may take `most_bytes` of our memory, all processes together; 0: whatever it takes. To be called on every tick.
    void keep_told_memory(const Model& model, std::uint64_t most_bytes);
    /// Tells where handles lie that lie in no object, as far as that is known: for a report, after its tick.
    void place_handles(const Model& model);
    /// Names the frames that have come up since the last call; and again those for which a debug file has come from elsewhere.
    void resolve_symbols();
    /// Debug files that are not here are asked for from now on, without ever waiting for them. As Symbolizer::ask.
    void ask(Debuginfod& servers, Symbolizer::Wanted wanted) { symbolizer_.ask(servers, std::move(wanted)); }
    /// Nothing of a process that has ended is kept any more; the model has forgotten it, or is about to.
    void forget(ProcessId process);
    /// More sites than that, of all processes together, are not told apart: those that come then are one of their process.
    void set_max_sites(std::size_t count) { max_sites_ = count; }
    [[nodiscard]] std::size_t sites() const { return sites_; }
    /// Acts on what the kernel half reports: exec, fork, libraries.
    void handle_kernel_events();

    /// The processes followed now, and what to watch for their end.
    [[nodiscard]] std::vector<std::pair<std::int32_t, int>> watched() const;
    [[nodiscard]] bool is_followed(std::int32_t pid) const { return followed_.contains(pid); }
    /// One line on what is attached, for messages.
    [[nodiscard]] std::string describe(std::int32_t pid) const;

private:
    struct Followed {
        ProcessId id;
        mt_process_key key = 0;
        UniqueFd pidfd;
        bool from_start = false;
        std::uint64_t late_objects = 0; ///< attached to while it ran
        bool libraries_to_come = false; ///< the linker works on a new image: nobody has looked since
        AddressSpace code;
        std::set<FileIdentity> seen; ///< files that have been looked through and attached to
        ProcessStarted started;      ///< as told; told again when more has been attached
        std::vector<ModuleId> modules;
        SiteBook sites;
        KeyIndex stacks;                ///< StackId by a hash of the frames
        KeyIndex sites_by_stack;        ///< SiteId by stack and function
        std::uint64_t folded_sites = 0; ///< entries that found no room of their own
        std::uint64_t folded_told = 0;
        std::uint64_t last_rescan_tick = 0;
        mt_counters counters{};
        bool counters_told = false;   ///< all of them, once: that they are zero is news too
        mt_counters counted_before{}; ///< by the image that an exec replaced: the kernel half counts on
        double probe_ns = 0;          ///< what the hits that these count have cost
        ProcessSample usage;
        MemorySample memory;
        std::uint64_t stacks_due_ns = 0;    ///< when the size of its stacks is read next
        std::vector<std::uint64_t> cohorts; ///< that births are told of (CohortsCut)
        mt_counters load_counters{};        ///< as of take_load
        std::uint64_t load_cpu_ns = 0;
        std::uint64_t unwatched_ns = 0; ///< when frees went unwatched last; 0 = never
        ToldInterval told_interval;
        ModuleId program; ///< its executable file
        HandlePlacer handles;
    };
    void tell_mode(const Followed& process);
    [[nodiscard]] bool listens(std::int32_t pid) const { return told_ && told_->listens(pid); }
    [[nodiscard]] bool prefers_told(const Followed& process, bool has_libraries) const;
    /// Looks for what the process tells of its heap, and listens where that is preferred.
    Status look_for_told_heap(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings, bool has_libraries);
    Status listen(std::int32_t pid, Followed& process);
    /// Those on its allocator: as watch() says, and none where it is listened to. Libraries that come later keep to that.
    Status set_probes(std::int32_t pid, const Followed& process);
    void note_told_interval(Followed& process, const mt_live_block& block);
    /// It is followed no more; what its names need stays until it is forgotten.
    void put_by(Followed& process);

    Status start_process(std::int32_t pid, Followed& process, Stage stage);
    /// Without an allocator: an error, or a note where the pages tier can do without.
    Status miss_allocator(std::int32_t pid, const std::string& comm) const;
    void look_for_contract(std::int32_t pid, ProcessId id);
    Status attach_objects(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings);
    void learn_modules(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings);
    void on_exec(const mt_event& event);
    void tell_end(const Followed& process, EndReason reason);
    void release(const std::vector<mt_process_key>& keys);
    void take_kernel_events();
    void read_records();
    std::uint16_t allocator_index(const std::string& name);
    std::optional<Frame> locate(std::int32_t pid, Followed& process, std::uint64_t address);
    StackId intern_stack(std::int32_t pid, Followed& process, const mt_site& site);
    void cut_to_caller(std::int32_t pid, Followed& process, mt_stack& stack);
    StackId intern_addresses(std::int32_t pid, Followed& process, const mt_stack& stack);
    /// The same for the other tiers, which know a process by its pid.
    std::function<StackId(std::int32_t pid, const mt_stack&)> interner();
    SiteId intern_site(std::int32_t pid, Followed& process, const mt_site& site);
    Status sample_sites();
    Status sample_ages(std::uint64_t now_ns);
    void sample_process(std::int32_t pid, Followed& process);
    void sample_memory(std::int32_t pid, Followed& process, std::uint64_t now_ns);
    /// Also reckons what the hits between the process's counters and `counters`, newer ones, have cost.
    void sample_usage(std::int32_t pid, Followed& process, const mt_counters& counters);
    /// Who an entry of the kernel half's maps belongs to: looked up for each of them, so by slot.
    struct Owner {
        std::int32_t pid = 0;
        Followed* process = nullptr;
    };
    [[nodiscard]] Owner owner_of(mt_process_key key) const;
    void index_owners();

    HeapTracer& tracer_;
    CollectorOptions options_;
    EventSink sink_;
    Symbolizer symbolizer_;
    UnwindLoader unwind_;
    std::map<std::int32_t, Followed> followed_;
    std::deque<mt_event> untold_; ///< what the kernel half has reported and nobody has acted on
    std::optional<PageCollector> pages_;
    std::optional<ContractCollector> contract_;
    std::optional<ToldHeap> told_;
    std::optional<ResourceCollector> resources_;
    std::vector<Owner> owners_; ///< by slot; as of the tick's start
    std::vector<std::string> allocators_;
    std::vector<Frame> unnamed_; ///< frames to be named
    std::set<Frame> known_frames_;
    std::map<ProcessId, std::vector<ModuleId>> ended_modules_; ///< of processes that have ended and are not forgotten
    std::size_t sites_ = 0;                                    ///< of the processes followed
    std::size_t max_sites_ = ~std::size_t{0};
    GovernorKnobs knobs_;
    bool always_exact_ = true; ///< all allocations have been recorded, of all processes
    double budget_ = 0;
    std::string mode_reason_;
    bool watch_allocations_ = true;
    bool watch_frees_ = true;
    bool released_ = false; ///< no probes on allocations and frees are left
    double load_bytes_ = 0; ///< allocated since take_load
    std::uint32_t next_process_ = 1;
    std::uint32_t next_module_ = 1;
    std::uint32_t next_stack_ = 1;
    std::uint32_t next_site_ = 1;
    std::uint64_t tick_count_ = 0;
};

} // namespace memtrace
