// Collector, the second half: stacks, sites and what is read on every tick.
#include <algorithm>

#include "app/collector.hpp"
#include "app/message.hpp"
#include "base/clock.hpp"
#include "bpf/stack_hash.h"
#include "model/survival_table.hpp"
#include "proc/memory.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr const char* kOverflowFunction = "(more call sites than the site table holds)";

std::uint64_t hash_of(const std::vector<Frame>& frames, bool truncated) {
    __u64 hash = truncated ? 1 : 2;
    for (const auto& frame : frames) {
        hash = mt_hash_step(mt_hash_step(hash, frame.module.value), frame.offset);
    }
    return hash;
}

struct CounterInfo {
    const char* name;
    bool loss;
};
constexpr CounterInfo kCounters[] = {
#define MT_COUNTER_INFO(name, loss, text) {#name, loss},
    MT_COUNTERS(MT_COUNTER_INFO)
#undef MT_COUNTER_INFO
};

} // namespace

// ---- stacks and sites ---------------------------------------------------------------------------------------------------------

/// An address that nothing is known of may lie in what was mapped since: looks once a tick.
std::optional<Frame> Collector::locate(std::int32_t pid, Followed& process, std::uint64_t address) {
    auto frame = process.code.locate(address);
    if (!frame && process.last_rescan_tick != tick_count_) {
        process.last_rescan_tick = tick_count_;
        if (const auto mappings = read_maps(pid); mappings && !mappings->empty()) {
            learn_modules(pid, process, *mappings);
        }
        frame = process.code.locate(address);
    }
    return frame;
}

StackId Collector::intern_stack(std::int32_t pid, Followed& process, const mt_site& site) {
    std::optional<mt_stack> stack;
    if (site.stack != 0) {
        stack = tracer_.read_stack(site.stack);
    }
    if (!stack) { // the table was full: the caller is known all the same
        stack.emplace();
        stack->depth = 1;
        stack->flags = MT_STACK_TRUNCATED;
        stack->certain = 1;
        stack->address[0] = site.caller;
    }
    if (unpack_function(site.function) == kToldFunctionIndex) {
        cut_to_caller(pid, process, *stack);
    }
    return intern_addresses(pid, process, *stack);
}

StackId Collector::intern_addresses(std::int32_t pid, Followed& process, const mt_stack& stack) {
    std::vector<Frame> frames;
    bool truncated = (stack.flags & MT_STACK_TRUNCATED) != 0;
    for (std::uint32_t i = 0; i < stack.depth; ++i) {
        const auto frame = locate(pid, process, stack.address[i]);
        // Others come from frame pointers: what does not follow a call is no return address.
        if (i >= stack.certain && (!frame || (frame->module && !symbolizer_.follows_call(*frame)))) {
            truncated = true;
            break;
        }
        frames.push_back(frame.value_or(Frame{ModuleId{}, stack.address[i]}));
    }
    const auto hash = hash_of(frames, truncated); // 64 bits: of 100,000 stacks the chance that any two are taken for one is 3e-10
    if (const auto known = process.stacks.find(hash); known != KeyIndex::kNone) {
        return StackId{known};
    }
    const StackId id{next_stack_++};
    process.stacks.add(hash, id.value);
    for (const auto& frame : frames) {
        if (frame.module && known_frames_.insert(frame).second) {
            unnamed_.push_back(frame);
        }
    }
    sink_(StackDefined{id, process.id, truncated, std::move(frames)});
    return id;
}

SiteId Collector::intern_site(std::int32_t pid, Followed& process, const mt_site& site) {
    const bool folded = sites_ >= max_sites_ && site.function != MT_SITE_OVERFLOW;
    process.folded_sites += folded ? 1 : 0;
    const bool overflow = folded || site.function == MT_SITE_OVERFLOW;
    const StackId stack = overflow ? StackId{} : intern_stack(pid, process, site);
    const auto key = std::uint64_t{stack.value} << 32 | (overflow ? MT_SITE_OVERFLOW : site.function);
    if (const auto known = process.sites_by_stack.find(key); known != KeyIndex::kNone) {
        return SiteId{known};
    }
    const SiteId id{next_site_++};
    process.sites_by_stack.add(key, id.value);
    ++sites_;
    const std::uint16_t function = unpack_function(site.function);
    const std::uint16_t label = unpack_label(site.function);
    const std::string name = function == kToldFunctionIndex && !overflow       ? kToldFunction
                             : overflow || function >= function_table().size() ? kOverflowFunction
                                                                               : function_table()[function].name;
    sink_(SiteDefined{id, process.id, stack, overflow || label >= allocators_.size() ? "" : allocators_[label], name});
    return id;
}

