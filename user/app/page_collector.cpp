#include "app/page_collector.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace memtrace {

namespace {

bool same(const PageSiteSample& a, const PageSiteSample& b) {
    return a.bytes == b.bytes && a.returned_bytes == b.returned_bytes && a.events == b.events;
}

bool same(const PageSample& a, const PageSample& b) {
    return a.faulted_bytes == b.faulted_bytes && a.returned_bytes == b.returned_bytes && a.mapped_bytes == b.mapped_bytes &&
           a.unmapped_bytes == b.unmapped_bytes;
}

} // namespace

Status PageCollector::follow(std::int32_t pid, ProcessId id) {
    const auto key = tracer_.add_process(pid);
    if (!key) {
        return tl::unexpected(key.error());
    }
    auto& process = followed_[pid];
    process.id = id;
    process.key = *key;
    process.sent.process = id;
    sink_(PagesStarted{id, {source()}});
    return {};
}

void PageCollector::follow_image(std::int32_t pid, ProcessId id) {
    const auto found = followed_.find(pid);
    const auto key = found == followed_.end() ? std::nullopt : tracer_.adopt_image(pid);
    if (!key) {
        return;
    }
    forget_stacks(found->second);
    auto early = std::move(found->second.early);
    auto& process = found->second = {};
    process.id = id;
    process.key = *key;
    process.sent.process = id;
    sink_(PagesStarted{id, {source()}});
    for (const auto& record : early.take()) {
        if (record.key == process.key) {
            apply(pid, process, record);
        } else {
            tracer_.forget_stack(record.stack);
        }
    }
    process.early = std::move(early); // how many there were too many
}

void PageCollector::end(std::int32_t pid) {
    const auto found = followed_.find(pid);
    if (found == followed_.end()) {
        return;
    }
    forget_stacks(found->second);
    for (const auto& record : found->second.early.take()) {
        tracer_.forget_stack(record.stack);
    }
    followed_.erase(found);
    tracer_.remove_process(pid);
}

void PageCollector::add_counters(std::int32_t pid, mt_counters& counters) const {
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        const auto own = tracer_.read_counters(found->second.key);
        for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
            counters.value[i] += own.value[i];
        }
        counters.value[MT_COUNTER_pages_records_lost] += found->second.early.lost();
    }
}

// ---- stacks and sites ---------------------------------------------------------------------------------------------------------

StackId PageCollector::stack_of(std::int32_t pid, Followed& process, std::uint64_t stack, std::uint64_t code) {
    if (code == 0) { // what found no room, or a thread without user code
        return {};
    }
    auto [entry, fresh] = process.stacks.try_emplace({stack, code});
    if (fresh) {
        entry->second = intern_(pid, tracer_.read_stack(stack, code));
    }
    return entry->second;
}

/// The model knows them; the kernel half keeps them for others only.
void PageCollector::forget_stacks(const Followed& process) {
    for (const auto& [key, stack] : process.stacks) {
        tracer_.forget_stack(key.first);
    }
}

PageSiteId PageCollector::site_of(Followed& process, StackId stack, PageKind kind) {
    auto [entry, fresh] = process.sites.try_emplace({stack, kind});
    if (fresh) {
        entry->second = PageSiteId{next_site_++};
        sink_(PageSiteDefined{entry->second, process.id, stack, kind});
    }
    return entry->second;
}

void PageCollector::tell(Followed& process, const PageSiteSample& sample) {
    auto& told = process.told[sample.site];
    if (!same(sample, told)) {
        sink_(sample);
        told = sample;
    }
}

// ---- the address space --------------------------------------------------------------------------------------------------------

