// Session, before its loop: outputs, the kernel half, the processes.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "app/session_state.hpp"
#include "base/clock.hpp"
#include "base/hex.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

/// Files stay open for every module of every process until it is named.
void raise_file_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

} // namespace

Result<std::vector<std::int32_t>> Session::find_targets() const {
    if (!options_.comm.empty()) {
        return find_by_comm(options_.comm);
    }
    if (!options_.cgroup.empty()) {
        return find_by_cgroup(options_.cgroup);
    }
    return options_.pids;
}

Status Session::prepare() {
    raise_file_limit();
    if (!options_.debuginfod.empty()) { // first: its process is to have no part in anything that is opened from here on
        auto client = Debuginfod::start(debuginfod_settings(options_));
        if (!client) {
            return tl::unexpected(client.error());
        }
        debuginfod_ = std::move(*client);
    }
    // Nothing in this process looks for names on the network: that could hold the report up.
    ::unsetenv("DEBUGINFOD_URLS");
    if (!options_.symbols.empty()) {
        auto names = LateNames::open_live(options_);
        if (!names) {
            return tl::unexpected(names.error());
        }
        names_.emplace(std::move(*names));
    }
    auto output = Output::open(options_);
    if (!output) {
        return tl::unexpected(output.error());
    }
    output_ = std::move(*output);
    if (!options_.history.empty()) {
        auto history = HistoryLog::open(options_);
        if (!history) {
            return tl::unexpected(history.error());
        }
        history_ = std::move(*history);
    }
    if (!options_.listen.empty()) {
        auto publisher = Publisher::open(options_);
        if (!publisher) {
            return tl::unexpected(publisher.error());
        }
        publisher_ = std::move(*publisher);
        note("serving metrics and reports on " + publisher_->url());
    }
    if (!options_.record.empty()) {
        auto recording = RecordingWriter::create(options_.record);
        if (!recording) {
            return tl::unexpected(recording.error());
        }
        recording_ = std::move(*recording);
    }
    return {};
}

Status Session::load(const KernelFeatures& features) {
    if (!features.btf) {
        return fail("this kernel does not describe its types (no /sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF; see "
                    "memtrace doctor");
    }
    AttachMethod method = features.best_method();
    if (options_.attach == "perf_event") {
        method = AttachMethod::perf_event;
    } else if (options_.attach == "uprobe_multi") {
        if (!features.uprobe_multi) {
            return fail("uprobe_multi does not work here: " + features.uprobe_multi_reason);
        }
        method = AttachMethod::uprobe_multi;
    } else if (options_.attach == "uprobe_session" && !features.uprobe_session) {
        return fail("uprobe_session does not work here: it takes Linux 6.13 or newer");
    }
    TracerLimits limits;
    limits.max_processes = options_.max_processes;
    limits.max_live = options_.max_live;
    limits.max_frames = options_.max_frames;
    auto tracer = HeapTracer::load(limits, method, features);
    if (!tracer) {
        return tl::unexpected(tracer.error());
    }
    tracer_ = std::move(*tracer);
    collector_.emplace(*tracer_, CollectorOptions{options_.allocator, options_.min_age_ns},
                       [this](const Event& event) { on_event(event); });
    if (debuginfod_) {
        collector_->ask(*debuginfod_, [this](const std::string& path, const std::string& build_id) {
            return !names_ || !names_->has_lines(path, to_hex(build_id));
        });
    }
    control_.emplace(*collector_, governor_settings(), [this](const std::string& text) { note(text); });
    own_.emplace(options_, [this](const std::string& text) { note(text); });
    auto pages = PageTracer::load({.max_frames = options_.max_frames}, tracer_->stack_maps());
    if (pages) {
        pages_ = std::move(*pages);
        collector_->watch_pages(*pages_);
    } else if (options_.verbose) {
        note("the pages tier is not available: " + pages.error().message);
    }
    if (options_.resources != 0) {
        auto resources = ResourceTracer::load(options_.resources, {.max_frames = options_.max_frames}, tracer_->stack_maps());
        if (resources) {
            resources_ = std::move(*resources);
            collector_->watch_resources(*resources_, options_.resources);
        } else if (options_.verbose || options_.resources_given) {
            note("the resources tier is not available: " + resources.error().message);
        }
    }
    watch_contract(method, features);
    collector_->watch_told_heaps([this] { return ToldHeapTracer::load(tracer_->heap_maps(), options_.max_frames); });
    on_event(RunStarted{MEMTRACE_VERSION, wall_ns(), monotonic_ns(), options_.min_age_ns, options_.max_live,
                        tracer_->kernel_bytes(), features.costs.emulated_ns});
    if (thresholds_ != ResourceThresholds{}) {
        on_event(thresholds_);
    }
    return {};
}

