// One client: reads requests, answers them, ends with the connection. A session lives in one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "block.hpp"
#include "cursor.hpp"
#include "database.hpp"
#include "protocol.hpp"
#include "statistics.hpp"
#include "wire.hpp"

namespace lightning {

/// What all sessions share.
struct Shared {
    Database& database;
    Statistics& statistics;
    BugBoard& board;
};

class Session {
public:
    /// The socket stays its owner's; it and `shared` have to outlive the session.
    Session(const Shared& shared, int fd);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    /// Forgets the cursors left open, and the arena: the place of bug connection.
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
    void stats();

    void reject(std::string_view message);
    void reply(std::string_view text);
    void reply(std::string_view head, std::string_view body, std::string_view tail);
    void flush();

    Shared shared_;
    Wire wire_;
    Block arena_;          ///< replies gather here until they are sent
    std::size_t used_ = 0; ///< bytes of the arena
    bool open_ = true;
    std::uint64_t next_cursor_ = 1;
    std::map<std::uint64_t, std::unique_ptr<Cursor>> cursors_;
};

} // namespace lightning
