// A history that is being written: a queue in front of a file, and a thread of its own between them, so that a slow disk holds nobody up.
//
//   add() --> queue, kMostWaiting batches at most, of kMostReports reports --> thread: one transaction each --> FILE, FILE-wal
//
// Where the file cannot be written (no room, a limit, a lock), one line says so; batches wait and are tried again, later and later, and
// from the moment that the queue is full the oldest are dropped and counted. When it can be written again, one line says that too. A
// damaged file is not tried again. See README.md, "History".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "store/history_retention.hpp"
#include "store/history_tables.hpp"

namespace memtrace {

struct HistorySettings {
    std::string path;
    std::string boot; ///< of the host, to tell pids apart
    HistoryLimits limits;
    std::uint64_t first_pause_ns = 1'000'000'000; ///< after a failure; doubled with each further one, up to a minute
};

class HistoryWriter {
public:
    /// Batches that wait at most: at a report every 5 s, five minutes.
    static constexpr std::size_t kMostWaiting = 64;
    /// Reports in them, one a process, each with the stacks of 20 sites: some 100 MiB.
    static constexpr std::size_t kMostReports = 1'000;
    /// Called by the writer's thread: one line for people.
    using Say = std::function<void(const std::string&)>;

    /// Opens the file, or creates it. Refuses what is no history, a newer one, one that another memtrace writes.
    static Result<HistoryWriter> open(HistorySettings settings, Say say);
    HistoryWriter(HistoryWriter&&) noexcept;
    HistoryWriter& operator=(HistoryWriter&&) noexcept;
    ~HistoryWriter(); ///< close(), with its usual patience

    /// Never waits. Threads: any.
    void add(HistoryBatch batch);
    /// Writes what waits, for `patience_ns` at most; then the file is closed. An error: it has gaps, or what waited was not written.
    Status close(std::uint64_t patience_ns = 10'000'000'000);

private:
    struct State;
    explicit HistoryWriter(std::shared_ptr<State> state);

    std::shared_ptr<State> state_; ///< the thread's too: it may outlast this, when a disk does not answer
};

} // namespace memtrace
