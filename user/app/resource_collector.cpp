#include "app/resource_collector.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/clock.hpp"
#include "proc/resources.hpp"

namespace memtrace {

namespace {

/// Where the kernel does not count descriptors, they are listed once in so many ticks.
constexpr std::uint64_t kTicksPerLook = 10;
/// Ticks: what has been given out and not been heard of yet makes counts differ for a moment.
constexpr unsigned kDisagreement = 2;

constexpr const char* kFamilyNames[MT_RESOURCE_FAMILIES] = {"descriptors", "threads", "timers"};

HeldNumbers list_family(std::int32_t pid, std::size_t family) {
    return family == MT_RESOURCE_DESCRIPTOR ? list_descriptors(pid)
           : family == MT_RESOURCE_THREAD   ? list_threads(pid)
                                            : list_timers(pid);
}

HeldResources::About describe(std::int32_t pid, std::size_t family, std::uint32_t id) {
    if (family != MT_RESOURCE_DESCRIPTOR) {
        return {family == MT_RESOURCE_THREAD ? "os:thread" : "os:timer", ""};
    }
    auto info = describe_descriptor(pid, id);
    return info ? HeldResources::About{std::move(info->kind), std::move(info->name)} : HeldResources::About{};
}

/// Cut short, it ends in zeros.
std::optional<mt_named_resource_record> whole_record(std::span<const std::byte> bytes) {
    mt_named_resource_record record{};
    if (bytes.size() < sizeof(record.head) || bytes.size() > sizeof(record)) {
        return std::nullopt;
    }
    std::memcpy(&record, bytes.data(), bytes.size());
    record.name[MT_RESOURCE_NAME_BYTES - 1] = 0;
    return record.head.family < MT_RESOURCE_FAMILIES ? std::optional(record) : std::nullopt;
}

HeldResources::About describe(const mt_named_resource_record& record) {
    if (record.head.family != MT_RESOURCE_DESCRIPTOR) {
        return describe(0, record.head.family, 0);
    }
    return {descriptor_kind(record.head.mode, record.head.magic, record.name), record.name};
}

} // namespace

std::string family_names(ResourceFamilies families) {
    std::string names;
    for (std::size_t family = 0; family < MT_RESOURCE_FAMILIES; ++family) {
        if ((families >> family & 1) != 0) {
            names += (names.empty() ? "" : ", ") + std::string(kFamilyNames[family]);
        }
    }
    return names;
}

// ---- processes ----------------------------------------------------------------------------------------------------------------

void ResourceCollector::tell_started(std::int32_t pid, Followed& process) {
    process.descriptor_limit = descriptor_limit(pid);
    sink_(ResourcesStarted{process.id, {"resources: " + family_names(families_)}, process.descriptor_limit});
}

void ResourceCollector::begin(std::int32_t pid, Followed& process, ProcessId id, mt_process_key key) {
    process.id = id;
    process.key = key;
    for (std::size_t family = 0; family < MT_RESOURCE_FAMILIES; ++family) {
        if ((families_ >> family & 1) != 0) {
            process.held[family].emplace([this](const ResourceTold& event) { sink_(event); });
        }
    }
    tell_started(pid, process);
    (void)compare(pid, process); // what was there before
}

Status ResourceCollector::follow(std::int32_t pid, ProcessId id) {
    const auto key = tracer_.add_process(pid);
    if (!key) {
        return tl::unexpected(key.error());
    }
    begin(pid, followed_[pid], id, *key);
    return {};
}

void ResourceCollector::follow_image(std::int32_t pid, ProcessId id) {
    const auto found = followed_.find(pid);
    const auto key = found == followed_.end() ? std::nullopt : tracer_.adopt_image(pid);
    if (!key) {
        return;
    }
    Followed fresh;
    fresh.early = std::move(found->second.early);
    fresh.counters = found->second.counters;
    fresh.counters.replace_image();
    found->second = std::move(fresh);
    begin(pid, found->second, id, *key);
}

void ResourceCollector::deactivate(std::int32_t pid) {
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        tracer_.deactivate(pid);
        found->second.active = false;
    }
}

void ResourceCollector::end(std::int32_t pid) {
    if (followed_.erase(pid) != 0) {
        tracer_.remove_process(pid);
    }
}

void ResourceCollector::add_counters(std::int32_t pid, mt_counters& counters) {
    const auto found = followed_.find(pid);
    if (found == followed_.end()) {
        return;
    }
    auto& process = found->second;
    process.counters.add(tracer_.read_counters(process.key), counters);
    counters.value[MT_COUNTER_resources_records_lost] += process.early.lost();
    counters.value[MT_COUNTER_resources_found] += process.found;
}

// ---- records ------------------------------------------------------------------------------------------------------------------