Collector::Owner Collector::owner_of(mt_process_key key) const {
    const auto slot = MT_PROCESS_SLOT(key);
    const Owner owner = slot < owners_.size() ? owners_[slot] : Owner{};
    return owner.process != nullptr && owner.process->key == key ? owner : Owner{};
}

void Collector::index_owners() {
    owners_.clear();
    for (auto& [pid, process] : followed_) {
        const auto slot = MT_PROCESS_SLOT(process.key);
        if (slot >= owners_.size()) {
            owners_.resize(slot + 1);
        }
        owners_[slot] = {pid, &process};
    }
}

// ---- ticks --------------------------------------------------------------------------------------------------------------------

void Collector::sample_usage(std::int32_t pid, Followed& process, const mt_counters& counters) {
    if (const auto usage = read_process_usage(pid)) {
        const auto cpu_ns = usage->cpu_ns - std::min(process.usage.cpu_ns, usage->cpu_ns);
        if (contract_) {
            mt_counters told = process.counters; // all but these stood still
            told.value[MT_COUNTER_contract_hits] = counters.value[MT_COUNTER_contract_hits];
            contract_->note_load(pid, monotonic_ns(), static_cast<double>(cpu_ns),
                                 tracer_.probe_ns(process.counters, told, cpu_ns, {contract_->program_ns(), 0, 0}));
        }
        process.probe_ns += tracer_.probe_ns(process.counters, counters, cpu_ns,
                                             {contract_ ? contract_->program_ns() : 0, told_ ? told_->program_ns() : 0,
                                              contract_ ? contract_->mapped_program_ns() : 0});
        process.usage = {process.id, usage->rss_bytes, usage->cpu_ns, process.probe_ns};
        sink_(process.usage);
    }
}

/// The stacks take a walk over the page tables: at most a thousandth of the time goes into that.
void Collector::sample_memory(std::int32_t pid, Followed& process, std::uint64_t now_ns) {
    constexpr std::uint64_t kStacksEvery = 60 * kNanosPerSecond;
    constexpr std::uint64_t kShare = 1000;
    const auto use = read_memory_use(pid);
    if (!use) {
        return; // it has just ended
    }
    auto& memory = process.memory;
    if (now_ns >= process.stacks_due_ns) {
        memory.stack_bytes = read_stack_bytes(pid).value_or(memory.stack_bytes);
        process.stacks_due_ns = now_ns + std::max(kStacksEvery, kShare * (monotonic_ns() - now_ns));
    }
    const auto limit = read_memory_limit(pid);
    memory = {process.id,         use->anon_bytes, use->file_bytes,   use->shmem_bytes, use->swap_bytes,
              memory.stack_bytes, limit.cgroup,    limit.limit_bytes, limit.used_bytes};
    sink_(memory);
}

void Collector::sample_process(std::int32_t pid, Followed& process) {
    auto counters = tracer_.read_counters(process.key);
    for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
        counters.value[i] -= std::min(counters.value[i], process.counted_before.value[i]);
    }
    counters.value[MT_COUNTER_late_objects] = process.late_objects;
    if (pages_) {
        pages_->add_counters(pid, counters);
    }
    if (contract_) {
        contract_->add_counters(pid, counters);
    }
    if (resources_) {
        resources_->add_counters(pid, counters);
    }
    sample_usage(pid, process, counters);
    for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
        if (counters.value[i] != process.counters.value[i] || !process.counters_told) {
            sink_(CounterSample{process.id, kCounters[i].name, counters.value[i], kCounters[i].loss});
        }
    }
    process.counters = counters;
    process.counters_told = true;
    if (process.folded_sites != process.folded_told) {
        process.folded_told = process.folded_sites;
        sink_(CounterSample{process.id, "sites_folded", process.folded_sites, false});
    }
}

Status Collector::sample_sites() {
    for (auto& [pid, process] : followed_) {
        process.sites.begin_sites();
    }
    return tracer_.read_sites([&](std::uint64_t key, const mt_site& site) {
        const auto owner = owner_of(site.process);
        if (site.allocs == 0 || owner.process == nullptr || owner.process->sites.see(key, site)) {
            return;
        }
        owner.process->sites.define(key, intern_site(owner.pid, *owner.process, site));
        owner.process->sites.see(key, site);
    });
}

