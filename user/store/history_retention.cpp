#include "store/history_retention.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace memtrace {

namespace {

/// Raw time that is thinned in one step: some hundred rows of each site.
constexpr std::int64_t kThinStepMs = kHourMs;
constexpr std::int64_t kFilesPerStep = 200;
/// Of the time that is kept, the part that goes in one step where the file is too large.
constexpr std::int64_t kFitParts = 20;
/// A file shrinks to that share of its size, so that it is not at once too large again.
constexpr std::int64_t kFitPercent = 95;

/// A table with series of rows of a process. Its key is text here also where it is a number there.
struct Series {
    const char* keys;   ///< of a process's series, found by a seek each, not by reading all rows
    const char* select; ///< parameters: process, key, from, to
    const char* remove; ///< parameters: process, key, at
    const char* expire; ///< parameters: process, key, before
};
constexpr Series kSeries[] = {
    {"SELECT '' WHERE ?1=?1 AND ?2=?2",
     "SELECT at_ms,live_bytes,verdict FROM sample WHERE process=?1 AND ?2=?2 AND at_ms>=?3 AND at_ms<?4 ORDER BY at_ms",
     "DELETE FROM sample WHERE process=?1 AND ?2=?2 AND at_ms=?3", "DELETE FROM sample WHERE process=?1 AND ?2=?2 AND at_ms<?3"},
    {"WITH RECURSIVE k(v) AS (SELECT min(site) FROM site_sample WHERE process=?1 AND ?2=?2 UNION ALL SELECT (SELECT min(site) "
     "FROM "
     "site_sample WHERE process=?1 AND site>v) FROM k WHERE v IS NOT NULL) SELECT v FROM k WHERE v IS NOT NULL",
     "SELECT at_ms,live_bytes,verdict FROM site_sample WHERE process=?1 AND site=?2 AND at_ms>=?3 AND at_ms<?4 ORDER BY at_ms",
     "DELETE FROM site_sample WHERE process=?1 AND site=?2 AND at_ms=?3",
     "DELETE FROM site_sample WHERE process=?1 AND site=?2 AND at_ms<?3"},
    {"WITH RECURSIVE k(v) AS (SELECT min(kind) FROM kind_sample WHERE process=?1 AND ?2=?2 UNION ALL SELECT (SELECT min(kind) "
     "FROM "
     "kind_sample WHERE process=?1 AND kind>v) FROM k WHERE v IS NOT NULL) SELECT v FROM k WHERE v IS NOT NULL",
     "SELECT at_ms,live,verdict FROM kind_sample WHERE process=?1 AND kind=?2 AND at_ms>=?3 AND at_ms<?4 ORDER BY at_ms",
     "DELETE FROM kind_sample WHERE process=?1 AND kind=?2 AND at_ms=?3",
     "DELETE FROM kind_sample WHERE process=?1 AND kind=?2 AND at_ms<?3"},
};

/// Of one series, within [from, to).
Status thin_one(SqliteDatabase& database, const Series& series, std::int64_t process, const std::string& key, std::int64_t from,
                std::int64_t to, std::int64_t bucket_ms) {
    auto rows = database.prepare(series.select);
    auto remove = database.prepare(series.remove);
    if (!rows || !remove) {
        return tl::unexpected(rows ? remove.error() : rows.error());
    }
    if (auto status = rows->bind(process, key, from, to); !status) {
        return status;
    }
    std::vector<ThinPoint> points;
    for (;;) {
        const auto row = rows->step();
        if (!row) {
            return tl::unexpected(row.error());
        }
        if (!*row) {
            break;
        }
        points.push_back({rows->integer(0), rows->count(1), rows->text(2)});
    }
    for (const auto at : thinned_out(points, bucket_ms)) {
        if (auto status = remove->run(process, key, at); !status) {
            return status;
        }
    }
    return {};
}

Status run_once(SqliteDatabase& database, const char* sql, const auto&... values) {
    auto statement = database.prepare(sql);
    return statement ? statement->run(values...) : tl::unexpected(statement.error());
}

} // namespace

std::int64_t HistoryRetention::thin_until(std::size_t level) const {
    const auto [age, bucket] = kThinLevels[level];
    return (now_ms_ - age) / bucket * bucket;
}

bool HistoryRetention::removed_any() {
    return std::exchange(removed_any_, false);
}

/// On the hour: of a file as old as that, every round would have a few minutes of each process to remove.
std::int64_t HistoryRetention::keep_from() const {
    return (now_ms_ - limits_.keep_ms) / kHourMs * kHourMs;
}

