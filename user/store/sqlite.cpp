#include "store/sqlite.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <limits>

namespace memtrace {

namespace {

constexpr int kBusyTimeoutMs = 5'000;

/// errno of the call of the system that failed; of the file, or of the log beside it.
int system_errno(sqlite3* database) {
    int errnum = 0;
    sqlite3_file* log = nullptr;
    sqlite3_file_control(database, "main", SQLITE_FCNTL_LAST_ERRNO, &errnum);
    if (errnum == 0 &&
        sqlite3_file_control(database, "main", SQLITE_FCNTL_JOURNAL_POINTER, static_cast<void*>(&log)) == SQLITE_OK &&
        log != nullptr && log->pMethods != nullptr) {
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &errnum);
    }
    return errnum != 0 ? errnum : sqlite3_system_errno(database);
}

/// The system's word counts where SQLite has but "disk I/O error".
tl::unexpected<Error> failure(sqlite3* database, int code) {
    std::string words = sqlite3_errmsg(database);
    const int errnum = system_errno(database);
    const bool system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
    if (system && errnum != 0) {
        words = fail_errno(words, errnum).value().message;
    }
    // A limit on the size of files is no room either; SQLite knows ENOSPC alone for that.
    const bool full = system && (errnum == EFBIG || errnum == EDQUOT || errnum == ENOSPC);
    return tl::unexpected(Error{words, full ? -SQLITE_FULL : -code});
}

/// Every byte of the path spelled out: none of them means anything in a URI then.
std::string frozen_uri(const std::string& path) {
    std::string uri = "file:";
    for (const unsigned char c : path) {
        char spelled[4];
        std::snprintf(spelled, sizeof(spelled), "%%%02x", c);
        uri += c == '/' ? "/" : spelled;
    }
    return uri + "?immutable=1";
}

} // namespace

SqliteTrouble sqlite_trouble(const Error& error) {
    switch (-error.errnum & 0xff) {
    case SQLITE_FULL:
        return SqliteTrouble::full;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SqliteTrouble::damaged;
    case SQLITE_READONLY:
        return SqliteTrouble::read_only;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SqliteTrouble::busy;
    default:
        return SqliteTrouble::other;
    }
}

std::uint64_t SqliteStatement::count(int column) const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(integer(column), 0));
}

double SqliteStatement::real(int column) const {
    const double value = sqlite3_column_double(statement_.get(), column);
    return std::isfinite(value) ? value : 0;
}

std::string SqliteStatement::text(int column) const {
    const auto* bytes = sqlite3_column_text(statement_.get(), column); // first: it may convert, which changes the size
    const auto size = sqlite3_column_bytes(statement_.get(), column);
    return bytes == nullptr || size <= 0 ? std::string()
                                         : std::string(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

int SqliteStatement::bind_one(int index, std::uint64_t value) {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return sqlite3_bind_int64(statement_.get(), index, static_cast<std::int64_t>(std::min(value, kMost)));
}

int SqliteStatement::bind_one(int index, const std::string& value) {
    return sqlite3_bind_text64(statement_.get(), index, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

Result<bool> SqliteStatement::step() {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) {
        return true;
    }
    if (code == SQLITE_DONE) {
        sqlite3_reset(statement_.get());
        return false;
    }
    const auto error =
        failure(sqlite3_db_handle(statement_.get()), code); // before the reset, which may put other words in their place
    sqlite3_reset(statement_.get());
    return error;
}

Status SqliteStatement::finish() {
    for (;;) {
        const auto row = step();
        if (!row) {
            return tl::unexpected(row.error());
        }
        if (!*row) {
            return {};
        }
    }
}

Result<SqliteDatabase> SqliteDatabase::open(const std::string& path, Access access) {
    const int flags = (access == Access::write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY) |
                      (access == Access::frozen ? SQLITE_OPEN_URI : 0) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2((access == Access::frozen ? frozen_uri(path) : path).c_str(), &raw, flags, nullptr);
    SqliteDatabase database(raw);
    if (raw == nullptr) {
        return fail("no memory for SQLite");
    }
    if (code != SQLITE_OK) {
        return failure(raw, code);
    }
    sqlite3_busy_timeout(raw, kBusyTimeoutMs);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr); // we have none, nor views
    sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    if (auto status = database.run("PRAGMA cell_size_check=ON"); !status) {
        return tl::unexpected(status.error());
    }
    return database;
}

Status SqliteDatabase::run(const char* sql) {
    const int code = sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? Status{} : failure(database_.get(), code);
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
    if (code != SQLITE_OK) {
        return failure(database_.get(), code);
    }
    return SqliteStatement(statement);
}

Result<std::int64_t> SqliteDatabase::number(std::string_view sql) {
    auto statement = prepare(sql);
    if (!statement) {
        return tl::unexpected(statement.error());
    }
    const auto row = statement->step();
    if (!row) {
        return tl::unexpected(row.error());
    }
    return *row ? statement->integer(0) : 0;
}

} // namespace memtrace
