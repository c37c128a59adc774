// The kernel half as the collector sees it. Its life, in this order:
//
//   load -> add_process -> attach -> activate -> read_* ... -> deactivate -> remove_process (or destruction)
//
// load         creates the maps at their size and verifies the programs; nothing runs yet
// add_process  takes a slot; probes refer to processes by slot
// attach       places probes in a process's code; they return at once while the slot is not active
// activate     one store: from here on every call is seen, exactly
// deactivate   one store: the figures stand still; probes may go one by one after it
//
// Destruction detaches everything. A SIGKILL does the same: probes belong to descriptors. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bpf/sampling.h"
#include "bpf/types.h"
#include "kernel/features.hpp"
#include "kernel/stack_maps.hpp"
#include "kernel/thread_registers.hpp"
#include "kernel/told_heap_tracer.hpp"
#include "proc/allocators.hpp"

namespace memtrace {

class UnwindShards;

/// mt_site.function holds the function's index and the label of the object that it was probed in.
constexpr std::uint16_t kFunctionBits = 5;
/// In the place of an index into the table of functions: sites of which a program tells itself (kernel/told_heap_tracer.hpp).
constexpr std::uint16_t kToldFunctionIndex = (1u << kFunctionBits) - 1;
constexpr std::uint16_t pack_function(std::uint16_t function, std::uint16_t label) {
    return static_cast<std::uint16_t>(function | label << kFunctionBits);
}
constexpr std::uint16_t unpack_function(std::uint32_t packed) {
    return packed & ((1u << kFunctionBits) - 1);
}
constexpr std::uint16_t unpack_label(std::uint32_t packed) {
    return static_cast<std::uint16_t>(packed >> kFunctionBits);
}

struct TracerLimits {
    std::uint32_t max_live = 1'000'000; ///< live blocks, all processes together
    std::uint32_t max_sites = 65'536;
    std::uint32_t max_stacks = 65'536;
    std::uint32_t max_processes = 4'096;
    std::uint32_t max_frames = 64;
};

/// What the programs of the other tiers run for, nanoseconds a hit, where their hits are counted too.
struct TierCosts {
    double contract_ns = 0;
    double told_heap_ns = 0;
    double mapped_ns = 0;
};

class HeapTracer {
public:
    /// `features` as found here: what their costs say of nops decides where probes go.
    static Result<HeapTracer> load(const TracerLimits& limits, AttachMethod method, const KernelFeatures& features);
    ~HeapTracer();
    HeapTracer(HeapTracer&&) noexcept;
    HeapTracer& operator=(HeapTracer&&) noexcept;

    Result<mt_process_key> add_process(std::int32_t pid, bool follow);
    /// Attaches to all functions of `object`; of those before which the process could take an object (frees) first, so that a
    /// library that comes late is never seen to allocate only. What watch() does not want waits until it does.
    Status attach(mt_process_key process, std::int32_t pid, const ProbeObject& object);
    /// Keeps the probes of allocations, and those of frees, attached or not; what is to be attached again is what attach() was given.
    Status watch(mt_process_key process, bool allocations, bool frees);
    /// Whether some thread of `processes` is in a call whose return address the kernel replaced. Once their allocations are not watched
    /// any more these end; the hooks that keep exceptions safe must not go before.
    [[nodiscard]] bool has_pending_returns(const std::vector<mt_process_key>& processes) const;
    void activate(mt_process_key process);
    void deactivate(mt_process_key process);
    /// From here on allocations of this process are sampled, one in `interval` bytes on average (1 to MT_MAX_INTERVAL); 0: all are
    /// recorded. What is recorded already keeps its weight.
    void set_sampling(mt_process_key process, std::uint64_t interval);
    /// Where the tables go that stacks are unwound by. Not this object's thread's: its own rules hold.
    UnwindShards& unwind_shards();
    /// For other objects that take stacks of the same processes.
    [[nodiscard]] StackMaps stack_maps() const;
    /// For the object that fills the heap's own maps too.
    [[nodiscard]] HeapMaps heap_maps() const;
    /// From here on stacks of this process are unwound by the ranges in that shard. Does nothing once an exec has changed the key. May
    /// be called from another thread than all else.
    void set_space(mt_process_key process, std::uint32_t shard);
    /// Detaches from the process, which must have no pending returns, and forgets its blocks and sites.
    void remove_process(mt_process_key process);
    /// Forgets the blocks and sites of this key alone: the image that an exec replaced.
    void forget_image(mt_process_key process);
    /// After an exec, which advances the key in the kernel: makes what belongs to the new key.
    void adopt_key(mt_process_key process);

    /// Both call `visit` for every entry, read in batches. Entries that come and go meanwhile may or may not be seen.
    Status read_sites(const std::function<void(std::uint64_t key, const mt_site&)>& visit) const;
    Status read_live(const std::function<void(const mt_live_key&, const mt_live_block&)>& visit) const;
    /// As read_thread_registers().
    [[nodiscard]] std::optional<std::vector<ThreadRegisters>> read_threads(mt_process_key process) const;
    [[nodiscard]] std::optional<mt_stack> read_stack(std::uint64_t key) const;
    [[nodiscard]] mt_counters read_counters(mt_process_key process) const;

    /// Looks at how long the programs run; to be called on every tick.
    void update_costs(std::uint64_t now_ns);
    /// What one hit costs now, trap and program together, where hits follow each other closely.
    [[nodiscard]] ProbeCosts probe_costs() const;
    /// How long probes kept a process's threads from running, nanoseconds, while its counters went from `before` to `after` and
    /// they had `cpu_ns` of CPU time: traps as calibrated, programs as timed. An estimate: kernel/hit_cost_model.hpp.
    [[nodiscard]] double probe_ns(const mt_counters& before, const mt_counters& after, std::uint64_t cpu_ns,
                                  const TierCosts& tiers) const;

    /// A descriptor that becomes readable when events are there, and the call that hands them out.
    [[nodiscard]] int events_fd() const;
    void read_events(const std::function<void(const mt_event&)>& visit);

    /// What a record stands for: the kernel half's own reckoning.
    [[nodiscard]] mt_weight weigh(const mt_live_block& block) const;

    [[nodiscard]] std::uint64_t kernel_bytes() const; ///< memory of all maps
    [[nodiscard]] std::size_t probes() const;         ///< attached now
    [[nodiscard]] const TracerLimits& limits() const;

private:
    struct Impl;
    explicit HeapTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
