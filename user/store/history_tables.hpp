// Writes rows of a history: prepared statements, and what was written last. Internal to user/store. One thread.
//
// A row that says what the last one of its site or kind said is left out, unless that is a minute old: who reads goes by the last row
// before a moment.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "report/history.hpp"
#include "store/sqlite.hpp"

namespace memtrace {

/// What is written in one transaction: the reports of one moment, or snapshots.
struct HistoryBatch {
    std::vector<HistoryRows> reports;
    std::vector<std::pair<HistoryProcess, HistorySnapshot>> snapshots;
};

class HistoryTables {
public:
    /// Rows that say nothing new are written that often.
    static constexpr std::int64_t kRepeatMs = 60'000;

    /// `boot`: tells pids of one boot of the host from those of another.
    static Result<HistoryTables> prepare(SqliteDatabase& database, std::string boot);

    /// All of it or nothing.
    Status write(const HistoryBatch& batch);
    /// After rows were removed: what was remembered of them.
    void forget() {
        processes_.clear();
        sites_.clear();
        last_.clear();
    }

private:
    enum Sql : std::uint8_t {
        find_process,
        add_process,
        seen_process,
        last_verdict,
        add_sample,
        add_verdict,
        find_site,
        add_site,
        name_site,
        seen_site,
        add_site_sample,
        add_kind_sample,
        add_alert,
        add_snapshot,
        sql_count
    };
    struct Process {
        std::int64_t id = 0;
        std::string verdict; ///< as of the last row in `verdict`
    };
    struct Site {
        std::int64_t id = 0;
        std::size_t named = 0; ///< hash of the stack that is stored
        std::int64_t seen_ms = 0;
    };
    struct Last {
        std::int64_t at_ms = 0;
        std::size_t said = 0; ///< hash
    };
    using ProcessKey = std::tuple<std::int32_t, std::int64_t, std::string>; ///< pid, start, exe

    HistoryTables(SqliteDatabase& database, std::string boot) : database_(&database), boot_(std::move(boot)) {}
    Status write_rows(const HistoryBatch& batch);
    Status write_report(const HistoryRows& rows);
    Status write_verdict(Process& process, const HistoryRows& rows);
    Status write_site(std::int64_t process, const HistorySite& site);
    Status write_kind(std::int64_t process, const HistoryKind& kind);
    Result<Process*> process_of(const HistoryProcess& process);
    Result<Site*> site_of(const HistorySite& site);
    bool says_news(std::int64_t process, const std::string& key, std::int64_t at_ms, std::size_t said);

    SqliteDatabase* database_;
    std::string boot_;
    std::vector<SqliteStatement> statements_; ///< by Sql
    std::map<ProcessKey, Process> processes_;
    std::map<std::string, Site> sites_;
    std::map<std::pair<std::int64_t, std::string>, Last> last_; ///< by process, and site or kind
};

} // namespace memtrace
