// Reads a history, beside a writer or without one. Each call sees the file as it is then, whole transactions only. What a file says is
// bounded and checked, never trusted. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/history_view.hpp"
#include "store/sqlite.hpp"

namespace memtrace {

/// A moment of a process, as rows have it.
struct HistoryMoment {
    HistoryProcess process;
    HistorySample sample;
    std::vector<HistorySite> sites; ///< one sample each
};

class HistoryReader {
public:
    static Result<HistoryReader> open(const std::string& path);

    /// Those with that pid and that name, where given (0, empty: any); the last seen comes last.
    Result<std::vector<HistoryProcess>> processes(std::int32_t pid, const std::string& comm);
    /// The newest sample of a process; nothing: there is none.
    Result<std::optional<HistorySample>> newest(const HistoryProcess& process);
    /// All of a process within [from_ms, to_ms]. Whether snapshots are there is looked at now.
    Result<HistoryView> view(const HistoryProcess& process, std::int64_t from_ms, std::int64_t to_ms);

    /// The report of those processes that is nearest to a moment. Nothing: there is none at all.
    Result<std::optional<HistoryMoment>> nearest(const std::vector<HistoryProcess>& processes, std::int64_t at_ms);
    /// The JSON snapshot of those processes nearest to a moment whose file is there.
    Result<std::optional<HistorySnapshot>> nearest_snapshot(const std::vector<HistoryProcess>& processes, std::int64_t at_ms);

private:
    HistoryReader(std::string path, SqliteDatabase database) : path_(std::move(path)), database_(std::move(database)) {}
    Status read_samples(HistoryView& view);
    Status read_verdicts(HistoryView& view);
    Status read_sites(HistoryView& view);
    Status read_kinds(HistoryView& view);
    Status read_alerts(HistoryView& view);
    Status read_snapshots(HistoryView& view);
    /// Each row of a statement, by `take(statement)`.
    template <typename Take, typename... Values>
    Status each(const char* sql, Take take, const Values&... values);

    std::string path_;
    SqliteDatabase database_;
};

} // namespace memtrace