Result<std::vector<std::string>> HistoryRetention::column(const char* sql, std::int64_t first, std::int64_t second) {
    auto statement = database_->prepare(sql);
    if (!statement) {
        return tl::unexpected(statement.error());
    }
    if (auto status = statement->bind(first, second); !status) {
        return tl::unexpected(status.error());
    }
    std::vector<std::string> found;
    for (;;) {
        const auto row = statement->step();
        if (!row) {
            return tl::unexpected(row.error());
        }
        if (!*row) {
            return found;
        }
        found.push_back(statement->text(0));
    }
}

Result<std::optional<std::int64_t>> HistoryRetention::number(const char* sql, std::int64_t first, std::int64_t second) {
    const auto values = column(sql, first, second);
    if (!values) {
        return tl::unexpected(values.error());
    }
    return values->empty() ? std::nullopt : std::optional<std::int64_t>(std::strtoll(values->front().c_str(), nullptr, 10));
}

/// Of processes that have something to be done, most of which have ended long ago and have nothing.
Status HistoryRetention::queue(Task::Kind kind, std::size_t level, const char* due, std::int64_t until_ms) {
    const auto processes = column(due, until_ms, static_cast<std::int64_t>(level));
    if (!processes) {
        return tl::unexpected(processes.error());
    }
    for (const auto& process : *processes) {
        tasks_.push_back({kind, std::strtoll(process.c_str(), nullptr, 10), level});
    }
    return {};
}

Status HistoryRetention::begin(std::int64_t now_ms) {
    now_ms_ = now_ms;
    tasks_.clear();
    if (auto status = queue(Task::Kind::expire, 0, "SELECT id FROM process WHERE first_ms<?1 AND ?2=?2", keep_from()); !status) {
        return status;
    }
    for (std::size_t level = 0; level < std::size(kThinLevels); ++level) {
        auto status = queue(Task::Kind::thin, level,
                            "SELECT id FROM process LEFT JOIN thinned ON process=id AND level=?2 "
                            "WHERE first_ms<?1 AND last_ms>=coalesce(until_ms,0)",
                            thin_until(level));
        if (!status) {
            return status;
        }
    }
    for (const auto kind : {Task::Kind::sites, Task::Kind::look_for_files, Task::Kind::fit}) {
        tasks_.push_back({kind, 0, 0});
    }
    return {};
}

Result<bool> HistoryRetention::step() {
    if (tasks_.empty()) {
        return false;
    }
    auto more = run(tasks_.front());
    if (!more) {
        tasks_.clear();
        return more;
    }
    if (!*more) {
        tasks_.pop_front();
    }
    return true;
}

/// True: there is more of it to be done.
Result<bool> HistoryRetention::run(const Task& task) {
    const auto once = [](Status status) -> Result<bool> { return status ? Result<bool>(false) : tl::unexpected(status.error()); };
    switch (task.kind) {
    case Task::Kind::thin:
        return thin(task.process, task.level);
    case Task::Kind::expire:
        return once(expire(task.process, keep_from()));
    case Task::Kind::sites:
        return once(expire_sites(keep_from()));
    case Task::Kind::look_for_files:
        return look_for_files();
    case Task::Kind::fit:
        return fit();
    }
    return false;
}

/// The next stretch of a process's rows that has come of age for a level.
Result<bool> HistoryRetention::thin(std::int64_t process, std::size_t level) {
    const auto bucket = kThinLevels[level].bucket_ms;
    const auto target = thin_until(level);
    const auto mark = static_cast<std::int64_t>(level);
    const auto known = number("SELECT until_ms FROM thinned WHERE process=?1 AND level=?2", process, mark);
    if (!known) {
        return tl::unexpected(known.error());
    }
    const auto next =
        number("SELECT at_ms FROM sample WHERE process=?1 AND at_ms>=?2 ORDER BY at_ms LIMIT 1", process, known->value_or(0));
    if (!next) {
        return tl::unexpected(next.error());
    }
    if (!*next || **next >= target) {
        return false;
    }
    const auto from = **next / bucket * bucket;
    const auto to = std::min(from + std::max(kThinStepMs, bucket), target);
    auto status = database_->in_transaction([&]() -> Status {
        for (const auto& series : kSeries) {
            const auto keys = column(series.keys, process);
            if (!keys) {
                return tl::unexpected(keys.error());
            }
            for (const auto& key : *keys) {
                if (auto thinned = thin_one(*database_, series, process, key, from, to, bucket); !thinned) {
                    return thinned;
                }
            }
        }
        return run_once(*database_, "INSERT OR REPLACE INTO thinned VALUES(?,?,?)", process, mark, to);
    });
    return status ? Result<bool>(true) : tl::unexpected(status.error());
}

