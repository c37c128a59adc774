// --history: what goes from a run into its history. One thread; the disk is the writer's own thread's affair.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "app/output.hpp"
#include "config/options.hpp"
#include "report/history.hpp"
#include "store/history_writer.hpp"

namespace memtrace {

class HistoryLog {
public:
    /// Opens the file of --history, or creates it.
    static Result<HistoryLog> open(const Options& options);

    /// The reports of one moment, with their alerts.
    void add(const std::vector<Report>& reports);
    /// Snapshots, once their files are there.
    void add(const std::vector<WrittenSnapshot>& snapshots);
    /// An error: the history is not complete.
    Status close() { return writer_.close(); }

private:
    explicit HistoryLog(HistoryWriter writer) : writer_(std::move(writer)) {}

    HistoryWriter writer_;
    std::map<std::pair<std::int32_t, std::string>, HistoryAlerts> alerts_; ///< by pid and start of the process
};

} // namespace memtrace
