#include "app/history_log.hpp"

#include <signal.h>

#include "app/message.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

Result<HistoryLog> HistoryLog::open(const Options& options) {
    auto boot = read_file("/proc/sys/kernel/random/boot_id");
    if (!boot) {
        return tl::unexpected(boot.error());
    }
    boot->resize(boot->find_last_not_of('\n') + 1);
    signal(SIGXFSZ, SIG_IGN); // a limit on the size of files is an error, not an end
    HistorySettings settings{.path = options.history, .boot = *boot, .limits = {}};
    settings.limits.keep_ms = static_cast<std::int64_t>(options.history_keep_ns / kNanosPerMilli);
    settings.limits.size_bytes = static_cast<std::int64_t>(options.history_size);
    auto writer = HistoryWriter::open(std::move(settings), say);
    if (!writer) {
        return tl::unexpected(writer.error().in("--history"));
    }
    return HistoryLog(std::move(*writer));
}

void HistoryLog::add(const std::vector<Report>& reports) {
    HistoryBatch batch;
    for (const auto& report : reports) {
        auto rows = history_rows(report);
        const std::pair process(report.process.pid, report.process.start_time);
        rows.alerts = history_alert_changes(alerts_[process], report);
        batch.reports.push_back(std::move(rows));
        if (report.process.state != "running") {
            alerts_.erase(process);
        }
    }
    writer_.add(std::move(batch));
}

void HistoryLog::add(const std::vector<WrittenSnapshot>& snapshots) {
    HistoryBatch batch;
    for (const auto& written : snapshots) {
        batch.snapshots.emplace_back(written.process,
                                     HistorySnapshot{written.process.last_ms, written.format, written.path, false});
    }
    writer_.add(std::move(batch));
}

} // namespace memtrace
