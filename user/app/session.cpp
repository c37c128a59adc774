#include "app/session.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "app/collector.hpp"
#include "app/late_names.hpp"
#include "app/launcher.hpp"
#include "app/message.hpp"
#include "app/output.hpp"
#include "app/overhead_control.hpp"
#include "app/own_control.hpp"
#include "app/publisher.hpp"
#include "app/signals.hpp"
#include "base/clock.hpp"
#include "base/hex.hpp"
#include "proc/process.hpp"
#include "store/recording.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kNever = ~0ull;
constexpr std::uint64_t kShortestTick = 200'000'000;
constexpr std::uint64_t kLongestTick = 10'000'000'000;
constexpr std::uint64_t kTicksPerReport = 10; ///< growth is judged on ticks, which are finer than reports

/// Files stay open for every module of every process until it is named.
void raise_file_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

std::uint64_t tick_period(const Options& options) {
    return std::clamp(options.interval_ns / kTicksPerReport, kShortestTick, kLongestTick);
}

/// A moment that comes again and again; late ones are not made up for.
class Periodic {
public:
    Periodic(std::uint64_t first_ns, std::uint64_t period_ns) : next_(first_ns), period_(period_ns) {}
    [[nodiscard]] std::uint64_t next() const { return next_; }
    void set_period(double seconds) { period_ = static_cast<std::uint64_t>(seconds * 1e9); }
    bool due(std::uint64_t now) {
        if (now < next_) {
            return false;
        }
        next_ = std::max(next_ + period_, now + period_ / 2);
        return true;
    }

private:
    std::uint64_t next_;
    std::uint64_t period_;
};

class Session {
public:
    explicit Session(const Options& options) : options_(options) {}
    Status run();
    [[nodiscard]] bool found() const { return found_ || found_verdict(model_, options_.fail_on); }

private:
    Status prepare();
    Result<std::vector<std::int32_t>> find_targets() const;
    Status load(const KernelFeatures& features);
    void watch_contract(AttachMethod method, const KernelFeatures& features);
    Status follow_targets(const std::vector<std::int32_t>& pids);
    Status launch();
    void started(std::uint64_t begin_ns);
    Status loop();
    Status wait(std::uint64_t until_ns);
    Status tick(bool with_ages, bool with_memory);
    Status end_processes();
    void forget_processes();
    void await_debug_files();
    std::vector<Report> look(bool last);
    Status report(std::vector<Report> reports, bool last);
    Status snapshot_now();
    Status finish();
    void on_event(const Event& seen);
    void note(const std::string& text) const {
        if (!options_.quiet) {
            say(text);
        }
    }

    Options options_;
    std::vector<ResourceRecipe> recipes_; ///< until the collector has them
    Model model_;
    std::optional<LateNames> names_; ///< where --symbols is given
    std::optional<Output> output_;
    std::optional<Publisher> publisher_;
    AlertConfig alerts_;
    std::unique_ptr<AlertDesk> desk_;
    std::optional<RecordingWriter> recording_;
    std::optional<Error> recording_error_;
    std::optional<StopSignals> signals_;
    std::unique_ptr<Debuginfod> debuginfod_;
    std::optional<HeapTracer> tracer_;
    std::optional<PageTracer> pages_;
    std::optional<ResourceTracer> resources_;
    std::optional<Collector> collector_;
    std::optional<OverheadControl> control_;
    std::optional<OwnControl> own_;
    std::uint64_t forgotten_ = 0; ///< processes
    bool found_ = false;          ///< in one of these
    std::optional<Launcher> launcher_;
    std::vector<std::int32_t> ended_;
    bool stop_ = false;
    bool snapshot_failed_ = false;
};

