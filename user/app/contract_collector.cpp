#include "app/contract_collector.hpp"

#include <algorithm>
#include <cstring>

#include "app/contract_decode.hpp"

namespace memtrace {

namespace {

constexpr const char* kProvider = "memtrace";

/// "memtrace: object_create, ref_acquire, ..."
std::string describe(const std::set<std::string>& probes) {
    std::string text = std::string(kProvider) + ":";
    for (const auto& probe : probes) {
        text += (text.back() == ':' ? " " : ", ") + probe;
    }
    return text;
}

} // namespace

// ---- processes ----------------------------------------------------------------------------------------------------------------

void ContractCollector::tell_started(const Followed& process) {
    std::vector<std::string> sources = process.mapped.sources;
    if (!process.sources.empty()) {
        sources.insert(sources.begin(), describe(process.sources));
    }
    sink_(ContractStarted{process.id, std::move(sources), 1u << process.sampling.shift});
    for (const auto& kind : mapped_ ? mapped_->kinds(process.id, process.mapped) : std::vector<Event>()) {
        sink_(kind);
    }
}

bool ContractCollector::has_tracer() {
    if (const auto load = std::exchange(load_, nullptr)) {
        auto tracer = load();
        if (tracer) {
            tracer_ = std::move(*tracer);
        } else {
            say_("what the program tells of itself is not listened to: " + tracer.error().message);
        }
    }
    return tracer_.has_value();
}

/// All but `announce`: that comes when everything else listens. Ends before beginnings, as attaching takes some milliseconds for each
/// while the program runs: what is created meanwhile is not told, and announced, rather than told without its references. True where
/// anything is attached to.
bool ContractCollector::attach(std::int32_t pid, Followed& process, const UsdtObject& object) {
    bool any = false;
    std::uint16_t kind = 1;
    while (contract_probe_name(kind) != nullptr) {
        ++kind;
    }
    while (--kind != 0) {
        const auto* name = contract_probe_name(kind);
        if (kind == MT_CONTRACT_announce || !object.has_probe(name)) {
            continue;
        }
        if (auto status = tracer_->attach(pid, kind, path_of(object.file), process.next_object); !status) {
            say_(status.error().message);
            continue;
        }
        process.sources.insert(name);
        any = true;
    }
    return any;
}

void ContractCollector::attach_announced(std::int32_t pid, Followed& process, UsdtObject& object) {
    if (attach(pid, process, object) && object.has_probe(contract_probe_name(MT_CONTRACT_announce))) {
        process.announcers.push_back({std::move(object.file), process.next_object});
        ask(pid, process.announcers.back());
    }
    ++process.next_object;
}

/// Its semaphore asks; detached when the answer has come.
void ContractCollector::ask(std::int32_t pid, Announcer& announcer) {
    if (announcer.asked) {
        return;
    }
    if (auto status = tracer_->attach(pid, MT_CONTRACT_announce, path_of(announcer.file), announcer.number); !status) {
        say_(status.error().message + ": what is alive and was not told of stays unknown");
        return;
    }
    announcer.asked = true;
}

// ---- samples of objects -------------------------------------------------------------------------------------------------------

std::uint64_t ContractCollector::count_lost(const Followed& process) const {
    return tracer_->read_counters(process.key).value[MT_COUNTER_contract_records_lost];
}

void ContractCollector::keep_to(std::optional<double> budget) {
    budget_ = budget;
    for (auto& [pid, process] : followed_) {
        if (process.sources.empty()) {
            continue;
        }
        process.load = {}; // what was done and lost before is not held against the new budget
        process.load_ns = 0;
        process.lost_before = count_lost(process);
        if (!budget_ && process.sampling.shift != 0) {
            apply_sampling(pid, process, {}, "what the program tells is not sampled any more: all objects");
        }
    }
}

void ContractCollector::note_load(std::int32_t pid, std::uint64_t now_ns, double cpu_ns, double told_ns) {
    const auto found = followed_.find(pid);
    if (found == followed_.end() || found->second.sources.empty()) {
        return;
    }
    auto& process = found->second;
    if (!budget_ && process.most_kept_bytes == 0) {
        return;
    }
    const auto lost = count_lost(process);
    process.load.seconds += process.load_ns != 0 ? static_cast<double>(now_ns - process.load_ns) / 1e9 : 0;
    process.load_ns = now_ns;
    process.load.cpu_ns += cpu_ns;
    process.load.told_ns += told_ns;
    process.load.lost += lost - std::min<std::uint64_t>(process.lost_before, lost);
    process.lost_before = lost;
    if (process.load.seconds < 1) {
        return;
    }
    auto load = std::exchange(process.load, {});
    load.lost = budget_ ? load.lost : 0; // then nothing but memory counts
    load.kept_bytes = process.kept_bytes;
    load.most_kept_bytes = process.most_kept_bytes;
    const auto decision = sample_contract(process.sampling, budget_.value_or(0), load);
    if (decision.changed) {
        apply_sampling(pid, process, decision.state, decision.reason);
    } else {
        process.sampling = decision.state;
    }
}

void ContractCollector::note_memory(std::int32_t pid, std::uint64_t kept_bytes, std::uint64_t most_kept_bytes) {
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        found->second.kept_bytes = kept_bytes;
        found->second.most_kept_bytes = most_kept_bytes;
    }
}

