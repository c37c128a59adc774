#include "store/history_writer.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "base/signal_guard.hpp"
#include "store/history_schema.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kLongestPause = 60'000'000'000;
constexpr std::uint64_t kBetweenRounds = 600'000'000'000; ///< of the retention

std::int64_t now_ms() {
    return static_cast<std::int64_t>(wall_ns() / 1'000'000);
}

std::string reports_text(std::uint64_t count) {
    return std::to_string(count) + (count == 1 ? " report" : " reports");
}

} // namespace

struct HistoryWriter::State {
    State(HistorySettings with, HistoryFile opened, Say says)
        : settings(std::move(with)), say(std::move(says)), file(std::move(opened)), retention(file.database, settings.limits) {}

    void run();
    bool write_front(std::unique_lock<std::mutex>& lock);
    [[nodiscard]] bool has_room_for(const HistoryBatch& batch) const;
    void failed(const Error& error, bool of_batch);
    void recovered();
    void keep_limits();
    [[nodiscard]] std::chrono::nanoseconds pause() const;

    const HistorySettings settings;
    const Say say;

    std::mutex mutex; ///< of what follows
    std::condition_variable changed;
    std::deque<HistoryBatch> queue;
    std::uint64_t dropped = 0;
    bool stopping = false; ///< write what waits, then end
    bool leave = false;    ///< nobody waits any more
    bool ended = false;
    bool given_up = false; ///< the file is damaged

    // Of the thread alone.
    HistoryFile file;
    HistoryRetention retention;
    std::optional<HistoryTables> tables;
    std::uint64_t failures = 0; ///< in a row
    std::uint64_t dropped_before = 0;
    std::uint64_t next_round_ns = 0;
    bool in_round = false;
    std::thread thread;
};

/// Ends when it is told to and nothing waits, or nothing more can be written.
void HistoryWriter::State::run() {
    std::unique_lock lock(mutex);
    while (!leave) {
        if (!queue.empty() && !given_up) {
            if (!write_front(lock)) {
                if (stopping) {
                    break; // it was tried once more
                }
                changed.wait_for(lock, pause(), [this] { return stopping || leave; });
            }
        } else if (stopping) {
            break;
        } else if (given_up) {
            changed.wait(lock, [this] { return stopping || leave; });
        } else {
            lock.unlock();
            keep_limits();
            const auto now = monotonic_ns();
            const auto idle = in_round || now >= next_round_ns ? 0 : next_round_ns - now;
            lock.lock();
            changed.wait_for(lock, std::chrono::nanoseconds(idle), [this] { return stopping || leave || !queue.empty(); });
        }
    }
    ended = true;
    changed.notify_all();
}

/// The oldest batch. False: it still waits.
bool HistoryWriter::State::write_front(std::unique_lock<std::mutex>& lock) {
    auto batch = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    Status status;
    if (!tables) {
        auto prepared = HistoryTables::prepare(file.database, settings.boot);
        status = prepared ? Status{} : tl::unexpected(prepared.error());
        if (prepared) {
            tables.emplace(std::move(*prepared));
        }
    }
    if (status) {
        status = tables->write(batch);
    }
    if (status) {
        recovered();
    } else {
        failed(status.error(), true);
    }
    lock.lock();
    if (!status && !given_up) {
        if (has_room_for(batch)) {
            queue.push_front(std::move(batch));
        } else {
            ++dropped;
        }
    }
    return status.has_value();
}

/// With the mutex held. One batch there always is.
bool HistoryWriter::State::has_room_for(const HistoryBatch& batch) const {
    const auto reports =
        std::accumulate(queue.begin(), queue.end(), batch.reports.size(),
                        [](std::size_t sum, const HistoryBatch& waiting) { return sum + waiting.reports.size(); });
    return queue.empty() || (queue.size() < kMostWaiting && reports <= kMostReports);
}

