// A run's reports over time, for the tests of the history.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "base/clock.hpp"
#include "report/history.hpp"
#include "report_sample.hpp"
#include "store/history_reader.hpp"
#include "store/history_schema.hpp"
#include "store/history_writer.hpp"
#include "tests/unit/temporary_directory.hpp"

namespace memtrace::test {

class HistoryDirectory : public TemporaryDirectory {
public:
    [[nodiscard]] std::string file(const std::string& name = "history.db") const { return path(name); }
};

/// sample_report() at a moment, its leak that much larger.
inline Report report_at(std::int64_t at_ms, std::uint64_t leaked_bytes = 0, std::int32_t pid = 1234) {
    auto report = sample_report();
    report.time_unix_ns = static_cast<std::uint64_t>(at_ms) * 1'000'000;
    report.time = rfc3339(report.time_unix_ns);
    report.process.pid = pid;
    report.sites[1].live_bytes += leaked_bytes;
    report.totals.live_bytes += leaked_bytes;
    report.resources.kinds = {{"session", 3, 1, 4'096, 10, 7, 0, 0, 0}};
    report.resources.descriptors = 17;
    return report;
}

inline HistoryBatch batch_of(const Report& report) {
    HistoryBatch batch;
    batch.reports.push_back(history_rows(report));
    return batch;
}

/// What a writer says, from its thread.
class Said {
public:
    HistoryWriter::Say taker() {
        return [this](const std::string& text) {
            const std::lock_guard lock(mutex_);
            lines_ += text + "\n";
            changed_.notify_all();
        };
    }
    /// All of it, once `part` is among it.
    std::string wait_for(const std::string& part) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return lines_.find(part) != std::string::npos; });
        return lines_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string lines_;
};

/// Writes without a writer's thread, which would also keep the limits of the moment. Returns what went wrong.
inline std::string write_history(const std::string& path, const std::vector<Report>& reports) {
    auto file = HistoryFile::open(path);
    if (!file) {
        return file.error().message;
    }
    auto tables = HistoryTables::prepare(file->database, "boot");
    if (!tables) {
        return tables.error().message;
    }
    HistoryBatch batch;
    for (const auto& report : reports) {
        batch.reports.push_back(history_rows(report));
    }
    const auto status = tables->write(batch);
    return status ? "" : status.error().message;
}

} // namespace memtrace::test