void ContractCollector::apply_sampling(std::int32_t pid, Followed& process, const ContractSampling& sampling,
                                       const std::string& reason) {
    const bool more = sampling.shift < process.sampling.shift;
    process.sampling = sampling;
    tracer_->set_sample(pid, (1u << sampling.shift) - 1);
    say_("process " + std::to_string(pid) + ": " + reason);
    tell_started(process);
    for (auto& announcer : process.announcers) {
        if (more) { // of those that are in the sample now nothing is known yet
            ask(pid, announcer);
        }
    }
}

bool ContractCollector::is_left_out(const Followed& process, std::span<const std::byte> record, const mt_contract_record& head) {
    std::uint64_t object = 0;
    if (process.sampling.shift == 0 || !is_of_object(head.kind) || record.size() < sizeof(head) + sizeof(object)) {
        return false;
    }
    std::memcpy(&object, record.data() + sizeof(head), sizeof(object));
    return mt_in_sample(object, (1u << process.sampling.shift) - 1) == 0;
}

// ---- processes, continued -----------------------------------------------------------------------------------------------------

void ContractCollector::look(std::int32_t pid, ProcessId id, const std::vector<Mapping>& mappings) {
    auto& process = followed_[pid];
    process.id = id;
    auto objects = find_usdt_objects(pid, mappings, kProvider, process.seen);
    const auto mapped = mapped_ ? mapped_->find(pid, mappings, process.mapped) : std::vector<MappedObject>();
    if ((objects.empty() && mapped.empty()) || !has_tracer()) {
        return;
    }
    if (process.key == 0) {
        const auto key = tracer_->add_process(pid);
        if (!key) {
            say_(key.error().message);
            return;
        }
        process.key = *key;
    }
    const auto known = process.sources.size() + process.mapped.sources.size();
    for (auto& object : objects) {
        attach_announced(pid, process, object);
    }
    for (const auto& object : mapped) {
        mapped_->attach(pid, object, tracer_->maps(), process.mapped);
    }
    if (process.sources.size() + process.mapped.sources.size() != known) {
        tell_started(process);
    }
}

void ContractCollector::follow_image(std::int32_t pid, ProcessId id, const std::vector<Mapping>& mappings) {
    const auto found = followed_.find(pid);
    if (found == followed_.end()) {
        look(pid, id, mappings);
        return;
    }
    auto& process = found->second;
    const auto early = process.early.take();
    process.id = id;
    process.stacks = {};
    process.mapped.ledger = {};
    if (const auto key = process.key != 0 ? tracer_->adopt_image(pid) : std::nullopt) {
        process.key = *key;
        process.counters.replace_image();
        tell_started(process); // the files that the new image has too are attached to
    }
    for (const auto& record : early) {
        if (const auto head = contract_head(record); head && head->key == process.key) {
            apply(pid, process, record, *head);
        }
    }
    look(pid, id, mappings);
}