void HistoryWriter::State::failed(const Error& error, bool of_batch) {
    const bool damaged = sqlite_trouble(error) == SqliteTrouble::damaged;
    if (failures++ == 0 || damaged) {
        say((damaged ? "the history stops here: " : "the history waits: ") + history_error(settings.path, error).message +
            "; tracing goes on" + (damaged ? "" : ", it is tried again"));
    }
    if (damaged) {
        const std::lock_guard lock(mutex);
        given_up = true;
        dropped += queue.size() + (of_batch ? 1 : 0);
        queue.clear();
    }
}

void HistoryWriter::State::recovered() {
    if (failures == 0) {
        return;
    }
    failures = 0;
    std::uint64_t lost = 0;
    {
        const std::lock_guard lock(mutex);
        lost = dropped - dropped_before;
        dropped_before = dropped;
    }
    say("the history is written again" + (lost > 0 ? ", without " + reports_text(lost) + " that found no room" : std::string()));
}

std::chrono::nanoseconds HistoryWriter::State::pause() const {
    constexpr std::uint64_t kMostDoublings = 16;
    const auto doublings = std::min(failures > 0 ? failures - 1 : 0, kMostDoublings);
    return std::chrono::nanoseconds(std::min(settings.first_pause_ns << doublings, kLongestPause));
}

/// A step of the retention, where it is time for it.
void HistoryWriter::State::keep_limits() {
    const auto now = monotonic_ns();
    Status status;
    if (!in_round) {
        if (now < next_round_ns) {
            return;
        }
        next_round_ns = now + kBetweenRounds;
        status = retention.begin(now_ms());
        in_round = status.has_value();
    }
    if (in_round) {
        const auto more = retention.step();
        in_round = more.value_or(false);
        status = more ? Status{} : tl::unexpected(more.error());
    }
    if (tables && retention.removed_any()) {
        tables->forget();
    }
    if (!status) {
        in_round = false;
        failed(status.error(), false);
    }
}

HistoryWriter::HistoryWriter(std::shared_ptr<State> state) : state_(std::move(state)) {}
HistoryWriter::HistoryWriter(HistoryWriter&&) noexcept = default;

HistoryWriter& HistoryWriter::operator=(HistoryWriter&& other) noexcept {
    if (this != &other) {
        (void)close();
        state_ = std::move(other.state_);
    }
    return *this;
}

HistoryWriter::~HistoryWriter() {
    (void)close();
}

Result<HistoryWriter> HistoryWriter::open(HistorySettings settings, Say say) {
    auto file = HistoryFile::open(settings.path);
    if (!file) {
        return tl::unexpected(file.error());
    }
    auto state = std::make_shared<State>(std::move(settings), std::move(*file), std::move(say));
    const SignalGuard guard; // the thread leaves signals to others
    state->thread = std::thread([state] { state->run(); });
    return HistoryWriter(std::move(state));
}

void HistoryWriter::add(HistoryBatch batch) {
    if (batch.reports.empty() && batch.snapshots.empty()) {
        return;
    }
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->given_up || state_->stopping) {
            ++state_->dropped;
            return;
        }
        for (; !state_->has_room_for(batch); ++state_->dropped) {
            state_->queue.pop_front();
        }
        state_->queue.push_back(std::move(batch));
    }
    state_->changed.notify_all();
}

Status HistoryWriter::close(std::uint64_t patience_ns) {
    const auto state = std::move(state_);
    if (!state) {
        return {};
    }
    std::unique_lock lock(state->mutex);
    state->stopping = true;
    state->changed.notify_all();
    state->changed.wait_for(lock, std::chrono::nanoseconds(patience_ns), [&] { return state->ended; });
    state->leave = true;
    state->changed.notify_all();
    // A thread that is not within a call to the disk ends at once.
    const bool ended = state->changed.wait_for(lock, std::chrono::milliseconds(500), [&] { return state->ended; });
    const auto missing = state->dropped + state->queue.size();
    lock.unlock();
    if (ended) {
        state->thread.join();
    } else {
        state->thread.detach();
    }
    if (!ended) {
        return fail("the history is not complete: " + state->settings.path + ": the disk does not answer");
    }
    return missing == 0 ? Status{}
                        : fail("the history is not complete: " + reports_text(missing) + " could not be written to " +
                               state->settings.path);
}

} // namespace memtrace
