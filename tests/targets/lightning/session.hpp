// One client: reads requests, answers them, ends with the connection. A session lives in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "block.hpp"
#include "cursor.hpp"
#include "database.hpp"
#include "error_log.hpp"
#include "forgotten.hpp"
#include "memtrace/memtrace.hpp"
#include "protocol.hpp"
#include "statistics.hpp"
#include "wire.hpp"

namespace lightning {

/// What all sessions share.
struct Shared {
    Database& database;
    Statistics& statistics;
    BugBoard& board;
    ErrorLog& errors;
    Forgotten& forgotten;
};

class Session {
public:
    /// The socket stays its owner's; it and `shared` have to outlive the session. `connection`: the id of its resource.
    Session(const Shared& shared, int fd, std::uint64_t connection);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    /// Ends the cursors left open, and the arena: the place of bugs connection and leaked-cursor.
    ~Session();

    /// Returns when the client went, quit, or could not be written to.
    void run();

private:
    void answer(const Request& request);
    void get(std::string_view key);
    void put(const Request& request);
    void remove(std::string_view key);
    void scan_open(const Request& request);
    void scan_next(const Request& request);
    void scan_close(std::uint64_t id);
    void scan_plan(std::uint64_t id);
    void quit();
    void stats();

    void reject(std::string_view message);
    void reply(std::string_view text);
    void reply(std::string_view head, std::string_view body, std::string_view tail);
    void flush();

    struct OpenCursor {
        std::uint64_t id;
        memtrace::tracked_ptr<Cursor> cursor;
    };
    /// Empty where there is no such cursor.
    [[nodiscard]] memtrace::tracked_ptr<Cursor> find_cursor(std::uint64_t id) const;

    Shared shared_;
    memtrace::resource_handle<Wire> wire_;
    Database* database_;   ///< counted, by hand
    Block arena_;          ///< replies gather here until they are sent
    std::size_t used_ = 0; ///< bytes of the arena
    bool open_ = true;
    std::uint64_t next_cursor_ = 1;
    bool said_goodbye_ = false;
    memtrace::tracked_vector<OpenCursor> cursors_;
};

} // namespace lightning