void ContractCollector::deactivate(std::int32_t pid) {
    if (const auto found = followed_.find(pid); found != followed_.end() && found->second.key != 0) {
        tracer_->deactivate(pid);
        if (mapped_) {
            mapped_->end(pid);
        }
    }
}

void ContractCollector::end(std::int32_t pid) {
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        if (found->second.key != 0) {
            tracer_->remove_process(pid);
        }
        if (mapped_) {
            mapped_->end(pid);
        }
        followed_.erase(found);
    }
}

void ContractCollector::add_counters(std::int32_t pid, mt_counters& counters) {
    const auto found = followed_.find(pid);
    if (found == followed_.end() || found->second.key == 0) {
        return;
    }
    auto& process = found->second;
    process.counters.add(tracer_->read_counters(process.key), counters);
    counters.value[MT_COUNTER_contract_records_lost] += process.early.lost();
}

// ---- records ------------------------------------------------------------------------------------------------------------------

StackId ContractCollector::stack_of(std::int32_t pid, Followed& process, const mt_contract_record& head) {
    return stacks_.find(process.stacks, head.stack, head.code,
                        [&](std::uint64_t key) { return intern_(pid, tracer_->read_stack(key, head.code)); });
}

void ContractCollector::apply(std::int32_t pid, Followed& process, std::span<const std::byte> record,
                              const mt_contract_record& head) {
    if (const auto version = other_contract(record); version && process.misunderstood.insert(head.object).second) {
        say_("process " + std::to_string(pid) + " tells of itself by version " + std::to_string(*version) +
             " of the probes, memtrace knows version " + std::to_string(kContractVersion) + ": what it tells is left out");
    }
    if (head.kind == MT_CONTRACT_announce_end) {
        tracer_->detach(pid, MT_CONTRACT_announce, head.object);
        for (auto& announcer : process.announcers) {
            announcer.asked = announcer.asked && announcer.number != head.object;
        }
        return;
    }
    const bool by_probe = head.kind != MT_CONTRACT_MAPPED; // else its object is another number
    if ((by_probe && process.misunderstood.contains(head.object)) || is_left_out(process, record, head)) {
        return;
    }
    const ContractOrigin origin{process.id, head.time_ns, static_cast<std::int32_t>(head.tid), stack_of(pid, process, head)};
    const auto event = head.kind == MT_CONTRACT_MAPPED && mapped_ ? mapped_->decode(record, head.object, origin, process.mapped)
                                                                  : decode_contract(record, origin);
    if (event) {
        sink_(*event);
    }
}

void ContractCollector::read_records() {
    if (!tracer_) {
        return;
    }
    std::unordered_map<std::uint32_t, std::pair<std::int32_t, Followed*>> by_slot;
    for (auto& [pid, process] : followed_) {
        if (process.key != 0) {
            by_slot[MT_PROCESS_SLOT(process.key)] = {pid, &process};
        }
    }
    tracer_->read_records([&](std::span<const std::byte> record) {
        const auto head = contract_head(record);
        const auto owner = head ? by_slot.find(MT_PROCESS_SLOT(head->key)) : by_slot.end();
        if (owner == by_slot.end()) {
            return; // it has ended
        }
        auto& [pid, process] = owner->second;
        if (head->key == process->key) {
            apply(pid, *process, record, *head);
        } else if (head->key > process->key) {
            process->early.add({record.begin(), record.end()});
        }
    });
    tracer_->forget_stacks(stacks_.take_to_forget()); // now, when no record that waits may refer to one
}

} // namespace memtrace
