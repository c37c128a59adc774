#include "store/history_tables.hpp"

#include <algorithm>
#include <functional>

namespace memtrace {

namespace {

/// The start of a process is known by way of the wall clock, which may have been set in between.
constexpr std::int64_t kStartToleranceMs = 10'000;
/// When a site was last seen is needed to forget it some day: to the hour.
constexpr std::int64_t kSeenMs = 3'600'000;
constexpr std::size_t kMostRemembered = 100'000;

constexpr const char* kSql[] = {
    "SELECT id FROM process WHERE pid=? AND boot=? AND exe=? AND abs(start_ms-?)<=? ORDER BY last_ms DESC LIMIT 1",
    "INSERT INTO process(boot,pid,start_ms,comm,exe,cmdline,state,first_ms,last_ms) VALUES(?,?,?,?,?,?,?,?,?)",
    "UPDATE process SET state=?,comm=?,last_ms=max(last_ms,?) WHERE id=?",
    "SELECT verdict FROM verdict WHERE process=? ORDER BY at_ms DESC LIMIT 1",
    "INSERT OR REPLACE INTO sample VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    "INSERT OR REPLACE INTO verdict VALUES(?,?,?,?)",
    "SELECT id FROM site WHERE name=?",
    "INSERT INTO site(name,allocator,function,stack,stack_truncated,last_ms) VALUES(?,?,?,?,?,?)",
    "UPDATE site SET stack=? WHERE id=?",
    "UPDATE site SET last_ms=? WHERE id=?",
    "INSERT OR REPLACE INTO site_sample VALUES(?,?,?,?,?,?,?,?,?)",
    "INSERT OR REPLACE INTO kind_sample VALUES(?,?,?,?,?,?,?,?)",
    "INSERT INTO alert(process,at_ms,name,severity,state,since_ms,value,threshold,labels,text) VALUES(?,?,?,?,?,?,?,?,?,?)",
    "INSERT INTO snapshot(process,at_ms,format,path) VALUES(?,?,?,?)",
};

template <typename... Values>
std::size_t hash_of(const Values&... values) {
    std::size_t seed = 0;
    ((seed = seed * 1'000'003 + std::hash<Values>()(values)), ...);
    return seed;
}

/// Of what names say, not of where they are: a better name comes when a debug file has.
std::size_t hash_of_names(const std::vector<ReportFrame>& stack) {
    std::size_t seed = stack.size();
    for (const auto& frame : stack) {
        seed = hash_of(seed, frame.function, frame.file, frame.line);
    }
    return seed;
}

} // namespace

Result<HistoryTables> HistoryTables::prepare(SqliteDatabase& database, std::string boot) {
    static_assert(std::size(kSql) == sql_count);
    HistoryTables tables(database, std::move(boot));
    for (const auto* sql : kSql) {
        auto statement = database.prepare(sql);
        if (!statement) {
            return tl::unexpected(statement.error());
        }
        tables.statements_.push_back(std::move(*statement));
    }
    return tables;
}

Status HistoryTables::write(const HistoryBatch& batch) {
    if (std::max({last_.size(), sites_.size(), processes_.size()}) > kMostRemembered) {
        forget();
    }
    auto status = database_->in_transaction([&] { return write_rows(batch); });
    if (!status) {
        forget(); // ids and rows that are not there after all
    }
    return status;
}

Status HistoryTables::write_rows(const HistoryBatch& batch) {
    for (const auto& rows : batch.reports) {
        if (auto status = write_report(rows); !status) {
            return status;
        }
    }
    for (const auto& [about, snapshot] : batch.snapshots) {
        const auto process = process_of(about);
        if (!process) {
            return tl::unexpected(process.error());
        }
        if (auto status = statements_[add_snapshot].run((*process)->id, snapshot.at_ms, snapshot.format, snapshot.path);
            !status) {
            return status;
        }
    }
    return {};
}

Status HistoryTables::write_report(const HistoryRows& rows) {
    const auto process = process_of(rows.process);
    if (!process) {
        return tl::unexpected(process.error());
    }
    const auto id = (*process)->id;
    const auto& sample = rows.sample;
    auto status = statements_[seen_process].run(rows.process.state, rows.process.comm, rows.process.last_ms, id);
    if (status) {
        status = statements_[add_sample].run(id, sample.at_ms, sample.live_bytes, sample.live_objects, sample.rss_bytes,
                                             sample.leak_bytes_per_s, sample.overhead, sample.lost, sample.descriptors,
                                             sample.verdict, sample.mode);
    }
    if (status) {
        status = write_verdict(**process, rows);
    }
    for (std::size_t i = 0; status && i < rows.sites.size(); ++i) {
        status = write_site(id, rows.sites[i]);
    }
    for (std::size_t i = 0; status && i < rows.kinds.size(); ++i) {
        status = write_kind(id, rows.kinds[i]);
    }
    for (std::size_t i = 0; status && i < rows.alerts.size(); ++i) {
        const auto& alert = rows.alerts[i];
        status = statements_[add_alert].run(id, alert.at_ms, alert.name, alert.severity, alert.state, alert.since_ms, alert.value,
                                            alert.threshold, alert.labels, alert.text);
    }
    return status;
}

Status HistoryTables::write_verdict(Process& process, const HistoryRows& rows) {
    if (process.verdict == rows.sample.verdict) {
        return {};
    }
    process.verdict = rows.sample.verdict;
    return statements_[add_verdict].run(process.id, rows.sample.at_ms, rows.sample.verdict, rows.verdict_text);
}

Status HistoryTables::write_site(std::int64_t process, const HistorySite& site) {
    const auto& at = site.samples.front();
    if (!says_news(process, site.id, at.at_ms, hash_of(at.live_bytes, at.live_objects, at.verdict))) {
        return {};
    }
    const auto known = site_of(site);
    if (!known) {
        return tl::unexpected(known.error());
    }
    return statements_[add_site_sample].run(process, (*known)->id, at.at_ms, at.live_bytes, at.live_objects, at.allocs, at.frees,
                                            at.growth_bytes_per_s, at.verdict);
}

Status HistoryTables::write_kind(std::int64_t process, const HistoryKind& kind) {
    const auto& at = kind.samples.front();
    if (!says_news(process, kind.kind, at.at_ms, hash_of(at.live, at.leaked, at.bytes, at.verdict))) {
        return {};
    }
    return statements_[add_kind_sample].run(process, kind.kind, at.at_ms, at.live, at.leaked, at.bytes, at.growth_per_s,
                                            at.verdict);
}

bool HistoryTables::says_news(std::int64_t process, const std::string& key, std::int64_t at_ms, std::size_t said) {
    auto& last = last_[{process, key}];
    if (last.said == said && at_ms >= last.at_ms && at_ms - last.at_ms < kRepeatMs) {
        return false;
    }
    last = {at_ms, said};
    return true;
}

Result<HistoryTables::Process*> HistoryTables::process_of(const HistoryProcess& process) {
    auto& known = processes_[{process.pid, process.start_ms, process.exe}];
    if (known.id != 0) {
        return &known;
    }
    auto& find = statements_[find_process];
    if (auto status = find.bind(process.pid, boot_, process.exe, process.start_ms, kStartToleranceMs); !status) {
        return tl::unexpected(status.error());
    }
    const auto found = find.step();
    if (!found) {
        return tl::unexpected(found.error());
    }
    if (!*found) {
        if (auto status = statements_[add_process].run(boot_, process.pid, process.start_ms, process.comm, process.exe,
                                                       process.cmdline, process.state, process.first_ms, process.last_ms);
            !status) {
            return tl::unexpected(status.error());
        }
        known = {database_->last_row(), ""};
        return &known;
    }
    const auto id = find.integer(0);
    (void)find.bind(); // it has done
    auto& verdict = statements_[last_verdict];
    if (auto status = verdict.bind(id); !status) {
        return tl::unexpected(status.error());
    }
    const auto row = verdict.step();
    if (!row) {
        return tl::unexpected(row.error());
    }
    known = {id, *row ? verdict.text(0) : ""};
    (void)verdict.bind();
    return &known;
}

Result<HistoryTables::Site*> HistoryTables::site_of(const HistorySite& site) {
    auto& known = sites_[site.id];
    const auto at_ms = site.samples.front().at_ms;
    const auto named = hash_of_names(site.stack);
    if (known.id == 0) {
        auto& find = statements_[find_site];
        if (auto status = find.bind(site.id); !status) {
            return tl::unexpected(status.error());
        }
        const auto found = find.step();
        if (!found) {
            return tl::unexpected(found.error());
        }
        known.id = *found ? find.integer(0) : 0;
        (void)find.bind();
    }
    Status status;
    if (known.id == 0) {
        status = statements_[add_site].run(site.id, site.allocator, site.function, history_stack_json(site.stack),
                                           std::int64_t{site.stack_truncated}, at_ms);
        known = {database_->last_row(), named, at_ms};
    } else if (known.named != named) {
        status = statements_[name_site].run(history_stack_json(site.stack), known.id);
        known.named = named;
    }
    if (status && at_ms - known.seen_ms >= kSeenMs) {
        status = statements_[seen_site].run(at_ms, known.id);
        known.seen_ms = at_ms;
    }
    return status ? Result<Site*>(&known) : tl::unexpected(status.error());
}

} // namespace memtrace
