#include "app/session.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "app/session_state.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kNever = ~0ull;
constexpr std::uint64_t kShortestTick = 200'000'000;
constexpr std::uint64_t kLongestTick = 10'000'000'000;
constexpr std::uint64_t kTicksPerReport = 10; ///< growth is judged on ticks, which are finer than reports

/// A moment that comes again and again; late ones are not made up for.
class Periodic {
public:
    Periodic(std::uint64_t first_ns, std::uint64_t period_ns) : next_(first_ns), period_(period_ns) {}
    [[nodiscard]] std::uint64_t next() const { return next_; }
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

Status Session::tick(bool with_ages) {
    const auto begin = monotonic_ns();
    auto status = collector_->tick(with_ages);
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
    if (auto status = tick(true); !status) {
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

Status Session::loop() {
    const std::uint64_t begin = monotonic_ns();
    const std::uint64_t tick_ns = std::clamp(options_.interval_ns / kTicksPerReport, kShortestTick, kLongestTick);
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
            if (auto status = tick(report_due || snapshot_due); !status) {
                return status;
            }
        }
        if (snapshot_due) {
            collector_->resolve_symbols();
            if (auto status = output_->write_snapshots(model_, *desk_); !status) {
                say(status.error().message + "; earlier snapshots are untouched, the next one is tried in time");
                snapshot_failed_ = true;
            }
        }
        if (report_due) {
            if (auto status = report(look(false), false); !status) {
                return status;
            }
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

int run_session(const Options& options) {
    Session session(options);
    if (auto status = session.run(); !status) {
        return fail_with(status.error());
    }
    return session.found() ? kExitFound : kExitFine;
}

} // namespace memtrace
