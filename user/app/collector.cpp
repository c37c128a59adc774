#include "app/collector.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <thread>

#include "app/message.hpp"
#include "app/unwinding.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

/// "libc.so.6: malloc, calloc, ..."
std::string describe_object(const ProbeObject& object) {
    std::string text = base_name(object.path) + ":";
    for (const auto& point : object.points) {
        text += (text.back() == ':' ? " " : ", ") + point.symbol;
    }
    return text;
}

constexpr auto kTablesPatience = std::chrono::seconds(2);    ///< 50 to 100 ms on an idle machine
constexpr auto kTablesSlice = std::chrono::milliseconds(10); ///< others are followed meanwhile
constexpr auto kLastCallsPatience = std::chrono::seconds(2); ///< a call that sleeps for so long will hardly throw

} // namespace

Collector::~Collector() {
    if (!released_) { // an error has ended the run
        deactivate_all();
    }
}

std::uint16_t Collector::allocator_index(const std::string& name) {
    const auto found = std::find(allocators_.begin(), allocators_.end(), name);
    if (found == allocators_.end()) {
        allocators_.push_back(name);
        return static_cast<std::uint16_t>(allocators_.size() - 1);
    }
    return static_cast<std::uint16_t>(found - allocators_.begin());
}

// ---- processes ----------------------------------------------------------------------------------------------------------------

Status Collector::follow(std::int32_t pid, Stage stage, bool children) {
    if (followed_.contains(pid)) {
        return {};
    }
    Followed process;
    process.from_start = stage == Stage::held;
    auto pidfd = open_pidfd(pid);
    if (!pidfd) {
        return tl::unexpected(pidfd.error());
    }
    process.pidfd = std::move(*pidfd);
    auto key = tracer_.add_process(pid, children);
    if (!key) {
        return tl::unexpected(key.error());
    }
    process.key = *key;
    if (auto status = start_process(pid, process, stage); !status) {
        unwind_.forget(process.key);
        if (told_) {
            told_->forget(pid);
        }
        release({process.key});
        tracer_.remove_process(process.key);
        return status;
    }
    if (pages_) {
        if (auto status = pages_->follow(pid, process.id); !status) {
            say(status.error().message);
        }
    }
    const auto id = process.id;
    followed_[pid] = std::move(process);
    look_for_contract(pid, id);
    if (resources_) {
        if (auto status = resources_->follow(pid, id); !status) {
            say(status.error().message);
        }
    }
    return {};
}

void Collector::look_for_contract(std::int32_t pid, ProcessId id) {
    if (const auto mappings = contract_ ? read_maps(pid) : Result<std::vector<Mapping>>(); mappings && !mappings->empty()) {
        contract_->look(pid, id, *mappings);
    }
}

Status Collector::start_process(std::int32_t pid, Followed& process, Stage stage) {
    const auto info = read_process_info(pid);
    if (!info) {
        return tl::unexpected(info.error());
    }
    auto mappings = read_maps(pid);
    if (!mappings) {
        return tl::unexpected(mappings.error());
    }
    process.id = ProcessId{next_process_++};
    // What is mapped before the linker's hook is in place tells nobody: hence another look behind it.
    for (std::size_t known = ~std::size_t{0}; known != process.seen.size();) {
        known = process.seen.size();
        if (auto status = attach_objects(pid, process, *mappings); !status) {
            return status;
        }
        if (auto now = read_maps(pid); now && !now->empty()) {
            mappings = std::move(now);
        }
    }
    const bool has_libraries = stage == Stage::running || !has_linker(*mappings);
    if (auto status = look_for_told_heap(pid, process, *mappings, has_libraries); !status) {
        return status;
    }
    if (process.started.sources.empty() && stage == Stage::running) {
        if (auto status = miss_allocator(pid, info->comm); !status) {
            return status;
        }
    }
    process.started = {process.id, pid,       info->start_wall_ns, monotonic_ns(),         process.from_start,
                       info->comm, info->exe, info->cmdline,       process.started.sources};
    process.cohorts = {process.started.attach_mono_ns};
    sink_(process.started);
    tell_mode(process);
    tracer_.set_sampling(process.key, knobs_.interval_bytes);
    if (auto status = set_probes(pid, process); !status) {
        return status;
    }
    process.load_counters = tracer_.read_counters(process.key); // those of the kernel half, which counts on through an exec
    sample_usage(pid, process, process.counters);               // what rates begin with
    learn_modules(pid, process, *mappings);
    return {};
}

