// What --history takes: of the tracer's thread (rows out of a report), of the writer's (a transaction), and of the disk.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "base/clock.hpp"
#include "store/history_schema.hpp"
#include "store/history_tables.hpp"

namespace memtrace {
namespace {

constexpr std::int64_t kReportMs = 5'000;
constexpr std::int64_t kFirstMs = 1'767'268'800'000;

/// Of a process with that many call sites, each with 20 frames; all of them hold other amounts at each moment.
Report report_of(std::int32_t pid, std::size_t sites) {
    Report report;
    report.process.pid = pid;
    report.process.start_time = "2026-01-01T00:00:00.000Z";
    report.process.comm = "database";
    report.process.exe = "/usr/lib/db/bin/database";
    report.verdict.class_name = "leak";
    for (std::size_t i = 0; i < sites; ++i) {
        ReportSite site;
        site.id = std::to_string(1'000'000'000'000'000 + i);
        site.live_bytes = 1'000'000 + i * 100;
        site.live_objects = 1'000;
        site.allocs = 5'000'000;
        site.frees = 4'999'000;
        site.verdict = i % 1'000 == 0 ? "probable" : "stable";
        site.allocator = "libc";
        site.function = "malloc";
        for (std::size_t depth = 0; depth < 20; ++depth) {
            site.stack.push_back({"database::execute_step(database::Session&, " + std::to_string(depth) + ")",
                                  "/src/execute/step.cpp", static_cast<std::uint32_t>(depth + 1), "/usr/lib/db/bin/database",
                                  i * 64 + depth, false, "0123456789abcdef0123456789abcdef01234567", 7});
        }
        report.sites.push_back(std::move(site));
    }
    return report;
}

void move_on(Report& report, std::int64_t at_ms) {
    report.time_unix_ns = static_cast<std::uint64_t>(at_ms) * 1'000'000;
    for (auto& site : report.sites) {
        site.live_bytes += 4'096;
        site.allocs += 1'000;
        site.frees += 999;
    }
}

void rows_of_reports(benchmark::State& state) {
    std::vector<Report> reports;
    for (std::int32_t pid = 1; pid <= state.range(0); ++pid) {
        reports.push_back(report_of(pid, static_cast<std::size_t>(state.range(1))));
    }
    for (auto _ : state) {
        for (const auto& report : reports) {
            benchmark::DoNotOptimize(history_rows(report));
        }
    }
}
BENCHMARK(rows_of_reports)->Args({1, 500})->Args({1, 50'000})->Args({100, 500})->Unit(benchmark::kMillisecond);

/// One moment of all processes; CPU time of the thread, and what the file grows by in a day at a report every 5 s, before it is thinned.
void write_reports(benchmark::State& state) {
    char directory[] = "/var/tmp/memtrace-bench-XXXXXX";
    const std::string path = std::string(::mkdtemp(directory)) + "/history.db";
    auto file = HistoryFile::open(path);
    auto tables = HistoryTables::prepare(file->database, "boot");
    std::vector<Report> reports;
    for (std::int32_t pid = 1; pid <= state.range(0); ++pid) {
        reports.push_back(report_of(pid, static_cast<std::size_t>(state.range(1))));
    }
    auto at_ms = kFirstMs;
    std::uint64_t moments = 0;
    for (auto _ : state) {
        state.PauseTiming();
        HistoryBatch batch;
        at_ms += kReportMs;
        for (auto& report : reports) {
            move_on(report, at_ms);
            batch.reports.push_back(history_rows(report));
        }
        state.ResumeTiming();
        if (const auto status = tables->write(batch); !status) {
            state.SkipWithError(status.error().message.c_str());
            break;
        }
        ++moments;
    }
    (void)file->database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    const auto bytes =
        static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(std::max<std::uint64_t>(moments, 1));
    state.counters["bytes_a_report"] = bytes / static_cast<double>(state.range(0));
    std::filesystem::remove_all(directory);
}
BENCHMARK(write_reports)->Args({1, 50'000})->Args({100, 500})->Unit(benchmark::kMillisecond)->Iterations(200);

} // namespace
} // namespace memtrace
