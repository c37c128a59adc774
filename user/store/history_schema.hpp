// The file of a history: what is in it, in which version, and whether a file is one. Internal to user/store.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "store/sqlite.hpp"

namespace memtrace {

/// PRAGMA application_id: "MTHI".
constexpr std::int64_t kHistoryMark = 0x4d544849;
/// PRAGMA user_version of what this version writes. A file of an older one is brought up to it; one of a newer one is refused.
constexpr std::int64_t kHistoryVersion = 2;

/// Puts the file at `path` into words: what SQLite said, and what to do about it.
Error history_error(const std::string& path, const Error& error);

/// A history that is written: locked, so that no other memtrace writes it, for as long as this lives. The descriptor is the lock's own, and
/// must be closed after the database: closing it before would take SQLite's locks away.
struct HistoryFile {
    UniqueFd lock;
    SqliteDatabase database;

    /// Creates the file where it is missing (its directory must exist), mode 0600.
    static Result<HistoryFile> open(const std::string& path);
};

/// To read; a writer may go on beside it. Also of a file, or in a directory, that cannot be written.
Result<SqliteDatabase> open_history_to_read(const std::string& path);

/// Brings an empty or older database to `version`, in one transaction.
Status migrate_history(SqliteDatabase& database, std::int64_t version = kHistoryVersion);

} // namespace memtrace