Status Collector::sample_ages(std::uint64_t now_ns) {
    for (auto& [pid, process] : followed_) {
        process.sites.begin_ages(process.cohorts);
    }
    const auto aged_before_ns = now_ns - std::min(now_ns, options_.min_age_ns);
    return tracer_.read_live([&](const mt_live_key& key, const mt_live_block& block) {
        if (auto* process = owner_of(key.process).process) {
            if ((block.interval & MT_TOLD_WEIGHT) != 0) {
                note_told_interval(*process, block);
            }
            process->sites.see_block(block, tracer_.weigh(block), aged_before_ns, process->unwatched_ns);
        }
    });
}

Status Collector::tick(bool with_ages, bool with_memory) {
    ++tick_count_;
    const std::uint64_t now_ns = monotonic_ns();
    tracer_.update_costs(now_ns);
    index_owners();
    if (const auto error = unwind_.take_error()) {
        say(error->message);
    }
    if (told_) {
        told_->update_costs(now_ns);
    }
    if (contract_) {
        contract_->update_costs(now_ns);
        contract_->read_records();
    }
    if (resources_) {
        resources_->tick();
    }
    for (auto& [pid, process] : followed_) {
        sample_process(pid, process);
    }
    if (auto status = sample_sites(); !status) {
        return status;
    }
    if (with_ages) {
        if (auto status = sample_ages(now_ns); !status) {
            return status;
        }
    }
    for (auto& [pid, process] : followed_) {
        const auto allocated = process.sites.tell(sink_);
        load_bytes_ += listens(pid) ? 0 : static_cast<double>(allocated); // as take_load has it
        if (with_ages) {
            cut_cohorts(process.cohorts, now_ns);
            sink_(CohortsCut{process.id, process.cohorts});
        }
        if (with_memory || process.memory.anon_bytes == 0) {
            sample_memory(pid, process, now_ns);
        }
    }
    if (pages_) {
        if (auto status = pages_->tick(); !status) {
            return status;
        }
    }
    sink_(TickEnded{wall_ns(), now_ns});
    return {};
}

void Collector::keep_told_memory(const Model& model, std::uint64_t most_bytes) {
    std::vector<std::pair<std::int32_t, std::uint64_t>> kept;
    for (const auto& [pid, process] : followed_) {
        if (const auto* known = contract_ ? model.process(process.id) : nullptr; known != nullptr && known->contract) {
            kept.emplace_back(pid, known->references.kept_bytes());
        }
    }
    for (const auto& [pid, bytes] : kept) {
        contract_->note_memory(pid, bytes, most_bytes / kept.size());
    }
}

/// Blocks that are known are those of now only where all allocations are recorded and frees have never gone unwatched.
void Collector::place_handles(const Model& model) {
    for (auto& [pid, process] : followed_) {
        const auto* known = contract_ ? model.process(process.id) : nullptr;
        if (known == nullptr || !known->contract) {
            continue;
        }
        bool lost = false;
        for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
            lost = lost || (kCounters[i].loss && process.counters.value[i] != 0);
        }
        const bool exact = knobs_.mode == TraceMode::exact && watch_allocations_ && watch_frees_ && process.unwatched_ns == 0 &&
                           !listens(pid) && !process.started.sources.empty();
        process.handles.look(tracer_, {pid, process.id, process.key, exact, process.from_start && always_exact_ && !lost},
                             known->references, sink_);
    }
}

void Collector::resolve_symbols() {
    const auto arrivals = symbolizer_.take_debug_files();
    for (const auto& problem : arrivals.problems) {
        say(problem);
    }
    for (const auto module : arrivals.renamed) {
        const auto first = known_frames_.lower_bound(Frame{module, 0});
        const auto last = known_frames_.upper_bound(Frame{module, UINT64_MAX});
        unnamed_.insert(unnamed_.end(), first, last);
    }
    for (const auto& frame : unnamed_) {
        sink_(SymbolResolved{frame, symbolizer_.resolve(frame)});
    }
    unnamed_.clear();
}

void Collector::forget(ProcessId process) {
    const auto found = ended_modules_.find(process);
    if (found == ended_modules_.end()) {
        return;
    }
    for (const auto module : found->second) {
        known_frames_.erase(known_frames_.lower_bound(Frame{module, 0}), known_frames_.upper_bound(Frame{module, UINT64_MAX}));
        symbolizer_.forget(module);
    }
    ended_modules_.erase(found);
}

} // namespace memtrace