StackId ResourceCollector::stack_of(std::int32_t pid, Followed& process, const mt_resource_record& head) {
    return stacks_.find(process.stacks, head.stack, head.code,
                        [&](std::uint64_t key) { return intern_(pid, tracer_.read_stack(key, head.code)); });
}

void ResourceCollector::apply(std::int32_t pid, Followed& process, const mt_named_resource_record& record) {
    const auto& head = record.head;
    auto& held = process.held[head.family];
    if (!held) {
        return;
    }
    ContractOrigin origin{process.id, head.time_ns, static_cast<std::int32_t>(head.tid), {}};
    switch (head.kind) {
    case MT_RESOURCE_ACQUIRED:
        origin.stack = stack_of(pid, process, head);
        held->acquired(head.id, describe(record), origin);
        break;
    case MT_RESOURCE_RELEASED:
        held->released(head.id, origin);
        break;
    case MT_RESOURCE_LOOK:
        process.look = true;
        break;
    default:
        break;
    }
}

void ResourceCollector::drain(const std::function<void(std::int32_t, Followed&, const mt_named_resource_record&)>& visit) {
    std::unordered_map<std::uint32_t, std::pair<std::int32_t, Followed*>> by_slot;
    for (auto& [pid, process] : followed_) {
        by_slot[MT_PROCESS_SLOT(process.key)] = {pid, &process};
    }
    tracer_.read_records([&](std::span<const std::byte> bytes) {
        const auto record = whole_record(bytes);
        const auto owner = record ? by_slot.find(MT_PROCESS_SLOT(record->head.key)) : by_slot.end();
        if (owner == by_slot.end()) {
            return; // it has ended
        }
        auto& [pid, process] = owner->second;
        if (record->head.key == process->key) {
            visit(pid, *process, *record);
        } else if (record->head.key > process->key) {
            process->early.add(*record);
        }
    });
}

void ResourceCollector::read_records() {
    drain([this](std::int32_t pid, Followed& process, const auto& record) { apply(pid, process, record); });
    tracer_.forget_stacks(stacks_.take_to_forget()); // now, when no record that waits may refer to one
}

// ---- what /proc has -----------------------------------------------------------------------------------------------------------

/// What moves while /proc is read is left to the records, which come in order.
std::uint64_t ResourceCollector::compare(std::int32_t pid, Followed& process) {
    auto records = process.early.take();
    std::erase_if(records, [&](const auto& record) { return record.head.key != process.key; });
    if (records.empty()) {
        read_records();
    }
    std::array<HeldNumbers, MT_RESOURCE_FAMILIES> listed;
    for (std::size_t family = 0; family < MT_RESOURCE_FAMILIES; ++family) {
        listed[family] = process.held[family] ? list_family(pid, family) : std::nullopt;
    }
    const ContractOrigin origin{process.id, monotonic_ns(), 0, {}};
    drain([&](std::int32_t owner, Followed& other, const auto& record) {
        if (owner == pid) {
            records.push_back(record);
        } else {
            apply(owner, other, record);
        }
    });
    Moving moving;
    for (const auto& record : records) {
        moving[record.head.family].insert(record.head.id);
    }
    std::uint64_t found = 0;
    for (std::size_t family = 0; family < MT_RESOURCE_FAMILIES; ++family) {
        // A process at its end has no descriptors and threads, and gave none back.
        if (listed[family] && (family == MT_RESOURCE_TIMER || !listed[family]->empty())) {
            found += process.held[family]->compare(*listed[family], moving[family], origin,
                                                   [&](std::uint32_t id) { return describe(pid, family, id); });
        }
    }
    for (const auto& record : records) {
        apply(pid, process, record);
    }
    return found;
}

bool ResourceCollector::should_look(std::int32_t pid, Followed& process) {
    const auto lost = tracer_.read_counters(process.key).value[MT_COUNTER_resources_records_lost];
    bool look = process.look || std::exchange(process.records_lost, lost) != lost;
    if (const auto& descriptors = process.held[MT_RESOURCE_DESCRIPTOR]) {
        const auto count = count_descriptors(pid);
        process.disagreed = count && *count != descriptors->size() ? process.disagreed + 1 : 0;
        look = look || process.disagreed >= kDisagreement || (!count && ticks_ % kTicksPerLook == 0);
    }
    return look;
}

void ResourceCollector::tick() {
    read_records();
    ++ticks_;
    for (auto& [pid, process] : followed_) {
        if (!process.active && !process.look) { // from now on nothing is heard, so differences mean nothing
            continue;
        }
        if (const auto limit = descriptor_limit(pid); limit != 0 && limit != process.descriptor_limit) {
            tell_started(pid, process);
        }
        if (should_look(pid, process)) {
            const bool asked = std::exchange(process.look, false);
            const auto found = compare(pid, process);
            process.found += asked ? 0 : found;
            process.disagreed = 0;
        }
    }
}

} // namespace memtrace