void PageCollector::apply(std::int32_t pid, Followed& process, const mt_page_record& record) {
    const auto end = record.address + record.length;
    const auto site = [&](PageKind kind) { return site_of(process, stack_of(pid, process, record.stack, record.code), kind); };
    switch (record.kind) {
    case MT_PAGE_MAP:
        process.regions.map(record.address, end, site(PageKind::mmap), record.time_ns);
        break;
    case MT_PAGE_UNMAP:
        process.regions.unmap(record.address, end, record.begun_ns);
        break;
    case MT_PAGE_MOVE:
        process.regions.unmap(record.old_address, record.old_address + record.old_length, record.begun_ns);
        process.regions.map(record.address, end, site(PageKind::mmap), record.time_ns);
        break;
    case MT_PAGE_BREAK:
        if (record.address > record.old_address) {
            process.regions.map(record.old_address, record.address, site(PageKind::brk), record.time_ns);
        } else {
            process.regions.unmap(record.address, record.old_address, record.begun_ns);
        }
        break;
    default:
        break;
    }
}

void PageCollector::read_records() {
    std::unordered_map<std::uint32_t, std::pair<std::int32_t, Followed*>> by_slot;
    for (auto& [pid, process] : followed_) {
        by_slot[MT_PROCESS_SLOT(process.key)] = {pid, &process};
    }
    tracer_.read_records([&](const mt_page_record& record) {
        const auto owner = by_slot.find(MT_PROCESS_SLOT(record.key));
        if (owner == by_slot.end()) {
            tracer_.forget_stack(record.stack); // it has ended
            return;
        }
        auto& [pid, process] = owner->second;
        if (record.key == process->key) {
            apply(pid, *process, record);
        } else if (record.key > process->key) {
            process->early.add(record);
        } else {
            tracer_.forget_stack(record.stack);
        }
    });
}

// ---- ticks --------------------------------------------------------------------------------------------------------------------

Status PageCollector::sample_faults() {
    std::unordered_map<mt_process_key, std::pair<std::int32_t, Followed*>> by_key;
    for (auto& [pid, process] : followed_) {
        by_key[process.key] = {pid, &process};
    }
    std::map<std::pair<ProcessId, PageSiteId>, Followed*> changed; // few of thousands
    auto status = tracer_.read_sites([&](std::uint64_t key, const mt_page_site& site) {
        const auto owner = by_key.find(site.process);
        if (site.events == 0 || owner == by_key.end()) {
            return;
        }
        auto& [pid, process] = owner->second;
        auto [known, fresh] = process->fault_sites.try_emplace(key);
        auto& fault = known->second;
        if (fresh) {
            fault.site = site_of(*process, stack_of(pid, *process, site.stack, site.code), PageKind::fault);
        }
        if (fault.bytes == site.bytes && fault.events == site.events) {
            return;
        }
        auto& sum = process->told[fault.site]; // stacks that differ only in what was cut off them are one site
        sum.site = fault.site;
        sum.bytes += site.bytes - fault.bytes;
        sum.events += site.events - fault.events;
        fault.bytes = site.bytes;
        fault.events = site.events;
        changed[{process->id, fault.site}] = process;
    });
    for (const auto& [id, process] : changed) {
        sink_(process->told[id.second]);
    }
    return status;
}

void PageCollector::sample_regions() {
    for (auto& [pid, process] : followed_) {
        for (const auto& [site, usage] : process.regions.usage()) {
            if (site) {
                tell(process, {site, usage.mapped_bytes, usage.unmapped_bytes, usage.events});
            }
        }
    }
}

void PageCollector::sample_totals() {
    for (auto& [pid, process] : followed_) {
        const auto kernel = tracer_.read_process(pid);
        if (!kernel || kernel->key != process.key) {
            continue; // it has execed: what it says now is the new image's
        }
        const auto& mapped = process.regions.total();
        const PageSample sample{process.id, kernel->faulted_bytes, kernel->returned_bytes, mapped.mapped_bytes,
                                mapped.unmapped_bytes};
        if (!same(sample, process.sent)) {
            sink_(sample);
            process.sent = sample;
        }
    }
}

Status PageCollector::tick() {
    read_records();
    if (auto status = sample_faults(); !status) {
        return status;
    }
    sample_regions();
    sample_totals();
    tracer_.make_room([this] {
        read_records();
        std::set<std::uint64_t> early;
        for (const auto& [pid, process] : followed_) {
            for (const auto& record : process.early.records()) {
                early.insert(record.stack);
            }
        }
        return early;
    });
    return {};
}

} // namespace memtrace
