// The file of a history: written, read, migrated, thinned, refused, damaged. Real files, real SQLite.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>

#include "history_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

constexpr std::int64_t kNoon = 1'767'268'800'000; // 2026-01-01T12:00:00Z

/// The only process, all of it.
HistoryView whole(const std::string& path) {
    auto reader = HistoryReader::open(path);
    EXPECT_TRUE(reader) << reader.error().message;
    const auto processes = reader->processes(0, "");
    EXPECT_TRUE(processes && processes->size() == 1);
    auto view = reader->view(processes->front(), 0, kNoon * 2);
    EXPECT_TRUE(view) << view.error().message;
    return *view;
}

std::string refusal_to_write(const std::string& path) {
    const auto writer = HistoryWriter::open({.path = path, .boot = "boot", .limits = {}}, [](const std::string&) {});
    return writer ? "written" : writer.error().message;
}

std::string refusal_to_read(const std::string& path) {
    const auto reader = HistoryReader::open(path);
    return reader ? "read" : reader.error().message;
}

std::int64_t number(const std::string& path, const std::string& sql) {
    auto database = SqliteDatabase::open(path, SqliteDatabase::Access::read);
    EXPECT_TRUE(database);
    const auto value = database->number(sql);
    EXPECT_TRUE(value) << value.error().message;
    return value.value_or(-1);
}

void run_sql(const std::string& path, const std::string& sql) {
    auto database = SqliteDatabase::open(path, SqliteDatabase::Access::write);
    ASSERT_TRUE(database);
    const auto status = database->run(sql.c_str());
    ASSERT_TRUE(status) << status.error().message;
}