Status Collector::miss_allocator(std::int32_t pid, const std::string& comm) const {
    const bool any = options_.allocator == "auto";
    if (const auto half = told_ && options_.allocator == kToldAllocator ? told_->one_sided(pid) : ""; !half.empty()) {
        return fail("process " + std::to_string(pid) + " (" + comm + ") does not tell of its heap: " + half);
    }
    const std::string text = "process " + std::to_string(pid) + " (" + comm + ") has no function of " +
                             (any ? "malloc and its family" : "the allocator " + options_.allocator) +
                             " that can be found: a stripped static program? See memtrace probes --pid " + std::to_string(pid);
    if (!any || !pages_) {
        return fail(text);
    }
    say(text + "; following the growth of its pages only");
    return {};
}

void Collector::watch_pages(PageTracer& tracer) {
    pages_.emplace(tracer, sink_, interner());
}

void Collector::watch_contract(ContractCollector::Load load, std::optional<MappedCollector> recipes) {
    contract_.emplace(std::move(load), sink_, interner(), [](const std::string& text) { say(text); });
    if (recipes) {
        contract_->follow_recipes(std::move(*recipes));
    }
}

void Collector::watch_resources(ResourceTracer& tracer, ResourceFamilies families) {
    resources_.emplace(tracer, families, sink_, interner());
}

std::function<StackId(std::int32_t, const mt_stack&)> Collector::interner() {
    return [this](std::int32_t pid, const mt_stack& stack) {
        const auto found = followed_.find(pid);
        return found == followed_.end() ? StackId{} : intern_addresses(pid, found->second, stack);
    };
}

Status Collector::attach_objects(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings) {
    auto objects = find_probe_objects(pid, mappings, options_.allocator, process.seen);
    if (!objects) {
        return tl::unexpected(objects.error());
    }
    for (auto& object : *objects) {
        object.label = allocator_index(object.allocator);
        if (auto status = tracer_.attach(process.key, pid, object); !status) {
            return status;
        }
        if (!object.points.empty()) {
            process.started.sources.push_back(describe_object(object));
        }
    }
    return {};
}

void Collector::learn_modules(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings) {
    unwind_.map(process.key, pid, mappings);
    process.code.learn(pid, mappings, [&](const Mapping& mapping, const std::string& open_path, const ElfFile* elf) {
        const ModuleId module{next_module_++};
        process.modules.push_back(module);
        sink_(ModuleMapped{module, process.id, mapping.path, elf != nullptr ? elf->build_id : ""});
        process.program = mapping.path == process.started.exe ? module : process.program;
        symbolizer_.add_module(module, {mapping.path, open_path, "/proc/" + std::to_string(pid) + "/root", -1});
        return module;
    });
}

void Collector::await_tables() {
    const auto deadline = std::chrono::steady_clock::now() + kTablesPatience; // what is not there by then comes while tracing
    while (!unwind_.wait(kTablesSlice) && std::chrono::steady_clock::now() < deadline) {
        read_records();
    }
}

/// What cannot wait: rings that fill, threads that are stopped until their return addresses are there.
void Collector::read_records() {
    take_kernel_events();
    if (pages_) {
        pages_->read_records();
    }
    if (contract_) {
        contract_->read_records();
    }
    if (resources_) {
        resources_->read_records();
    }
}

void Collector::activate(std::int32_t pid) {
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        tracer_.activate(found->second.key);
        if (pages_) {
            pages_->activate(pid);
        }
    }
}

