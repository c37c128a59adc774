#include "app/session.hpp"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>

#include "app/privileges.hpp"
#include "app/session_state.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kNever = ~0ull;

} // namespace

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
        stop_ = signals_->take() != SIGHUP;
        reload_ = !stop_;
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

/// For processes that are about to leave: with their ages, unless these are as old everywhere.
Status Session::tick_before_leaving() {
    return tick(own_->knobs().ages_s <= own_->knobs().interval_s, true);
}

/// Processes that have ended: their last figures, then nothing of them is followed.
Status Session::end_processes() {
    if (ended_.empty()) {
        return {};
    }
    collector_->handle_kernel_events();
    if (auto status = tick_before_leaving(); !status) {
        return status;
    }
    for (const auto pid : ended_) {
        note(is_daemon() ? "ended: " + about(pid) : "process " + std::to_string(pid) + " has ended");
        collector_->end(pid, EndReason::exited);
        if (targets_) {
            targets_->ended(pid);
        }
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
        if (pusher_ && !pusher_->is_done_with(id)) {
            continue; // after its last profile
        }
        found_ = found_ || found_verdict(model_, id, options_.fail_on);
        on_event(ProcessForgotten{id});
        collector_->forget(id);
        output_->forget(id);
        ++forgotten_;
    }
}

/// What the budget for memtrace itself leaves.
void Session::take_knobs() {
    const auto& knobs = own_->knobs();
    times_->set_periods(knobs.tick_s, knobs.interval_s, knobs.snapshot_s, knobs.push_s);
    collector_->set_max_sites(knobs.max_sites);
    if (publisher_) {
        publisher_->set_interval(knobs.interval_s);
    }
}

/// What is due at `now_ns`.
Status Session::work(std::uint64_t now_ns) {
    if (auto status = control_->run(now_ns); !status) {
        return status;
    }
    const bool report_due = times_->reports.due(now_ns);
    const bool snapshot_due = times_->snapshot_due(now_ns);
    const bool push_due = times_->pushes.due(now_ns);
    if (times_->ticks.due(now_ns) || report_due || snapshot_due || push_due) {
        const bool shown = report_due || snapshot_due || push_due;
        if (auto status = tick(shown && own_->ages_due(now_ns), shown); !status) {
            return status;
        }
        if (own_->run(now_ns, collector_->sites())) {
            take_knobs();
        }
        collector_->keep_told_memory(model_, own_->most_told_bytes());
    }
    if (snapshot_due) {
        snapshot();
    }
    if (push_due) {
        push_profiles();
    }
    if (report_due) {
        const auto cpu_s = OwnControl::cpu_seconds();
        collector_->place_handles(model_);
        if (auto status = report(look(false), false); !status) {
            return status;
        }
        own_->reported(cpu_s);
        forget_processes();
    }
    return {};
}

Status Session::loop() {
    const std::uint64_t begin = monotonic_ns();
    const std::uint64_t end = options_.duration_ns ? begin + *options_.duration_ns : kNever;
    times_.emplace(options_, output_->has_snapshots(), begin);
    own_->begin(begin);
    while (!stop_ && (is_daemon() || !collector_->watched().empty())) {
        if (auto status = wait(std::min({times_->next(), control_->next_ns(), notify_.next_ns(), next_look_ns_, end})); !status) {
            return status;
        }
        if (auto status = end_processes(); !status) {
            return status;
        }
        const std::uint64_t now = monotonic_ns();
        if (stop_ || now >= end) {
            break;
        }
        if (auto status = work(now); !status) {
            return status;
        }
        if (auto status = is_daemon() ? serve_manager(now) : Status(); !status) {
            return status;
        }
    }
    return {};
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
    if (auto thresholds = read_resource_config(options_.configs)) {
        thresholds_ = *thresholds;
    } else {
        return tl::unexpected(thresholds.error());
    }
    if (auto alerts = read_alert_config(options_.configs)) {
        alerts_ = std::move(*alerts);
    } else {
        return tl::unexpected(alerts.error());
    }
    // What memtrace starts for -- COMMAND must have what it would have without us; threads to come have what we have.
    if (options_.launch.empty()) {
        if (const auto kept = drop_privileges(options_, alerts_); !kept) {
            return tl::unexpected(kept.error());
        } else if (!kept->empty() && options_.verbose) {
            note("keeping beyond what tracing takes, for these options: " + *kept);
        }
    }
    if (is_daemon()) {
        auto notify = ServiceNotify::take_environment();
        if (!notify) {
            return tl::unexpected(notify.error());
        }
        notify_ = std::move(*notify);
    }
    if (auto status = prepare(); !status) {
        return status;
    }
    auto signals = StopSignals::open(is_daemon() ? StopSignals::Hangup::asks : StopSignals::Hangup::ends);
    if (!signals) {
        return tl::unexpected(signals.error());
    }
    signals_ = std::move(*signals);
    messages_.emplace(); // its thread, too, leaves signals to us
    desk_ = std::make_unique<AlertDesk>(
        alerts_, !options_.quiet, [this] { return snapshot_now(); }, say); // its threads leave signals to us
    if (auto status = open_pusher(); !status) {
        return status;
    }
    if (auto status = load(detect_features()); !status) {
        return status;
    }
    if (is_daemon()) {
        begin_daemon();
    } else if (auto status = options_.launch.empty() ? follow_targets(*pids) : launch(); !status) {
        return status;
    } else {
        started(begin);
    }
    auto status = loop();
    auto finished = finish(); // in any case: a report that finds no room must not cost the last snapshot or the recording's end
    return status ? finished : status;
}

int run_session(const Options& options) {
    Session session(options);
    if (auto status = session.run(); !status) {
        return fail_with(status.error());
    }
    return session.found() ? kExitFound : kExitFine;
}

} // namespace memtrace