/// All of a process that is older; the process too, when nothing of it remains.
Status HistoryRetention::expire(std::int64_t process, std::int64_t before_ms) {
    const auto first = number("SELECT first_ms FROM process WHERE id=?1 AND ?2=?2", process);
    if (!first) {
        return tl::unexpected(first.error());
    }
    if (!*first || **first >= before_ms) {
        return {};
    }
    bool gone = false;
    auto status = database_->in_transaction([&]() -> Status {
        for (const auto& series : kSeries) {
            const auto keys = column(series.keys, process);
            if (!keys) {
                return tl::unexpected(keys.error());
            }
            for (const auto& key : *keys) {
                if (auto expired = run_once(*database_, series.expire, process, key, before_ms); !expired) {
                    return expired;
                }
            }
        }
        // The last verdict before is the one that held then.
        for (const auto* sql :
             {"DELETE FROM alert WHERE process=?1 AND at_ms<?2", "DELETE FROM snapshot WHERE process=?1 AND at_ms<?2",
              "DELETE FROM verdict WHERE process=?1 AND at_ms<(SELECT max(at_ms) FROM verdict WHERE process=?1 AND at_ms<?2)",
              "UPDATE process SET first_ms=?2 WHERE id=?1 AND first_ms<?2"}) {
            if (auto expired = run_once(*database_, sql, process, before_ms); !expired) {
                return expired;
            }
        }
        auto removed = run_once(*database_, "DELETE FROM process WHERE id=?1 AND last_ms<?2", process, before_ms);
        gone = removed && database_->changes() > 0;
        for (const auto* sql : {"DELETE FROM verdict WHERE process=?1 AND ?2=?2 AND process NOT IN (SELECT id FROM process)",
                                "DELETE FROM thinned WHERE process=?1 AND ?2=?2 AND process NOT IN (SELECT id FROM process)"}) {
            removed = removed ? run_once(*database_, sql, process, before_ms) : removed;
        }
        return removed;
    });
    removed_any_ = removed_any_ || (status && gone);
    return status;
}

Status HistoryRetention::expire_sites(std::int64_t before_ms) {
    auto status =
        run_once(*database_, "DELETE FROM site WHERE last_ms<?1", before_ms - kHourMs); // it is brought up to date hourly
    removed_any_ = removed_any_ || database_->changes() > 0;
    return status;
}

/// Snapshots that others have removed are marked so.
Result<bool> HistoryRetention::look_for_files() {
    const auto ids = column("SELECT id FROM snapshot WHERE gone=0 AND id>?1 ORDER BY id LIMIT ?2", last_snapshot_, kFilesPerStep);
    const auto paths =
        column("SELECT path FROM snapshot WHERE gone=0 AND id>?1 ORDER BY id LIMIT ?2", last_snapshot_, kFilesPerStep);
    if (!ids || !paths) {
        return tl::unexpected(ids ? paths.error() : ids.error());
    }
    auto status = database_->in_transaction([&]() -> Status {
        for (std::size_t i = 0; i < std::min(ids->size(), paths->size()); ++i) {
            struct stat info{};
            if (::stat((*paths)[i].c_str(), &info) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
                if (auto marked = run_once(*database_, "UPDATE snapshot SET gone=1 WHERE id=?", (*ids)[i]); !marked) {
                    return marked;
                }
            }
        }
        return {};
    });
    if (!status) {
        return tl::unexpected(status.error());
    }
    last_snapshot_ = ids->empty() ? 0 : std::strtoll(ids->back().c_str(), nullptr, 10);
    return !ids->empty();
}

/// Gives free pages back. Too large: what is oldest goes, before it is asked again.
Result<bool> HistoryRetention::fit() {
    if (auto status = database_->run("PRAGMA incremental_vacuum"); !status) {
        return tl::unexpected(status.error());
    }
    std::int64_t pages[3];
    constexpr const char* kQuestions[] = {"PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size"};
    for (std::size_t i = 0; i < std::size(kQuestions); ++i) {
        const auto value = database_->number(kQuestions[i]);
        if (!value) {
            return tl::unexpected(value.error());
        }
        pages[i] = *value;
    }
    const auto used = (pages[0] - pages[1]) * pages[2];
    if (used <= limits_.size_bytes / 100 * kFitPercent) {
        return false;
    }
    const auto oldest = number("SELECT first_ms FROM process WHERE ?1=?2 ORDER BY first_ms LIMIT 1", 0);
    const auto processes = column("SELECT id FROM process WHERE ?1=?2");
    if (!oldest || !processes) {
        return tl::unexpected(oldest ? processes.error() : oldest.error());
    }
    if (!*oldest || **oldest >= now_ms_) {
        return false; // there is nothing older
    }
    const auto before = **oldest + std::max<std::int64_t>((now_ms_ - **oldest) / kFitParts, 1'000);
    for (const auto& process : *processes) {
        if (auto status = expire(std::strtoll(process.c_str(), nullptr, 10), before); !status) {
            return tl::unexpected(status.error());
        }
    }
    auto status = expire_sites(before);
    return status ? Result<bool>(true) : tl::unexpected(status.error());
}

} // namespace memtrace
