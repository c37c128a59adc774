// Keeps a history within its age and size: old rows are thinned, then removed. Internal to user/store. One thread.
//
// The work is done in small steps, each a transaction of its own, between which new reports are written. Readers go on meanwhile: they see
// the file as it was when they began.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "store/history_thin.hpp"
#include "store/sqlite.hpp"

namespace memtrace {

struct HistoryLimits {
    std::int64_t keep_ms = 30 * kDayMs; ///< rows older than that go, an hour at a time
    std::int64_t size_bytes = 1 << 30;  ///< of the file; beside it, the write-ahead log takes some MiB
};

class HistoryRetention {
public:
    HistoryRetention(SqliteDatabase& database, HistoryLimits limits) : database_(&database), limits_(limits) {}

    /// Begins a round: all that has become old by `now_ms`.
    Status begin(std::int64_t now_ms);
    /// One step of the round. False: it is over. An error ends it.
    Result<bool> step();
    /// Whether rows of processes or sites, which a writer remembers, went since this was asked last.
    bool removed_any();

private:
    struct Task {
        enum class Kind : std::uint8_t { thin, expire, sites, look_for_files, fit } kind;
        std::int64_t process = 0;
        std::size_t level = 0;
    };

    [[nodiscard]] std::int64_t keep_from() const;
    [[nodiscard]] std::int64_t thin_until(std::size_t level) const;
    Status queue(Task::Kind kind, std::size_t level, const char* due, std::int64_t until_ms);
    Result<bool> run(const Task& task);
    Result<bool> thin(std::int64_t process, std::size_t level);
    Status expire(std::int64_t process, std::int64_t before_ms);
    Status expire_sites(std::int64_t before_ms);
    Result<bool> look_for_files();
    Result<bool> fit();
    /// The first column of all rows. Parameters: ?1, ?2.
    Result<std::vector<std::string>> column(const char* sql, std::int64_t first = 0, std::int64_t second = 0);
    Result<std::optional<std::int64_t>> number(const char* sql, std::int64_t first, std::int64_t second = 0);

    SqliteDatabase* database_;
    HistoryLimits limits_;
    std::int64_t now_ms_ = 0;
    std::deque<Task> tasks_;
    std::int64_t last_snapshot_ = 0; ///< whose file was looked for
    bool removed_any_ = false;
};

} // namespace memtrace
