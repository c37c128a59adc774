// Collector, the second half: stacks, sites and what is read on every tick.
#include <algorithm>
#include <cmath>

#include "app/collector.hpp"
#include "app/message.hpp"
#include "base/clock.hpp"
#include "model/survival_table.hpp"
#include "proc/memory.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr const char* kOverflowFunction = "(more call sites than the site table holds)";

bool same(const SiteSample& a, const SiteSample& b) {
    return a.allocs == b.allocs && a.frees == b.frees && a.aged_objects == b.aged_objects && a.aged_bytes == b.aged_bytes &&
           a.oldest_ns == b.oldest_ns && a.live_bytes_variance == b.live_bytes_variance &&
           a.unverified_objects == b.unverified_objects && (a.births.empty() || a.births == b.births);
}

/// The kernel half counts objects in units of 2^-16, because a sampled one may stand for 7.3 others.
std::uint64_t whole_objects(std::uint64_t scaled) {
    return (scaled + MT_OBJECT_ONE / 2) >> MT_OBJECT_SHIFT;
}

/// A sum of variances; read while others add and take off, it may be below zero for a moment.
double variance(std::uint64_t sum, int shift) {
    const auto value = static_cast<std::int64_t>(sum);
    return value > 0 ? std::ldexp(static_cast<double>(value), shift) : 0;
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
    auto [entry, fresh] = process.stacks.try_emplace({frames, truncated});
    if (fresh) {
        entry->second = StackId{next_stack_++};
        for (const auto& frame : frames) {
            if (known_frames_.insert(frame).second) {
                unnamed_.push_back(frame);
            }
        }
        sink_(StackDefined{entry->second, process.id, truncated, frames});
    }
    return entry->second;
}

SiteId Collector::intern_site(std::int32_t pid, Followed& process, std::uint64_t key, const mt_site& site) {
    if (const auto found = process.sites.find(key); found != process.sites.end()) {
        return found->second;
    }
    const bool overflow = site.function == MT_SITE_OVERFLOW;
    const StackId stack = overflow ? StackId{} : intern_stack(pid, process, site);
    auto [entry, fresh] = process.sites_by_stack.try_emplace({stack, site.function});
    if (fresh) {
        entry->second = SiteId{static_cast<std::uint32_t>(sent_samples_.size())};
        sent_samples_.emplace_back().site = entry->second;
        const std::uint16_t function = unpack_function(site.function);
        const std::uint16_t label = unpack_label(site.function);
        const std::string name = function == kToldFunctionIndex && !overflow       ? kToldFunction
                                 : overflow || function >= function_table().size() ? kOverflowFunction
                                                                                   : function_table()[function].name;
        sink_(SiteDefined{entry->second, process.id, stack, overflow || label >= allocators_.size() ? "" : allocators_[label],
                          name});
    }
    process.sites[key] = entry->second;
    return entry->second;
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
}

Status Collector::sample_sites() {
    if (sent_samples_.empty()) {
        sent_samples_.emplace_back(); // id 0 means none
    }
    samples_.assign(sent_samples_.size(), {});
    cohorts_.assign(samples_.size(), 0);
    return tracer_.read_sites([&](std::uint64_t key, const mt_site& site) {
        const auto owner = owner_of(site.process);
        if (site.allocs == 0 || owner.process == nullptr) {
            return;
        }
        const auto id = intern_site(owner.pid, *owner.process, key, site);
        if (id.value >= samples_.size()) {
            samples_.resize(sent_samples_.size());
            cohorts_.resize(samples_.size());
        }
        cohorts_[id.value] = owner.process->cohorts.size();
        auto& sample = samples_[id.value];
        sample.site = id;
        sample.allocs += whole_objects(site.allocs);
        sample.frees += whole_objects(site.frees);
        sample.allocated_bytes += site.allocated_bytes;
        sample.freed_bytes += site.freed_bytes;
        sample.live_bytes_variance += variance(site.bytes_variance, MT_BYTES_VARIANCE_SHIFT);
        sample.live_objects_variance += variance(site.objects_variance, -MT_OBJECTS_VARIANCE_SHIFT);
    });
}

Status Collector::sample_ages(std::uint64_t now_ns) {
    aged_objects_.assign(samples_.size(), 0);
    births_.assign(samples_.size() * kMaxCohorts, 0);
    const auto status = tracer_.read_live([&](const mt_live_key& key, const mt_live_block& block) {
        auto* process = owner_of(key.process).process;
        if (process == nullptr) {
            return;
        }
        if ((block.interval & MT_TOLD_WEIGHT) != 0) {
            note_told_interval(*process, block);
        }
        const auto found = process->sites.find(block.site);
        if (found == process->sites.end()) {
            return; // its site was made after the sites were read
        }
        auto& sample = samples_[found->second.value];
        if (sample.oldest_ns == 0 || block.born_ns < sample.oldest_ns) {
            sample.oldest_ns = block.born_ns;
        }
        const auto weight = tracer_.weigh(block);
        const auto& starts = process->cohorts;
        const auto next = std::upper_bound(starts.begin() + 1, starts.end(), block.born_ns); // none is older than the first
        births_[found->second.value * kMaxCohorts + static_cast<std::size_t>(next - starts.begin() - 1)] += weight.objects;
        if (block.born_ns + options_.min_age_ns <= now_ns) {
            aged_objects_[found->second.value] += weight.objects;
            sample.aged_bytes += weight.bytes;
        }
        if (block.born_ns < process->unwatched_ns) {
            sample.unverified_objects += whole_objects(weight.objects);
            sample.unverified_bytes += weight.bytes;
        }
    });
    for (std::size_t i = 0; i < samples_.size(); ++i) {
        auto& sample = samples_[i];
        sample.aged_objects = whole_objects(aged_objects_[i]);
        if (sample.oldest_ns == 0 && sent_samples_[i].births.empty()) {
            continue; // nothing of it is live, nor was it
        }
        for (std::size_t cohort = 0; cohort < cohorts_[i]; ++cohort) {
            sample.births.push_back(whole_objects(births_[i * kMaxCohorts + cohort]));
        }
    }
    return status;
}

void Collector::tell_sites(bool with_ages) {
    for (auto& sample : samples_) {
        if (!sample.site) {
            continue;
        }
        auto& sent = sent_samples_[sample.site.value];
        if (!with_ages) {
            sample.aged_objects = sent.aged_objects;
            sample.aged_bytes = sent.aged_bytes;
            sample.oldest_ns = sent.oldest_ns;
            sample.unverified_objects = sent.unverified_objects;
            sample.unverified_bytes = sent.unverified_bytes;
        }
        if (same(sample, sent)) {
            continue;
        }
        sink_(sample);
        if (sample.births.empty()) {
            sample.births = std::move(sent.births);
        }
        sent = sample;
    }
}

Status Collector::tick(bool with_ages) {
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
    tell_sites(with_ages);
    for (auto& [pid, process] : followed_) {
        if (with_ages) {
            cut_cohorts(process.cohorts, now_ns);
            sink_(CohortsCut{process.id, process.cohorts});
        }
        if (with_ages || process.memory.anon_bytes == 0) {
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

} // namespace memtrace