void Collector::rescan(std::int32_t pid, bool held) {
    const auto found = followed_.find(pid);
    const auto mappings = read_maps(pid);
    if (found == followed_.end() || !mappings || mappings->empty()) {
        return; // it is ending: its pidfd says so
    }
    const auto sources = found->second.started.sources.size();
    (void)attach_objects(pid, found->second, *mappings);
    if (auto status = look_for_told_heap(pid, found->second, *mappings, false); !status) {
        say(status.error().message);
    }
    if (const auto now = found->second.started.sources.size(); now != sources) {
        found->second.late_objects += held || sources == 0 ? 0 : now - sources; // the first ones begin it
        sink_(found->second.started);
    }
    learn_modules(pid, found->second, *mappings);
    if (contract_) {
        contract_->look(pid, found->second.id, *mappings);
    }
    if (held) {
        await_tables();
    }
    found->second.libraries_to_come = false;
    found->second.last_rescan_tick = tick_count_;
}

void Collector::end(std::int32_t pid, EndReason reason) {
    const auto found = followed_.find(pid);
    if (found == followed_.end()) {
        return;
    }
    tell_end(found->second, reason);
    unwind_.forget(found->second.key);
    tracer_.remove_process(found->second.key);
    if (told_) {
        told_->forget(pid);
    }
    if (pages_) {
        pages_->end(pid);
    }
    if (contract_) {
        contract_->end(pid);
    }
    if (resources_) {
        resources_->end(pid);
    }
    put_by(found->second);
    followed_.erase(found);
}

void Collector::put_by(Followed& process) {
    sites_ -= process.sites.sites();
    ended_modules_[process.id] = std::move(process.modules);
}

void Collector::tell_end(const Followed& process, EndReason reason) {
    if (process.libraries_to_come) {
        sink_(CounterSample{process.id, "unseen_images", 1, true});
    }
    sink_(ProcessEnded{process.id, reason});
}

void Collector::deactivate_all() {
    released_ = true;
    std::vector<std::int32_t> pids;
    for (const auto& [pid, process] : followed_) {
        pids.push_back(pid);
    }
    deactivate(pids);
}

void Collector::deactivate(const std::vector<std::int32_t>& pids) {
    std::vector<mt_process_key> keys;
    for (const auto pid : pids) {
        if (const auto found = followed_.find(pid); found != followed_.end()) {
            tracer_.deactivate(found->second.key);
            keys.push_back(found->second.key);
        }
        if (pages_) {
            pages_->deactivate(pid);
        }
        if (resources_) {
            resources_->deactivate(pid);
        }
    }
    for (const auto pid : pids) {
        if (contract_) { // takes away the probes of recipes, whose calls in flight are waited for with the heap's
            contract_->deactivate(pid);
        }
        if (told_) {
            told_->silence(pid);
        }
    }
    release(keys);
}

