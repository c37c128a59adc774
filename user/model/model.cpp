#include "model/model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

namespace memtrace {

namespace {

bool ascending(const std::vector<std::uint64_t>& values) {
    return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

/// Whether a counter of losses means that events of the contract tier are missing. A stack that is missing changes no figure.
bool loses_told(const std::string& counter) {
    return counter == "events_lost" || (counter.starts_with("contract_") && counter.find("stack") == std::string::npos);
}

} // namespace

void Model::apply(const Event& event) {
    std::visit([this](const auto& concrete) { on(concrete); }, event);
}

const std::vector<SymbolLine>* Model::symbol(const Frame& frame) const {
    const auto found = symbols_.find(frame);
    return found == symbols_.end() ? nullptr : &found->second;
}

void Model::on(const ProcessStarted& event) {
    auto [entry, fresh] = processes_.try_emplace(event.process);
    if (!fresh) { // told again, because more has been attached
        entry->second.about.sources = event.sources;
        return;
    }
    process_order_.push_back(event.process);
    auto& process = entry->second;
    process.about = event;
    process.report_mono_ns = event.attach_mono_ns;
    process.last_mono_ns = event.attach_mono_ns;
    process.cohorts = {event.attach_mono_ns};
}

void Model::on(const ProcessEnded& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    found->second.ended = event.reason;
    if (event.reason == EndReason::exited) {
        found->second.references.end();
    }
}

void Model::on(const ProcessForgotten& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end() || !found->second.ended) {
        ++ignored_;
        return;
    }
    for (const auto& site : found->second.sites) {
        sites_.erase(site.about.site);
    }
    for (const auto id : found->second.page_sites) {
        page_sites_.erase(id);
    }
    for (const auto id : found->second.stacks) {
        stacks_.erase(id);
    }
    for (const auto id : found->second.modules) {
        modules_.erase(id);
        symbols_.erase(symbols_.lower_bound(Frame{id, 0}), symbols_.upper_bound(Frame{id, UINT64_MAX}));
    }
    processes_.erase(found);
    std::erase(process_order_, event.process);
}

void Model::on(const ModuleMapped& event) {
    if (!processes_.contains(event.process)) {
        ++ignored_;
        return;
    }
    if (modules_.try_emplace(event.module).second) {
        processes_[event.process].modules.push_back(event.module);
    }
    modules_[event.module].about = event;
}

void Model::on(const StackDefined& event) {
    if (!processes_.contains(event.process)) {
        ++ignored_;
        return;
    }
    if (stacks_.try_emplace(event.stack).second) {
        processes_[event.process].stacks.push_back(event.stack);
    }
    stacks_[event.stack] = event;
}

void Model::on(const SiteDefined& event) {
    const auto process = processes_.find(event.process);
    if (process == processes_.end() || sites_.contains(event.site)) {
        ++ignored_;
        return;
    }
    auto& site = process->second.sites.emplace_back();
    site.about = event;
    site.changed_report = process->second.reports; // before that it held nothing
    site.live_bytes_history.fill(process->second.history.ticks, 0);
    sites_[event.site] = {&process->second, &site};
}

void Model::on(const SiteSample& event) {
    const auto found = sites_.find(event.site);
    if (found == sites_.end()) {
        ++ignored_;
        return;
    }
    auto& [process, site] = found->second;
    const auto before = site->live_bytes();
    if (site->changed_report != process->reports) {
        site->changed_report = process->reports;
        site->live_bytes_before = before;
    }
    site->live_bytes_history.fill(process->history.ticks, static_cast<float>(before));
    site->sample = event;
    process->live_bytes += site->live_bytes() - before;
}

void Model::on(const CohortsCut& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end() || event.starts.empty() || event.starts.size() > kMaxCohorts || !ascending(event.starts)) {
        ++ignored_;
        return;
    }
    auto& process = found->second;
    process.ages = {};
    for (auto& site : process.sites) {
        if (!site.sample.births.empty()) {
            site.survival.read(process.cohorts, site.sample.births, site.sample.allocs, event.starts.back());
            site.sample.births.clear();
        }
        site.survival.cut(process.cohorts, event.starts, site.sample.allocs);
        process.ages += site.survival.ages();
    }
    process.cohorts = event.starts;
}

void Model::on(const ProcessSample& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    auto& process = found->second;
    if (!process.sampled) { // rates are taken from the first sample on
        process.usage_at_report = event;
    }
    process.sampled = true;
    process.usage = event;
}

void Model::on(const MemorySample& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    found->second.memory = event;
}

void Model::on(const CounterSample& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    auto& process = found->second;
    auto& counter = process.counters[event.name];
    if (event.loss && event.value > counter.value && loses_told(event.name)) {
        process.references.lost(process.last_mono_ns);
        process.resources.lost(process.last_mono_ns);
    }
    counter.value = event.value;
    counter.loss = event.loss;
}

