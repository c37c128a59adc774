// SQLite's C API behind owners: a database and its prepared statements. Nothing here knows what is stored. Internal to user/store.
//
// Every failure is an Error with SQLite's words, whose errnum is SQLite's code below zero: sqlite_trouble() reads it. What a file holds is
// never trusted: a column of another type than asked for is converted by SQLite's rules, NULL is zero or empty. One thread per database.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <sqlite3.h>

#include "base/result.hpp"

namespace memtrace {

/// What an operator would do something else about.
enum class SqliteTrouble : std::uint8_t { full, damaged, read_only, busy, other };
SqliteTrouble sqlite_trouble(const Error& error);

/// A prepared statement. Lives no longer than its database.
class SqliteStatement {
public:
    /// Gives values to the parameters, in order, and makes it ready to be stepped from its start.
    template <typename... Values>
    Status bind(const Values&... values) {
        sqlite3_reset(statement_.get());
        int index = 0;
        int code = SQLITE_OK;
        ((code = code == SQLITE_OK ? bind_one(++index, values) : code), ...);
        return code == SQLITE_OK ? Status{} : tl::unexpected(Error{sqlite3_errstr(code), -code});
    }
    /// bind(), then all of its steps. Rows are passed over.
    template <typename... Values>
    Status run(const Values&... values) {
        if (auto status = bind(values...); !status) {
            return status;
        }
        return finish();
    }
    /// The next row; false: there is none, and the statement is reset, so that it holds no lock.
    Result<bool> step();

    [[nodiscard]] std::int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
    /// Negative ones, which no writer of ours makes, count as 0.
    [[nodiscard]] std::uint64_t count(int column) const;
    /// 0 where it is not finite.
    [[nodiscard]] double real(int column) const;
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] bool is_null(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }

private:
    friend class SqliteDatabase;
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };
    explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
    Status finish();
    int bind_one(int index, std::int64_t value) { return sqlite3_bind_int64(statement_.get(), index, value); }
    int bind_one(int index, std::uint64_t value);
    int bind_one(int index, std::int32_t value) { return sqlite3_bind_int64(statement_.get(), index, value); }
    int bind_one(int index, double value) { return sqlite3_bind_double(statement_.get(), index, value); }
    int bind_one(int index, const std::string& value);

    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class SqliteDatabase {
public:
    enum class Access : std::uint8_t {
        read,
        frozen, ///< read, and nobody writes: needs no lock, and nothing beside the file
        write
    };
    /// Opens what is there; with write also creates it. A schema that somebody else put there runs no function of its own.
    static Result<SqliteDatabase> open(const std::string& path, Access access);

    /// Statements without parameters and results, separated by semicolons.
    Status run(const char* sql);
    Result<SqliteStatement> prepare(std::string_view sql);
    /// The first column of the first row; 0 where there is none.
    Result<std::int64_t> number(std::string_view sql);

    /// `work` within a transaction: all of it, or nothing and its error.
    template <typename Work>
    Status in_transaction(Work work) {
        auto status = run("BEGIN IMMEDIATE");
        if (status) {
            status = work();
            status = status ? run("COMMIT") : status;
            if (!status && sqlite3_get_autocommit(database_.get()) == 0) { // some failures have ended it already
                (void)run("ROLLBACK");
            }
        }
        return status;
    }

    /// Rows that the last statement changed.
    [[nodiscard]] std::int64_t changes() const { return sqlite3_changes64(database_.get()); }
    [[nodiscard]] std::int64_t last_row() const { return sqlite3_last_insert_rowid(database_.get()); }

private:
    struct Close {
        void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
    };
    explicit SqliteDatabase(sqlite3* database) : database_(database) {}

    std::unique_ptr<sqlite3, Close> database_;
};

} // namespace memtrace