TEST(History, WhatIsWrittenIsRead) {
    const HistoryDirectory directory;
    auto first = report_at(kNoon);
    auto second = report_at(kNoon + 5'000, 1 << 20);
    second.verdict = {"healthy", "nothing grows", {}};
    ASSERT_EQ(write_history(directory.file(), {first, second}), "");
    const auto view = whole(directory.file());
    EXPECT_EQ(view.process.pid, 1234);
    EXPECT_EQ(view.process.comm, "lightning");
    EXPECT_EQ(view.process.cmdline, "lightning --port 7000");
    EXPECT_EQ(view.process.first_ms, kNoon);
    EXPECT_EQ(view.process.last_ms, kNoon + 5'000);
    ASSERT_EQ(view.samples.size(), 2U);
    EXPECT_EQ(view.samples[0].live_bytes, 7U << 20);
    EXPECT_EQ(view.samples[1].live_bytes, 8U << 20);
    EXPECT_EQ(view.samples[1].rss_bytes, 120U << 20);
    EXPECT_EQ(view.samples[1].descriptors, 17U);
    EXPECT_DOUBLE_EQ(view.samples[1].leak_bytes_per_s, 200 << 10);
    ASSERT_EQ(view.verdicts.size(), 2U);
    EXPECT_EQ(view.verdicts[1].verdict, "healthy");
    EXPECT_EQ(view.verdicts[1].text, "nothing grows");
    ASSERT_EQ(view.sites.size(), 2U); // the most grown first
    EXPECT_EQ(view.sites[0].id, "00000000000000aa");
    EXPECT_EQ(history_growth(view.sites[0]), 1 << 20);
    EXPECT_EQ(view.sites[0].stack, first.sites[1].stack);
    EXPECT_EQ(view.sites[1].samples.size(), 1U) << "a row that says nothing new";
    ASSERT_EQ(view.kinds.size(), 1U);
    EXPECT_EQ(view.kinds[0].samples[0].leaked, 1U);
}

TEST(History, ALaterRunGoesOnWithTheSameProcess) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), {report_at(kNoon)}), "");
    auto later = report_at(kNoon + 60'000);
    later.process.start_time = "2026-01-02T03:00:01.900Z"; // the wall clock was set meanwhile
    ASSERT_EQ(write_history(directory.file(), {later}), "");
    EXPECT_EQ(whole(directory.file()).samples.size(), 2U);
    auto other = report_at(kNoon + 120'000); // that pid again, another process
    other.process.start_time = "2026-01-02T05:00:00.000Z";
    ASSERT_EQ(write_history(directory.file(), {other}), "");
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM process"), 2);
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM site"), 2) << "sites are named once";
}

TEST(History, BetterNamesTakeTheirPlace) {
    const HistoryDirectory directory;
    auto unnamed = report_at(kNoon);
    unnamed.sites[1].stack[0].function.clear();
    ASSERT_EQ(write_history(directory.file(), {unnamed, report_at(kNoon + 5'000, 1)}), "");
    EXPECT_EQ(whole(directory.file()).sites[0].stack[0].function, "open_00000000000000aa");
}

TEST(History, OneWriterAtATime) {
    const HistoryDirectory directory;
    auto writer = HistoryWriter::open({.path = directory.file(), .boot = "boot", .limits = {}}, [](const std::string&) {});
    ASSERT_TRUE(writer);
    EXPECT_EQ(refusal_to_write(directory.file()),
              directory.file() + ": another memtrace writes it: give this one a file of its own");
    EXPECT_EQ(refusal_to_read(directory.file()), "read");
    EXPECT_TRUE(writer->close());
    EXPECT_EQ(refusal_to_write(directory.file()), "written");
}

TEST(History, AThreadWritesAndWhatFindsNoRoomInItsQueueIsCounted) {
    const HistoryDirectory directory;
    Said said;
    auto writer =
        HistoryWriter::open({.path = directory.file(), .boot = "boot", .limits = {}, .first_pause_ns = 1'000'000}, said.taker());
    ASSERT_TRUE(writer);
    const auto now = static_cast<std::int64_t>(wall_ns() / 1'000'000);
    {
        auto other = SqliteDatabase::open(directory.file(), SqliteDatabase::Access::write);
        ASSERT_TRUE(other && other->run("BEGIN IMMEDIATE"));
        writer->add(batch_of(report_at(now)));
        said.wait_for("the history waits: " + directory.file() +
                      ": another program keeps it locked; tracing goes on, it is tried again\n");
        for (int i = 1; i <= 70; ++i) { // one is in the writer's hands, or waits as well
            writer->add(batch_of(report_at(now + i)));
        }
    }
    const auto all = said.wait_for("the history is written again, without ");
    EXPECT_EQ(std::ranges::count(all, '\n'), 2) << all;
    const auto status = writer->close();
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find("the history is not complete: "), std::string::npos) << status.error().message;
    const auto rows = number(directory.file(), "SELECT count(*) FROM sample");
    EXPECT_GE(rows, 64);
    EXPECT_LE(rows, 65);
    EXPECT_EQ(number(directory.file(), "SELECT max(at_ms) FROM sample"), now + 70) << "the oldest are dropped";
}

TEST(History, TheQueueIsBoundedByReportsToo) {
    const HistoryDirectory directory;
    Said said;
    auto writer =
        HistoryWriter::open({.path = directory.file(), .boot = "boot", .limits = {}, .first_pause_ns = 1'000'000}, said.taker());
    ASSERT_TRUE(writer);
    constexpr std::int64_t kProcesses = 100;
    constexpr std::int64_t kLast = 30;
    const auto now = static_cast<std::int64_t>(wall_ns() / 1'000'000);
    {
        auto other = SqliteDatabase::open(directory.file(), SqliteDatabase::Access::write);
        ASSERT_TRUE(other && other->run("BEGIN IMMEDIATE"));
        writer->add(batch_of(report_at(now)));
        said.wait_for("the history waits: ");
        for (std::int64_t i = 1; i <= kLast; ++i) {
            HistoryBatch batch;
            for (std::int32_t pid = 1; pid <= kProcesses; ++pid) {
                batch.reports.push_back(history_rows(report_at(now + i, 0, pid)));
            }
            writer->add(std::move(batch));
        }
    }
    const auto all = said.wait_for("the history is written again");
    EXPECT_NE(all.find("written again, without "), std::string::npos) << all;
    EXPECT_FALSE(writer->close());
    const auto rows = number(directory.file(), "SELECT count(*) FROM sample");
    constexpr std::int64_t kMost = HistoryWriter::kMostReports;
    EXPECT_GE(rows, kMost);
    EXPECT_LE(rows, kMost + kProcesses) << "and the batch in the writer's hands";
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM sample WHERE at_ms=" + std::to_string(now + kLast)), kProcesses);
}

TEST(History, OthersFilesAreRefusedAndLeftAsTheyAre) {
    const HistoryDirectory directory;
    const auto text = directory.file("text");
    std::ofstream(text) << "a file of somebody's, longer than a header";
    EXPECT_EQ(refusal_to_write(text), text + ": is no history of memtrace: give another file, or move it away");
    EXPECT_EQ(refusal_to_read(text), text + ": is no history of memtrace: give another file, or move it away");
    const auto other = directory.file("other.db");
    run_sql(other, "CREATE TABLE thing(a); INSERT INTO thing VALUES(1)");
    EXPECT_EQ(refusal_to_write(other), other + ": is another program's database, no history of memtrace: give another file");
    EXPECT_EQ(number(other, "SELECT count(*) FROM thing"), 1);
    const auto newer = directory.file("newer.db");
    ASSERT_EQ(write_history(newer, {report_at(kNoon)}), "");
    run_sql(newer, "PRAGMA user_version=99");
    EXPECT_EQ(refusal_to_write(newer), newer +
                                           ": was written by a newer memtrace (format 99, this one knows 2): use that one, or "
                                           "give another file");
    EXPECT_EQ(refusal_to_read(newer), refusal_to_write(newer));
    EXPECT_EQ(refusal_to_write("/dev/null"), "/dev/null: is no regular file: a history needs one");
    EXPECT_EQ(refusal_to_write(directory.file("no/such.db")),
              directory.file("no/such.db") + ": cannot be written: No such file or directory (create its directory first)");
    EXPECT_EQ(refusal_to_read(directory.file("none.db")),
              directory.file("none.db") + ": No such file or directory (memtrace --history FILE writes one)");
    std::ofstream(directory.file("empty.db"));
    EXPECT_EQ(refusal_to_read(directory.file("empty.db")), directory.file("empty.db") + ": holds no history yet");
    EXPECT_EQ(refusal_to_write(directory.file("empty.db")), "written");
}

TEST(History, AnOlderFormatIsBroughtUpToDate) {
    const HistoryDirectory directory;
    {
        auto database = SqliteDatabase::open(directory.file(), SqliteDatabase::Access::write);
        ASSERT_TRUE(database);
        ASSERT_TRUE(migrate_history(*database, 1));
        ASSERT_TRUE(database->run(
            "INSERT INTO process VALUES(1,'boot',1234,1767322800000,'lightning','/usr/lib/db/bin/lightning','','running',5,6);"
            "INSERT INTO sample VALUES(1,5,100,1,200,0,0,0,0,'healthy','exact')"));
    }
    ASSERT_EQ(write_history(directory.file(), {report_at(kNoon)}), "");
    EXPECT_EQ(number(directory.file(), "PRAGMA user_version"), kHistoryVersion);
    const auto view = whole(directory.file());
    ASSERT_EQ(view.samples.size(), 2U);
    EXPECT_EQ(view.samples[0].live_bytes, 100U);
    EXPECT_EQ(view.kinds.size(), 1U);
}

TEST(History, AlertsFireAndAreResolved) {
    HistoryAlerts known;
    auto report = report_at(kNoon);
    Alert alert;
    alert.name = "leak";
    alert.state = AlertState::firing;
    alert.labels = {{"site", "aa"}, {"verdict", "probable"}};
    alert.text = "it leaks";
    report.alerts = {alert};
    ASSERT_EQ(history_alert_changes(known, report).size(), 1U);
    report.alerts[0].labels["verdict"] = "definite"; // the same one, more certain
    EXPECT_TRUE(history_alert_changes(known, report).empty());
    report.alerts[0].state = AlertState::pending;
    const auto resolved = history_alert_changes(known, report);
    ASSERT_EQ(resolved.size(), 1U);
    EXPECT_EQ(resolved[0].state, "resolved");
    EXPECT_TRUE(known.empty());
}

TEST(History, OldRowsAreThinnedButNotTheirPeaks) {
    // Six points in two minutes: of each the last, the highest, and where the verdict changes.
    const std::vector<ThinPoint> points{{60'000, 1, "a"},  {70'000, 9, "a"},  {80'000, 2, "a"},  {90'000, 3, "b"},
                                        {100'000, 3, "b"}, {110'000, 4, "b"}, {120'000, 5, "b"}, {130'000, 5, "b"}};
    EXPECT_EQ(thinned_out(points, kMinuteMs), (std::vector<std::int64_t>{60'000, 80'000, 100'000}));
    std::vector<ThinPoint> kept;
    for (const auto& point : points) {
        if (point.at_ms != 60'000 && point.at_ms != 80'000 && point.at_ms != 100'000) {
            kept.push_back(point);
        }
    }
    EXPECT_TRUE(thinned_out(kept, kMinuteMs).empty()) << "thinned again";
    EXPECT_TRUE(thinned_out({}, kMinuteMs).empty());
}

struct Round {
    int steps = 0;
    bool removed_any = false; ///< what a writer is told
};

/// All that is due by `now_ms`.
void keep_limits(const std::string& path, HistoryLimits limits, std::int64_t now_ms, Round* round = nullptr) {
    auto file = HistoryFile::open(path);
    ASSERT_TRUE(file);
    HistoryRetention retention(file->database, limits);
    ASSERT_TRUE(retention.begin(now_ms));
    int steps = 0;
    for (;; ++steps) {
        ASSERT_LT(steps, 10'000) << "it does not end";
        const auto more = retention.step();
        ASSERT_TRUE(more) << more.error().message;
        if (!*more) {
            break;
        }
    }
    if (round != nullptr) {
        *round = {steps, retention.removed_any()};
    }
}

std::vector<Report> reports_every(std::int64_t step_ms, std::int64_t from_ms, std::int64_t to_ms, std::int32_t pid = 1234) {
    std::vector<Report> reports;
    for (auto at = from_ms; at < to_ms; at += step_ms) {
        reports.push_back(report_at(at, static_cast<std::uint64_t>(at - from_ms), pid));
    }
    return reports;
}

TEST(History, RetentionThinsByAge) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), reports_every(10'000, kNoon, kNoon + 2 * kHourMs)), "");
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM sample"), 720);
    keep_limits(directory.file(), {.keep_ms = 30 * kDayMs}, kNoon + 7 * kHourMs); // the first hour has come of age
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM sample"), 60 + 360);
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM site_sample JOIN site ON site.id=site WHERE name LIKE '%aa'"),
              60 + 360);
    keep_limits(directory.file(), {.keep_ms = 30 * kDayMs}, kNoon + 8 * kDayMs);
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM sample"), 2);
    EXPECT_EQ(number(directory.file(), "SELECT max(at_ms) FROM sample"), kNoon + 2 * kHourMs - 10'000);
    keep_limits(directory.file(), {.keep_ms = 30 * kDayMs}, kNoon + 31 * kDayMs);
    for (const auto* table : {"process", "sample", "site_sample", "kind_sample", "site", "verdict", "thinned"}) {
        EXPECT_EQ(number(directory.file(), std::string("SELECT count(*) FROM ") + table), 0) << table;
    }
}

TEST(History, AFileAsOldAsItMayGetLosesAnHourAtATime) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), reports_every(10'000, kNoon, kNoon + 2 * kHourMs)), "");
    constexpr HistoryLimits kLimits{.keep_ms = kHourMs};
    Round round;
    keep_limits(directory.file(), kLimits, kNoon + 2 * kHourMs, &round);
    EXPECT_FALSE(round.removed_any) << "its writer would begin anew with every site of a process that goes on";
    for (const auto minutes : {0, 10, 50}) {
        keep_limits(directory.file(), kLimits, kNoon + 2 * kHourMs + minutes * kMinuteMs);
        EXPECT_EQ(number(directory.file(), "SELECT min(at_ms) FROM sample"), kNoon + kHourMs) << minutes;
    }
    keep_limits(directory.file(), kLimits, kNoon + 3 * kHourMs, &round);
    EXPECT_TRUE(round.removed_any) << "the process";
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM process"), 0);
}

TEST(History, ARoundLeavesProcessesAloneThatHaveNothingDue) {
    const HistoryDirectory directory;
    std::vector<Report> reports;
    for (std::int32_t pid = 1; pid <= 20; ++pid) {
        reports.push_back(report_at(kNoon, 0, pid));
        reports.push_back(report_at(kNoon + 10'000, 0, pid));
        reports.push_back(report_at(kNoon + 20'000, 0, pid));
    }
    ASSERT_EQ(write_history(directory.file(), reports), "");
    Round round;
    keep_limits(directory.file(), {}, kNoon + kHourMs, &round);
    const auto idle = round.steps;
    EXPECT_LT(idle, 20);
    keep_limits(directory.file(), {}, kNoon + kDayMs, &round);
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM sample"), 40) << "all of them are thinned";
    EXPECT_GE(round.steps, idle + 20);
    keep_limits(directory.file(), {}, kNoon + 2 * kDayMs, &round);
    EXPECT_EQ(round.steps, idle);
}

TEST(History, RetentionKeepsTheSize) {
    const HistoryDirectory directory;
    std::vector<Report> reports;
    for (std::int32_t pid = 1; pid <= 20; ++pid) {
        const auto some = reports_every(5'000, kNoon, kNoon + 30 * kMinuteMs, pid);
        reports.insert(reports.end(), some.begin(), some.end());
    }
    ASSERT_EQ(write_history(directory.file(), reports), "");
    const auto before = std::filesystem::file_size(directory.file());
    constexpr std::int64_t kLimit = 300'000;
    ASSERT_GT(before, 2 * kLimit);
    keep_limits(directory.file(), {.keep_ms = kNoon, .size_bytes = kLimit}, kNoon + 30 * kMinuteMs);
    EXPECT_LE(std::filesystem::file_size(directory.file()), kLimit);
    EXPECT_GT(number(directory.file(), "SELECT min(at_ms) FROM sample"), kNoon) << "the oldest goes";
    EXPECT_EQ(number(directory.file(), "SELECT max(at_ms) FROM sample"), kNoon + 30 * kMinuteMs - 5'000);
    EXPECT_EQ(number(directory.file(), "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check<>'ok'"), 0);
}

TEST(History, RetentionWhileAReaderReads) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), reports_every(10'000, kNoon, kNoon + kHourMs)), "");
    auto reader = SqliteDatabase::open(directory.file(), SqliteDatabase::Access::read);
    ASSERT_TRUE(reader);
    auto rows = reader->prepare("SELECT at_ms FROM sample ORDER BY at_ms");
    ASSERT_TRUE(rows && *rows->step());
    keep_limits(directory.file(), {.keep_ms = kHourMs}, kNoon + kDayMs);
    int count = 1;
    while (*rows->step()) {
        ++count;
    }
    EXPECT_EQ(count, 360) << "it sees the file as it was when it began";
    EXPECT_EQ(*reader->number("SELECT count(*) FROM sample"), 0);
}

TEST(History, SnapshotsWhoseFilesAreGoneAreMarked) {
    const HistoryDirectory directory;
    const auto there = directory.file("there.json");
    std::ofstream(there) << "{}";
    auto writer =
        HistoryWriter::open({.path = directory.file(), .boot = "boot", .limits = {.keep_ms = kNoon}}, [](const std::string&) {});
    ASSERT_TRUE(writer);
    const auto process = history_process(report_at(kNoon));
    HistoryBatch batch;
    batch.snapshots = {{process, {kNoon, "json", there, false}},
                       {process, {kNoon + 1, "json", directory.file("gone.json"), false}}};
    writer->add(std::move(batch));
    ASSERT_TRUE(writer->close());
    keep_limits(directory.file(), {.keep_ms = kNoon}, kNoon);
    EXPECT_EQ(number(directory.file(), "SELECT sum(gone) FROM snapshot"), 1);
    const auto view = whole(directory.file());
    ASSERT_EQ(view.snapshots.size(), 2U);
    EXPECT_FALSE(view.snapshots[0].gone);
    EXPECT_TRUE(view.snapshots[1].gone);
    auto reader = HistoryReader::open(directory.file());
    const auto nearest = reader->nearest_snapshot({view.process}, kNoon + 1);
    ASSERT_TRUE(nearest && *nearest);
    EXPECT_EQ((*nearest)->path, there);
}

TEST(History, TheNearestMoment) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), reports_every(10'000, kNoon, kNoon + kMinuteMs)), "");
    auto reader = HistoryReader::open(directory.file());
    ASSERT_TRUE(reader);
    const auto processes = *reader->processes(1234, "lightning");
    const auto moment = *reader->nearest(processes, kNoon + 34'000);
    ASSERT_TRUE(moment);
    EXPECT_EQ(moment->sample.at_ms, kNoon + 30'000);
    const auto report = history_report(moment->process, moment->sample, moment->sites);
    ASSERT_EQ(report.sites.size(), 2U); // one of them has no row of its own at that time
    EXPECT_EQ(report.sites[1].live_bytes, (3U << 20) + 30'000);
    EXPECT_EQ(report.sites[0].live_bytes, 4U << 20);
    EXPECT_EQ(report.totals.live_bytes, (7U << 20) + 30'000);
    EXPECT_EQ((*reader->nearest(processes, 1))->sample.at_ms, kNoon);
}

/// As a run does, whatever comes of it: a report, and all that is to be thinned, or removed as too old.
void write_to(const std::string& path) {
    (void)write_history(path, {report_at(kNoon + kHourMs, 1)});
    auto file = HistoryFile::open(path);
    if (!file) {
        return;
    }
    HistoryRetention retention(file->database, {.keep_ms = kHourMs});
    for (const auto now : {kNoon + 7 * kHourMs, kNoon + kHourMs + 5 * kMinuteMs}) {
        bool more = retention.begin(now).has_value();
        for (int steps = 0; more; ++steps) {
            ASSERT_LT(steps, 10'000) << "it does not end";
            more = retention.step().value_or(false);
        }
    }
}

/// Any of its bytes wrong: an error in words or what can still be read, never a crash and never without end.
TEST(History, DamageIsAnErrorNeverACrash) {
    const HistoryDirectory directory;
    ASSERT_EQ(write_history(directory.file(), reports_every(10'000, kNoon, kNoon + 10 * kMinuteMs)), "");
    std::ostringstream whole_file;
    whole_file << std::ifstream(directory.file()).rdbuf();
    const auto good = whole_file.str();
    std::mt19937 dice(7);
    const auto copy = directory.file("damaged.db");
    int refused = 0;
    for (int round = 0; round < 400; ++round) {
        auto bytes = good;
        const auto hits = 1 + dice() % 64;
        for (unsigned i = 0; i < hits; ++i) {
            // Half of them where the structure is: headers of pages, and the schema on the first one.
            const auto page = dice() % (bytes.size() / 4096) * 4096;
            const auto at = round % 2 == 0 ? dice() % bytes.size() : page + dice() % 128;
            bytes[at] = static_cast<char>(dice());
        }
        if (round % 10 == 9) {
            bytes.resize(dice() % bytes.size());
        }
        std::ofstream(copy, std::ios::trunc) << bytes;
        auto reader = HistoryReader::open(copy);
        std::string trouble = reader ? "" : reader.error().message;
        if (reader) {
            const auto processes = reader->processes(0, "");
            trouble = processes ? "" : processes.error().message;
            for (const auto& process : processes.value_or(std::vector<HistoryProcess>())) {
                const auto view = reader->view(process, 0, kNoon * 2);
                if (view) {
                    std::ostringstream text;
                    render_history_text(*view, {.sites = true, .alerts = true, .snapshots = true}, text);
                    render_history_text(*view, {}, text);
                    render_history_json(*view, text);
                }
                trouble = view ? trouble : view.error().message;
            }
        }
        EXPECT_EQ(trouble.find('\n'), std::string::npos) << trouble;
        EXPECT_TRUE(trouble.empty() || trouble.starts_with(copy + ": ")) << trouble;
        write_to(copy);
        refused += trouble.empty() ? 0 : 1;
        for (const auto* side : {"", "-wal", "-shm"}) {
            std::filesystem::remove(copy + side);
        }
    }
    EXPECT_GT(refused, 50);
}

} // namespace
} // namespace memtrace