/// One road for all events: into the recording, and into the model, with the names of --symbols.
void Session::on_event(const Event& seen) {
    const auto named = names_ ? names_->better(seen) : std::nullopt;
    const auto& event = named ? *named : seen;
    if (recording_ && !recording_error_) {
        if (auto status = recording_->write(event); !status) {
            recording_error_ = status.error();
            say(status.error().in("the recording stops here").message);
        }
    }
    model_.apply(event);
}

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
    limits.max_live = options_.max_live;
    limits.max_frames = options_.max_frames;
    auto tracer = HeapTracer::load(limits, method, features);
    if (!tracer) {
        return tl::unexpected(tracer.error());
    }
    tracer_ = std::move(*tracer);
    collector_.emplace(*tracer_, CollectorOptions{options_.allocator, options_.min_age_ns, options_.follow},
                       [this](const Event& event) { on_event(event); });
    if (debuginfod_) {
        collector_->ask(*debuginfod_, [this](const std::string& path, const std::string& build_id) {
            return !names_ || !names_->has_lines(path, to_hex(build_id));
        });
    }
    GovernorSettings settings;
    settings.budget = options_.max_overhead;
    settings.choice = options_.sample == Options::Sample::exact   ? SampleChoice::exact
                      : options_.sample == Options::Sample::fixed ? SampleChoice::fixed
                                                                  : SampleChoice::automatic;
    settings.fixed_interval = options_.sample_interval;
    settings.costs = collector_->probe_costs();
    control_.emplace(*collector_, settings, [this](const std::string& text) { note(text); });
    own_.emplace(options_, static_cast<double>(tick_period(options_)) * 1e-9, [this](const std::string& text) { note(text); });
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
    on_event(RunStarted{MEMTRACE_VERSION, wall_ns(), monotonic_ns(), options_.min_age_ns, options_.max_live,
                        tracer_->kernel_bytes(), features.costs.emulated_ns});
    return {};
}

void Session::watch_contract(AttachMethod method, const KernelFeatures& features) {
    const ContractLimits contract{.max_frames = options_.max_frames};
    std::optional<MappedCollector> recipes;
    if (!recipes_.empty()) {
        recipes.emplace(
            std::move(recipes_),
            [this, method, contract, long_nops = features.costs.long_nops](const ContractMaps& maps) {
                return MappedTracer::load({method, long_nops, contract.max_frames, contract.ring_bytes}, maps,
                                          tracer_->stack_maps());
            },
            [](const std::string& text) { say(text); });
    }
    collector_->watch_contract([this, contract] { return ContractTracer::load(contract, tracer_->stack_maps()); },
                               std::move(recipes));
}

