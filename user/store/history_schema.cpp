#include "store/history_schema.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "base/path.hpp"

namespace memtrace {

namespace {

// A step for each version: what it adds to the one before. Steps that were released are never changed.
constexpr const char* kSteps[] = {
    R"(
CREATE TABLE process(id INTEGER PRIMARY KEY, boot TEXT NOT NULL, pid INTEGER NOT NULL, start_ms INTEGER NOT NULL, comm TEXT NOT NULL,
    exe TEXT NOT NULL, cmdline TEXT NOT NULL, state TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL);
CREATE INDEX process_by_pid ON process(pid, boot);
CREATE TABLE sample(process INTEGER NOT NULL, at_ms INTEGER NOT NULL, live_bytes INTEGER NOT NULL, live_objects INTEGER NOT NULL,
    rss_bytes INTEGER NOT NULL, leak_bytes_per_s REAL NOT NULL, overhead REAL NOT NULL, lost INTEGER NOT NULL,
    descriptors INTEGER NOT NULL, verdict TEXT NOT NULL, mode TEXT NOT NULL, PRIMARY KEY(process, at_ms)) WITHOUT ROWID;
CREATE TABLE verdict(process INTEGER NOT NULL, at_ms INTEGER NOT NULL, verdict TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY(process, at_ms)) WITHOUT ROWID;
CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, allocator TEXT NOT NULL, function TEXT NOT NULL,
    stack TEXT NOT NULL, stack_truncated INTEGER NOT NULL, last_ms INTEGER NOT NULL);
CREATE TABLE site_sample(process INTEGER NOT NULL, site INTEGER NOT NULL, at_ms INTEGER NOT NULL, live_bytes INTEGER NOT NULL,
    live_objects INTEGER NOT NULL, allocs INTEGER NOT NULL, frees INTEGER NOT NULL, growth_bytes_per_s REAL NOT NULL,
    verdict TEXT NOT NULL, PRIMARY KEY(process, site, at_ms)) WITHOUT ROWID;
CREATE TABLE alert(id INTEGER PRIMARY KEY, process INTEGER NOT NULL, at_ms INTEGER NOT NULL, name TEXT NOT NULL,
    severity TEXT NOT NULL, state TEXT NOT NULL, since_ms INTEGER NOT NULL, value REAL NOT NULL, threshold REAL NOT NULL,
    labels TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX alert_by_process ON alert(process, at_ms);
CREATE TABLE snapshot(id INTEGER PRIMARY KEY, process INTEGER NOT NULL, at_ms INTEGER NOT NULL, format TEXT NOT NULL,
    path TEXT NOT NULL, gone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX snapshot_by_process ON snapshot(process, at_ms);
CREATE TABLE thinned(process INTEGER NOT NULL, level INTEGER NOT NULL, until_ms INTEGER NOT NULL, PRIMARY KEY(process, level))
    WITHOUT ROWID;
)",
    R"(
CREATE TABLE kind_sample(process INTEGER NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, live INTEGER NOT NULL,
    leaked INTEGER NOT NULL, bytes INTEGER NOT NULL, growth_per_s REAL NOT NULL, verdict TEXT NOT NULL,
    PRIMARY KEY(process, kind, at_ms)) WITHOUT ROWID;
)",
};
static_assert(std::size(kSteps) == kHistoryVersion);

constexpr std::string_view kMagic("SQLite format 3\0", 16);

/// Before SQLite sees it: what is no database is called so, and left as it is.
Status check_kind(const std::string& path, int fd) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) {
        return fail_errno(path, errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return fail(path + ": is no regular file: a history needs one");
    }
    char head[kMagic.size()];
    const auto count = ::pread(fd, head, sizeof(head), 0);
    if (count < 0) {
        return fail_errno(path, errno);
    }
    if (count > 0 && std::string_view(head, static_cast<std::size_t>(count)) != kMagic) {
        return fail(path + ": is no history of memtrace: give another file, or move it away");
    }
    return {};
}