GovernorSettings Session::governor_settings() const {
    GovernorSettings settings;
    settings.budget = options_.max_overhead;
    settings.choice = options_.sample == Options::Sample::exact   ? SampleChoice::exact
                      : options_.sample == Options::Sample::fixed ? SampleChoice::fixed
                                                                  : SampleChoice::automatic;
    settings.fixed_interval = options_.sample_interval;
    settings.costs = collector_->probe_costs();
    return settings;
}

/// As ContractCollector::keep_to.
std::optional<double> Session::contract_budget() const {
    return options_.sample == Options::Sample::automatic ? std::optional(options_.max_overhead)
           : options_.sample == Options::Sample::fixed   ? std::optional(0.0)
                                                         : std::nullopt;
}

void Session::watch_contract(AttachMethod method, const KernelFeatures& features) {
    const ContractLimits contract{.max_frames = options_.max_frames};
    std::optional<MappedCollector> recipes;
    if (!recipes_.empty()) {
        recipes.emplace(
            std::vector(recipes_),
            [this, method, contract, long_nops = features.costs.long_nops](const ContractMaps& maps) {
                return MappedTracer::load({method, long_nops, contract.max_frames, contract.ring_bytes}, maps,
                                          tracer_->stack_maps());
            },
            [](const std::string& text) { say(text); });
    }
    collector_->watch_contract([this, contract] { return ContractTracer::load(contract, tracer_->stack_maps()); },
                               std::move(recipes));
    collector_->set_contract_budget(contract_budget());
}

/// With several processes, those that end or cannot be traced are left out with a word; one at least must remain.
Status Session::follow_targets(const std::vector<std::int32_t>& pids) {
    std::optional<Error> last_error;
    std::size_t followed = 0;
    for (const auto pid : pids) {
        if (auto status = collector_->follow(pid, Collector::Stage::running, options_.follow); !status) {
            if (pids.size() > 1) {
                say(status.error().message);
            }
            last_error = status.error();
            continue;
        }
        ++followed;
    }
    if (followed == 0) {
        return pids.size() > 1 ? fail("none of the processes can be traced") : tl::unexpected(*last_error);
    }
    collector_->await_tables();
    for (const auto pid : pids) {
        collector_->activate(pid);
    }
    return {};
}

Status Session::launch() {
    auto launcher = Launcher::start(options_.launch);
    if (!launcher) {
        return tl::unexpected(launcher.error());
    }
    launcher_ = *launcher;
    if (auto status = collector_->follow(launcher_->pid(), Collector::Stage::held, options_.follow); !status) {
        return status;
    }
    collector_->activate(launcher_->pid());
    return launcher_->run_through_linker([this] { collector_->rescan(launcher_->pid(), true); });
}

void Session::started(std::uint64_t begin_ns) {
    char took[32];
    std::snprintf(took, sizeof(took), "%.0f ms", static_cast<double>(monotonic_ns() - begin_ns) / 1e6);
    for (const auto id : model_.processes()) {
        const auto& about = model_.process(id)->about;
        const auto what = collector_->describe(about.pid);
        note("attached to process " + std::to_string(about.pid) + " (" + about.comm + ") in " + took + ": " +
             (what.empty() ? "no allocator found yet" : what));
    }
    const auto count = collector_->watched().size();
    note("following " + std::to_string(count) + (count == 1 ? " process; " : " processes; ") + "Ctrl-C for the last report");
}

} // namespace memtrace
