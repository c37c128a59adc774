// Session, what is told: reports, snapshots, the recording, and the end of it all.
#include <poll.h>

#include <iterator>

#include "app/session_state.hpp"
#include "base/clock.hpp"

namespace memtrace {

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

Status Session::write_snapshots() {
    auto status = output_->write_snapshots(model_, *desk_);
    if (history_) {
        history_->add(output_->take_written());
    }
    return status;
}

/// Because of an alert, within look().
Status Session::snapshot_now() {
    return output_->has_snapshots() ? write_snapshots() : fail("there is no --snapshot-dir");
}

/// On a tick.
void Session::snapshot() {
    const auto cpu_s = OwnControl::cpu_seconds();
    collector_->resolve_symbols();
    if (auto status = write_snapshots(); !status) {
        say(status.error().message + "; earlier snapshots are untouched, the next one is tried in time");
        snapshot_failed_ = true;
    }
    own_->wrote_snapshots(cpu_s);
}

Status Session::open_pusher() {
    if (options_.push_profiles.empty()) {
        return {};
    }
    auto pusher = ProfilePusher::open(options_, say);
    if (!pusher) {
        return tl::unexpected(pusher.error());
    }
    pusher_ = std::move(*pusher);
    return {};
}

/// On a tick.
void Session::push_profiles() {
    const auto cpu_s = OwnControl::cpu_seconds();
    collector_->resolve_symbols();
    pusher_->push(model_, [this](std::int32_t pid) { return targets_ ? targets_->name_of(pid) : std::string(); });
    own_->pushed(cpu_s);
}

/// What the model says now, with its alerts.
std::vector<Report> Session::look(bool last) {
    collector_->resolve_symbols();
    on_event(own_->sample(forgotten_));
    auto reports = Output::reports_to_show(model_, last);
    desk_->look(reports, last);
    if (pusher_) {
        pusher_->complete(reports);
    }
    return reports;
}

Status Session::report(std::vector<Report> reports, bool last) {
    auto status = output_->show(reports, last);
    if (is_daemon() && !last) { // which goes on all the same
        if (!status && !show_failed_) {
            say(status.error().message + "; it is tried again with each report");
        }
        show_failed_ = !status;
        status = {};
    }
    if (history_) {
        history_->add(reports);
    }
    if (publisher_) {
        CollectorCost cost;
        cost.kernel_bytes = tracer_->kernel_bytes();
        if (pusher_) {
            const auto counts = pusher_->counts();
            cost.profiles = {counts.delivered, counts.lost, counts.failures};
        }
        cost.sinks = desk_->messages();
        cost.refused_alerts = desk_->refused();
        publisher_->publish(std::move(reports), std::move(cost));
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
    notify_.stopping();
    collector_->place_handles(model_); // while blocks are still known
    collector_->deactivate_all();
    if (auto status = tick(true, true); !status) {
        return status;
    }
    collector_->mark_detached();
    await_debug_files();
    if (pusher_) {
        push_profiles();
    }
    auto reports = look(true);
    auto snapshot_status = write_snapshots();
    auto report_status = report(std::move(reports), true);
    auto history_status = history_ ? history_->close() : Status();
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
    if (!history_status) {
        return history_status;
    }
    return snapshot_failed_ ? fail("some snapshots could not be written: see above") : Status();
}

} // namespace memtrace