const char* trace_mode_name(TraceMode mode) {
    constexpr std::array kNames{"exact", "sampled", "windowed", "pages"};
    return kNames[static_cast<std::size_t>(mode)];
}

void Model::on(const ModeChanged& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    auto& process = found->second;
    process.mode = event;
    process.largest_interval_bytes = std::max(process.largest_interval_bytes, event.interval_bytes);
}

void Model::on(const TickEnded& event) {
    now_ = event;
    for (auto& [id, process] : processes_) {
        if (process.ended) {
            continue;
        }
        process.last_mono_ns = event.mono_ns;
        if (process.contract) {
            process.references.settle(event.mono_ns);
            process.resources.settle(event.mono_ns);
        }
        add_to_history(process);
    }
}

void Model::add_to_history(Process& process) {
    auto& history = process.history;
    const auto tick = ++history.ticks;
    process.resources.tick(tick);
    const auto add = [tick](Timeline& timeline, auto value) { timeline.add(tick, static_cast<float>(value)); };
    history.mono_ns.add(tick, process.last_mono_ns);
    add(history.live_bytes, process.live_bytes);
    add(history.rss_bytes, process.usage.rss_bytes);
    add(history.anon_bytes, process.memory.anon_bytes);
    add(history.file_bytes, process.memory.file_bytes);
    add(history.stack_bytes, process.memory.stack_bytes);
    add(history.cpu_s, static_cast<double>(process.usage.cpu_ns) / 1e9);
    const auto unmatched = process.counters.find("unmatched_frees");
    add(history.unmatched_frees, unmatched == process.counters.end() ? 0 : unmatched->second.value);
}

void Model::on(const ReportDue&) {
    for (auto& [id, process] : processes_) {
        ++process.reports;
        for (const auto site_id : process.page_sites) {
            auto& site = page_sites_[site_id];
            site.held_at_report = site.held_bytes();
        }
        for (auto& [name, counter] : process.counters) {
            counter.at_report = counter.value;
        }
        process.resources.reported();
        process.usage_at_report = process.usage;
        process.report_mono_ns = process.last_mono_ns;
    }
}

void Model::on(const PagesStarted& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    found->second.pages = event;
}

void Model::on(const PageSiteDefined& event) {
    const auto process = processes_.find(event.process);
    if (process == processes_.end() || page_sites_.contains(event.site)) {
        ++ignored_;
        return;
    }
    page_sites_[event.site].about = event;
    process->second.page_sites.push_back(event.site);
}

void Model::on(const PageSiteSample& event) {
    const auto found = page_sites_.find(event.site);
    if (found == page_sites_.end()) {
        ++ignored_;
        return;
    }
    found->second.sample = event;
}

void Model::on(const PageSample& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    found->second.page_totals = event;
}

Process* Model::told_of(ProcessId id) {
    const auto found = processes_.find(id);
    if (found == processes_.end() || !found->second.contract) {
        ++ignored_;
        return nullptr;
    }
    return &found->second;
}

void Model::on(const ContractStarted& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    const bool fewer = found->second.contract && found->second.contract->sampled_one_in < event.sampled_one_in;
    if (fewer && std::has_single_bit(event.sampled_one_in)) {
        found->second.references.keep_sample(event.sampled_one_in - 1);
    }
    found->second.contract = event;
}

void Model::on(const ResourcesStarted& event) {
    const auto found = processes_.find(event.process);
    if (found == processes_.end()) {
        ++ignored_;
        return;
    }
    found->second.kernel_resources = event;
}

void Model::on(const ObjectTold& event) {
    if (auto* process = told_of(event.origin.process)) {
        process->references.on(event);
    }
}

void Model::on(const ReferenceTold& event) {
    if (auto* process = told_of(event.origin.process)) {
        process->references.on(event);
    }
}

void Model::on(const StorageTold& event) {
    if (auto* process = told_of(event.origin.process)) {
        process->references.on(event);
    }
}

void Model::on(const ResourceTold& event) {
    const auto found = processes_.find(event.origin.process);
    if (found == processes_.end() ||
        !(event.of_kernel ? found->second.kernel_resources.has_value() : found->second.contract.has_value())) {
        ++ignored_;
        return;
    }
    found->second.resources.on(event);
}

void Model::on(const ResourceKindDefined& event) {
    if (auto* process = told_of(event.process)) {
        process->resources.on(event);
    }
}

void Model::on(const PoolTold& event) {
    if (auto* process = told_of(event.origin.process)) {
        process->resources.on(event);
    }
}

void Model::on(const CleanupTold& event) {
    if (auto* process = told_of(event.origin.process)) {
        process->resources.on(event);
    }
}

void Model::on(const ThreadEnded& event) {
    if (auto* process = told_of(event.process)) {
        process->resources.on(event);
    }
}

void Model::on(const HandlePlaced& event) {
    if (auto* process = told_of(event.process)) {
        process->references.on(event);
    }
}

} // namespace memtrace