/// With several processes, those that end or cannot be traced are left out with a word; one at least must remain.
Status Session::follow_targets(const std::vector<std::int32_t>& pids) {
    std::optional<Error> last_error;
    std::size_t followed = 0;
    for (const auto pid : pids) {
        if (auto status = collector_->follow(pid, Collector::Stage::running); !status) {
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
    if (auto status = collector_->follow(launcher_->pid(), Collector::Stage::held); !status) {
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

/// Because of an alert, within look().
Status Session::snapshot_now() {
    return output_->has_snapshots() ? output_->write_snapshots(model_, *desk_) : fail("there is no --snapshot-dir");
}

/// What the model says now, with its alerts.
std::vector<Report> Session::look(bool last) {
    collector_->resolve_symbols();
    on_event(own_->sample(forgotten_));
    auto reports = Output::reports_to_show(model_, last);
    desk_->look(reports);
    return reports;
}

Status Session::report(std::vector<Report> reports, bool last) {
    auto status = output_->show(reports, last);
    if (publisher_) {
        publisher_->publish(std::move(reports), tracer_->kernel_bytes());
    }
    on_event(ReportDue{last});
    if (recording_ && !recording_error_) {
        if (auto flushed = recording_->flush(); !flushed) {
            recording_error_ = flushed.error();
            say(flushed.error().in("the recording stops here").message);
        }
    }
    return status;
}

/// Waits until `until_ns` at the latest, for whatever comes first.
Status Session::wait(std::uint64_t until_ns) {
    const auto watched = collector_->watched();
    std::vector<pollfd> fds{{signals_->fd(), POLLIN, 0}, {tracer_->events_fd(), POLLIN, 0}};
    for (const auto& [pid, fd] : watched) {
        fds.push_back({fd, POLLIN, 0});
    }
    fds.push_back({collector_->contract_fd(), POLLIN, 0}); // -1 is passed over
    fds.push_back({collector_->pages_fd(), POLLIN, 0});
    fds.push_back({collector_->resources_fd(), POLLIN, 0});
    const std::uint64_t now = monotonic_ns();
    const auto left = until_ns > now ? (until_ns - now + 999'999) / 1'000'000 : 0;
    if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<std::uint64_t>(left, 1 << 30))) < 0 && errno != EINTR) {
        return fail_errno("cannot wait for events", errno);
    }
    if (fds[0].revents != 0) {
        signals_->disarm();
        stop_ = true;
    }
    if (fds[1].revents != 0) {
        collector_->handle_kernel_events();
    }
    if (fds.back().revents != 0) {
        collector_->read_resources();
    }
    if (fds[fds.size() - 2].revents != 0) {
        collector_->read_pages();
    }
    if (fds[fds.size() - 3].revents != 0) {
        collector_->read_contract();
    }
    for (std::size_t i = 0; i < watched.size(); ++i) {
        if (fds[i + 2].revents != 0) {
            ended_.push_back(watched[i].first);
        }
    }
    return {};
}

Status Session::tick(bool with_ages, bool with_memory) {
    const auto begin = monotonic_ns();
    const auto cpu_s = OwnControl::cpu_seconds();
    auto status = collector_->tick(with_ages, with_memory);
    own_->ticked(cpu_s, with_ages, begin);
    if (publisher_) {
        publisher_->ticked(monotonic_ns() - begin);
    }
    return status;
}

/// Processes that have ended: their last figures, then nothing of them stays.
Status Session::end_processes() {
    if (ended_.empty()) {
        return {};
    }
    collector_->handle_kernel_events();
    if (auto status = tick(own_->knobs().ages_s <= own_->knobs().interval_s, true);
        !status) { // else ages are as old as elsewhere
        return status;
    }
    for (const auto pid : ended_) {
        note("process " + std::to_string(pid) + " has ended");
        collector_->end(pid, EndReason::exited);
        if (launcher_ && launcher_->pid() == pid) {
            launcher_->reap();
        }
    }
    ended_.clear();
    return {};
}

/// Of processes that have ended and been reported, the newest stay for the last report.
void Session::forget_processes() {
    for (const auto id : over_and_told(model_, *output_, own_->knobs().ended_kept)) {
        found_ = found_ || found_verdict(model_, id, options_.fail_on);
        on_event(ProcessForgotten{id});
        collector_->forget(id);
        output_->forget(id);
        ++forgotten_;
    }
}

Status Session::loop() {
    const std::uint64_t begin = monotonic_ns();
    const std::uint64_t tick_ns = tick_period(options_);
    own_->begin(begin);
    const std::uint64_t end = options_.duration_ns ? begin + *options_.duration_ns : kNever;
    Periodic ticks(begin + tick_ns, tick_ns);
    Periodic reports(begin + options_.interval_ns, options_.interval_ns);
    Periodic snapshots(output_->has_snapshots() ? begin + options_.snapshot_interval_ns : kNever, options_.snapshot_interval_ns);
    while (!stop_ && !collector_->watched().empty()) {
        if (auto status = wait(std::min({ticks.next(), reports.next(), snapshots.next(), control_->next_ns(), end})); !status) {
            return status;
        }
        if (auto status = end_processes(); !status) {
            return status;
        }
        const std::uint64_t now = monotonic_ns();
        if (stop_ || now >= end) {
            break;
        }
        if (auto status = control_->run(now); !status) {
            return status;
        }
        const bool report_due = reports.due(now);
        const bool snapshot_due = snapshots.due(now);
        if (ticks.due(now) || report_due || snapshot_due) {
            const bool shown = report_due || snapshot_due;
            if (auto status = tick(shown && own_->ages_due(now), shown); !status) {
                return status;
            }
            if (own_->run(now, collector_->sites())) {
                ticks.set_period(own_->knobs().tick_s);
                reports.set_period(own_->knobs().interval_s);
                snapshots.set_period(own_->knobs().snapshot_s);
                collector_->set_max_sites(own_->knobs().max_sites);
            }
        }
        if (snapshot_due) {
            const auto cpu_s = OwnControl::cpu_seconds();
            collector_->resolve_symbols();
            if (auto status = output_->write_snapshots(model_, *desk_); !status) {
                say(status.error().message + "; earlier snapshots are untouched, the next one is tried in time");
                snapshot_failed_ = true;
            }
            own_->wrote_snapshots(cpu_s);
        }
        if (report_due) {
            const auto cpu_s = OwnControl::cpu_seconds();
            if (auto status = report(look(false), false); !status) {
                return status;
            }
            own_->reported(cpu_s);
            forget_processes();
        }
    }
    return {};
}

/// Nothing is traced any more: now there is time for debug files that are on their way. A signal ends the wait, unless one has ended
/// the tracing: then a second one leaves at once.
void Session::await_debug_files() {
    const auto end = monotonic_ns() + options_.debuginfod_timeout_ns;
    collector_->resolve_symbols();
    if (debuginfod_ && debuginfod_->pending()) {
        note("waiting for debug files from debuginfod");
    }
    while (debuginfod_ && debuginfod_->pending() && monotonic_ns() < end && !(signals_->pending() && !stop_)) {
        constexpr int kLookMs = 200; // its time may be over without a word from it
        pollfd fds[]{{debuginfod_->fd(), POLLIN, 0}, {stop_ ? -1 : signals_->fd(), POLLIN, 0}};
        (void)::poll(fds, std::size(fds), kLookMs);
        collector_->resolve_symbols();
    }
}

/// The last figures, at one moment for all processes; then the last report. Probes go when the session does, after that.
Status Session::finish() {
    collector_->deactivate_all();
    if (auto status = tick(true, true); !status) {
        return status;
    }
    collector_->mark_detached();
    await_debug_files();
    auto reports = look(true);
    auto snapshot_status = output_->write_snapshots(model_, *desk_);
    auto report_status = report(std::move(reports), true);
    if (recording_ && !recording_error_) {
        if (auto status = recording_->close(); !status) {
            recording_error_ = status.error();
        }
    }
    if (!snapshot_status) {
        return snapshot_status;
    }
    if (!report_status) {
        return report_status;
    }
    if (recording_error_) {
        return tl::unexpected(recording_error_->in("the recording is incomplete"));
    }
    return snapshot_failed_ ? fail("some snapshots could not be written: see above") : Status();
}

Status Session::run() {
    const std::uint64_t begin = monotonic_ns();
    if (const auto missing = missing_capabilities(); !missing.empty()) {
        return tl::unexpected(privileges_error(missing));
    }
    const auto pids = find_targets();
    if (!pids) {
        return tl::unexpected(pids.error());
    }
    for (const auto pid : *pids) { // a typing error should be told at once, and cost nobody an earlier recording
        if (const auto info = read_process_info(pid); !info && pids->size() == 1) {
            return tl::unexpected(info.error());
        }
    }
    if (auto recipes = read_recipes(options_.configs)) {
        recipes_ = std::move(*recipes);
    } else {
        return tl::unexpected(recipes.error());
    }
    if (auto alerts = read_alert_config(options_.configs)) {
        alerts_ = std::move(*alerts);
    } else {
        return tl::unexpected(alerts.error());
    }
    if (auto status = prepare(); !status) {
        return status;
    }
    auto signals = StopSignals::open();
    if (!signals) {
        return tl::unexpected(signals.error());
    }
    signals_ = std::move(*signals);
    desk_ = std::make_unique<AlertDesk>(
        alerts_, !options_.quiet, [this] { return snapshot_now(); }, say); // its threads leave signals to us
    if (auto status = load(detect_features()); !status) {
        return status;
    }
    auto status = options_.launch.empty() ? follow_targets(*pids) : launch();
    if (!status) {
        return status;
    }
    started(begin);
    status = loop();
    auto finished = finish(); // in any case: a report that finds no room must not cost the last snapshot or the recording's end
    return status ? finished : status;
}

} // namespace

int run_session(const Options& options) {
    Session session(options);
    if (auto status = session.run(); !status) {
        return fail_with(status.error());
    }
    return session.found() ? kExitFound : kExitFine;
}

} // namespace memtrace