/// Whether it is ours, and of a version that we know. Empty ones are, when one is to be made of them.
Status check_mark(const std::string& path, SqliteDatabase& database, bool may_be_empty) {
    std::int64_t found[3];
    constexpr const char* kQuestions[] = {"PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema"};
    for (std::size_t i = 0; i < std::size(kQuestions); ++i) {
        const auto value = database.number(kQuestions[i]);
        if (!value) {
            return tl::unexpected(history_error(path, value.error()));
        }
        found[i] = *value;
    }
    const auto [mark, version, tables] = found;
    if (may_be_empty && mark == 0 && version == 0 && tables == 0) {
        return {};
    }
    if (mark == 0 && tables == 0) {
        return fail(path + ": holds no history yet");
    }
    if (mark != kHistoryMark) {
        return fail(path + ": is another program's database, no history of memtrace: give another file");
    }
    if (version > kHistoryVersion) {
        return fail(path + ": was written by a newer memtrace (format " + std::to_string(version) + ", this one knows " +
                    std::to_string(kHistoryVersion) + "): use that one, or give another file");
    }
    return version >= 1 ? Status{} : fail(path + ": is damaged (format 0): move it away, and a new one is begun");
}

/// A copy on a read-only medium, or in a directory of somebody else's: readers could not lock it as they do, and need not, as it is whole
/// where no log lies beside it.
bool is_frozen(const std::string& path) {
    return ::access(directory_of(path).c_str(), W_OK) != 0 && ::access((path + "-wal").c_str(), F_OK) != 0;
}

Status prepare_to_write(SqliteDatabase& database) {
    // auto_vacuum before the first table; WAL before what is written.
    if (auto status = database.run("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                                   "PRAGMA journal_size_limit=8388608; PRAGMA temp_store=MEMORY");
        !status) {
        return status;
    }
    return migrate_history(database);
}

} // namespace

Error history_error(const std::string& path, const Error& error) {
    switch (sqlite_trouble(error)) {
    case SqliteTrouble::full:
        return {path + ": no room: " + error.message, 0};
    case SqliteTrouble::damaged:
        return {path + ": is damaged (" + error.message +
                    "): move it away, and a new one is begun; sqlite3 OLD .recover | sqlite3 NEW may save it",
                0};
    case SqliteTrouble::read_only:
        return {path + ": cannot be written (" + error.message + ")", 0};
    case SqliteTrouble::busy:
        return {path + ": another program keeps it locked", 0};
    default:
        return {path + ": " + error.message, 0};
    }
}

Status migrate_history(SqliteDatabase& database, std::int64_t version) {
    const auto found = database.number("PRAGMA user_version");
    if (!found) {
        return tl::unexpected(found.error());
    }
    if (*found >= version) {
        return {};
    }
    std::string sql;
    for (auto step = *found; step < version; ++step) {
        sql += kSteps[step];
    }
    sql += "PRAGMA application_id=" + std::to_string(kHistoryMark) + "; PRAGMA user_version=" + std::to_string(version);
    return database.in_transaction([&] { return database.run(sql.c_str()); });
}

Result<HistoryFile> HistoryFile::open(const std::string& path) {
    UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
    if (!lock) {
        const auto* advice = errno == ENOENT ? " (create its directory first)" : "";
        return fail(fail_errno(path + ": cannot be written", errno).value().message + advice);
    }
    if (auto status = check_kind(path, lock.get()); !status) {
        return tl::unexpected(status.error());
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? fail(path + ": another memtrace writes it: give this one a file of its own")
                                    : fail_errno(path + ": cannot be locked", errno);
    }
    auto database = SqliteDatabase::open(path, SqliteDatabase::Access::write);
    if (!database) {
        return tl::unexpected(history_error(path, database.error()));
    }
    if (auto status = check_mark(path, *database, true); !status) {
        return tl::unexpected(status.error());
    }
    if (auto status = prepare_to_write(*database); !status) {
        return tl::unexpected(history_error(path, status.error()));
    }
    return HistoryFile{std::move(lock), std::move(*database)};
}

Result<SqliteDatabase> open_history_to_read(const std::string& path) {
    {
        // Closed before SQLite opens it: closing it later would take SQLite's locks away.
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
        if (!fd) {
            const auto* advice = errno == ENOENT ? " (memtrace --history FILE writes one)" : "";
            return fail(fail_errno(path, errno).value().message + advice);
        }
        if (auto status = check_kind(path, fd.get()); !status) {
            return tl::unexpected(status.error());
        }
    }
    auto database = SqliteDatabase::open(path, is_frozen(path) ? SqliteDatabase::Access::frozen : SqliteDatabase::Access::read);
    if (!database) {
        return tl::unexpected(history_error(path, database.error()));
    }
    if (auto status = check_mark(path, *database, false); !status) {
        return tl::unexpected(status.error());
    }
    return database;
}

} // namespace memtrace