void Collector::release(const std::vector<mt_process_key>& keys) {
    for (const auto key : keys) {
        (void)tracer_.watch(key, false, false); // what only detaches does not fail
        take_kernel_events();
    }
    // No call is probed any more. Those in flight end within microseconds of their own time, or throw: then the hooks must be there.
    const auto deadline = std::chrono::steady_clock::now() + kLastCallsPatience;
    while (tracer_.has_pending_returns(keys) && std::chrono::steady_clock::now() < deadline) {
        take_kernel_events();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    take_kernel_events();
}

void Collector::mark_detached() {
    for (const auto& [pid, process] : followed_) {
        sink_(ProcessEnded{process.id, EndReason::detached});
    }
}

void Collector::on_exec(const mt_event& event) {
    const auto pid = static_cast<std::int32_t>(event.tgid);
    const auto key = event.key;
    auto found = followed_.find(pid);
    if (found == followed_.end()) {
        return;
    }
    auto& old = found->second;
    if (contract_) {
        contract_->read_records(); // what the old image told is told of it
    }
    if (resources_) {
        resources_->read_records();
    }
    tell_end(old, EndReason::exec);
    if (told_) { // the new image may have no such probes, and is looked at anew
        told_->forget(pid);
        std::erase_if(old.started.sources, [](const auto& source) { return source.starts_with(kToldHeapProvider); });
    }
    tracer_.forget_image(old.key);
    unwind_.forget(old.key);
    put_by(old);
    Followed process;
    process.key = key;
    process.pidfd = std::move(old.pidfd);
    process.from_start = true; // probes belong to files: those in shared libraries hold from the new image's first instruction
    process.seen = std::move(old.seen);
    process.started = old.started;
    process.counted_before = tracer_.read_counters(key);
    tracer_.adopt_key(key);
    if (const auto status = check_program(pid); !status && read_process_info(pid)) { // libc's probes would hold in there as well
        say(status.error().message);
        release({key});
        tracer_.remove_process(key);
        if (pages_) {
            pages_->end(pid);
        }
        if (contract_) {
            contract_->end(pid);
        }
        if (resources_) {
            resources_->end(pid);
        }
        followed_.erase(found);
        return;
    }
    const bool looked_at = start_process(pid, process, Stage::young).has_value();
    process.late_objects = process.started.sources.size() - old.started.sources.size();
    process.libraries_to_come = !looked_at || has_linker(read_maps(pid).value_or(std::vector<Mapping>{}));
    if (!looked_at) { // it has ended already: its figures count all the same, its names are lost
        process.id = ProcessId{next_process_++};
        process.started.comm = std::string(event.comm, strnlen(event.comm, sizeof(event.comm)));
        process.started.exe.clear();
        process.started.cmdline.clear();
        process.started.process = process.id;
        process.started.attach_mono_ns = monotonic_ns();
        process.cohorts = {process.started.attach_mono_ns};
        process.started.from_start = true;
        sink_(process.started);
    }
    found->second = std::move(process);
    if (pages_) {
        pages_->follow_image(pid, found->second.id);
    }
    if (contract_) {
        contract_->follow_image(pid, found->second.id, read_maps(pid).value_or(std::vector<Mapping>{}));
    }
    if (resources_) {
        resources_->follow_image(pid, found->second.id);
    }
}

/// Into `untold_`, but for those of processes that wait for their return addresses: these are served at once.
void Collector::take_kernel_events() {
    std::multimap<std::int32_t, mt_unwind_event> waiting;
    const auto drain = [&] {
        tracer_.read_events([&](const mt_event& event) {
            if (event.kind == MT_EVENT_UNWIND) {
                waiting.emplace(static_cast<std::int32_t>(event.tgid), reinterpret_cast<const mt_unwind_event&>(event));
            } else {
                untold_.push_back(event);
            }
        });
    };
    drain();
    while (!waiting.empty()) {
        const auto pid = waiting.begin()->first;
        serve_unwinding(pid, [&] {
            drain();
            std::vector<mt_unwind_event> threads;
            const auto [begin, end] = waiting.equal_range(pid);
            std::transform(begin, end, std::back_inserter(threads), [](const auto& entry) { return entry.second; });
            return threads;
        });
        waiting.erase(pid);
    }
}

void Collector::handle_kernel_events() {
    take_kernel_events();
    while (!untold_.empty()) { // what is done about one may take in others: a process that ends while it is attached to
        const auto event = untold_.front();
        untold_.pop_front();
        const auto pid = static_cast<std::int32_t>(event.tgid);
        switch (event.kind) {
        case MT_EVENT_EXEC:
            on_exec(event);
            break;
        case MT_EVENT_LIBRARY:
            // A look sees all that has come: one for those that wait together, or a process that loads without end fills the ring.
            if (std::none_of(untold_.begin(), untold_.end(),
                             [&](const mt_event& later) { return later.kind == event.kind && later.tgid == event.tgid; })) {
                rescan(pid, false);
            }
            break;
        case MT_EVENT_FORK:
        case MT_EVENT_CHILD_EXEC:
            if (follow(pid, event.kind == MT_EVENT_FORK ? Stage::running : Stage::young, true)) {
                activate(pid);
            }
            break;
        default:
            break;
        }
    }
}

std::vector<std::pair<std::int32_t, int>> Collector::watched() const {
    std::vector<std::pair<std::int32_t, int>> out;
    for (const auto& [pid, process] : followed_) {
        out.emplace_back(pid, process.pidfd.get());
    }
    return out;
}

std::string Collector::describe(std::int32_t pid) const {
    std::string text;
    if (const auto found = followed_.find(pid); found != followed_.end()) {
        for (const auto& source : found->second.started.sources) {
            text += (text.empty() ? "" : "; ") + source;
        }
        if (text.empty() && pages_) {
            text = pages_->source();
        }
    }
    return text;
}

} // namespace memtrace
