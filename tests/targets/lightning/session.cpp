#include "session.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

constexpr std::size_t kArenaBytes = std::size_t{24} * 1024;
constexpr std::size_t kMaxCursors = 64;

} // namespace

LIGHTNING_ALLOCATES void* session_arena_create(std::size_t bytes) {
    void* arena = std::malloc(bytes);
    return arena;
}

LIGHTNING_ALLOCATES void* value_buffer_create(std::size_t bytes) {
    void* buffer = std::malloc(bytes);
    return buffer;
}

namespace lightning {

Session::Session(const Shared& shared, int fd, std::uint64_t connection)
    : shared_(shared), wire_(Wire(fd), {"session", "", kArenaBytes, connection}), database_(&shared.database),
      arena_(shared.board, Bug::connection, kArenaBytes), open_(static_cast<bool>(arena_)) {
    database_->acquire(&database_); // BUG lost-release acquired // BUG double-release acquired
    ++shared_.statistics.sessions_opened;
}

Session::~Session() {
    shared_.statistics.cursors_closed += cursors_.size();
    if (shared_.board.on(Bug::leaked_cursor)) {
        shared_.forgotten.keep(std::exchange(cursors_, {}));
    }
    cursors_.clear();
    arena_.dispose();
    if (said_goodbye_ || !shared_.board.on(Bug::lost_release)) {
        database_->release(&database_); // BUG double-release released
    }
    ++shared_.statistics.sessions_closed;
}

void Session::run() {
    std::string line;
    while (open_) {
        const auto state = wire_->read_line(line, kMaxLineBytes);
        if (state == ReadLine::closed) {
            return;
        }
        if (state == ReadLine::too_long) {
            reject("limit a line has at most 1024 bytes");
        } else if (auto request = parse_request(line); request) {
            answer(*request);
        } else {
            reject(request.error().message);
        }
        if (!open_ || wire_->drained()) {
            flush();
        }
        wire_.touch();
        memtrace::resource_manager::process().poll_emergency();
    }
}

void Session::answer(const Request& request) {
    switch (request.verb) {
    case Verb::get:
        return get(request.key);
    case Verb::put:
        return put(request);
    case Verb::del:
        return remove(request.key);
    case Verb::scan_open:
        return scan_open(request);
    case Verb::scan_next:
        return scan_next(request);
    case Verb::scan_close:
        return scan_close(request.cursor);
    case Verb::scan_plan:
        return scan_plan(request.cursor);
    case Verb::stats:
        return stats();
    case Verb::leaks:
        return reply(shared_.board.truth(), "END\n", "");
    case Verb::bug_list:
        return reply(shared_.board.list(), "END\n", "");
    case Verb::bug_on:
    case Verb::bug_off:
        shared_.board.set(request.bug, request.verb == Verb::bug_on);
        return reply("OK\n");
    case Verb::ping:
        return reply("PONG\n");
    case Verb::quit:
        return quit();
    }
}

void Session::get(std::string_view key) {
    ++shared_.statistics.gets;
    // Copied out first: a slow client must not hold the locks that the value is shown under.
    std::string value;
    const auto found = shared_.database.get(key, [&value](std::string_view bytes) { value.assign(bytes); });
    if (!found) {
        return reject("storage " + found.error().message);
    }
    if (!*found) {
        ++shared_.statistics.not_found;
        return reply("NOTFOUND\n");
    }
    reply("VALUE " + std::to_string(value.size()) + "\n", value, "\n");
}

/// Every early return behind the first one is a place of bug error-path: the value has been read, dispose() may forget it.
void Session::put(const Request& request) {
    ++shared_.statistics.puts;
    if (request.bytes > kMaxValueBytes) {
        open_ = wire_->read_exactly(nullptr, request.bytes) && wire_->read_exactly(nullptr, 1);
        return reject("limit a value has at most 65536 bytes");
    }
    Block value(shared_.board, Bug::error_path, request.bytes + 1); // with the newline behind it
    if (!value) {
        open_ = wire_->read_exactly(nullptr, request.bytes + 1);
        return reject("memory none left for the value");
    }
    if (!wire_->read_exactly(value.data(), value.size())) {
        value.dispose();
        open_ = false;
        return;
    }
    if (value.data()[request.bytes] != '\n') {
        std::string rest;
        open_ = wire_->read_line(rest, kMaxLineBytes) != ReadLine::closed;
        value.dispose();
        return reject("length the value does not end where it should");
    }
    auto transaction = shared_.database.begin(request.key, wire_.id());
    if (!transaction) {
        return reject("busy no connection to the storage came free");
    }
    if (!valid_key(request.key)) {
        value.dispose();
        if (shared_.board.on(Bug::pool_exhaustion)) {
            shared_.forgotten.keep(std::move(transaction));
        }
        return reject("key wants 1 to 255 printable characters");
    }
    const auto status = shared_.database.put(transaction, request.key, {value.data(), request.bytes});
    if (!status) {
        return reject("storage " + status.error().message);
    }
    reply("OK\n");
}

void Session::remove(std::string_view key) {
    ++shared_.statistics.deletes;
    const auto transaction = shared_.database.begin(key, wire_.id());
    if (!transaction) {
        return reject("busy no connection to the storage came free");
    }
    const auto status = shared_.database.remove(transaction, key);
    if (!status) {
        return reject("storage " + status.error().message);
    }
    reply("OK\n");
}

void Session::scan_open(const Request& request) {
    ++shared_.statistics.scans;
    if (cursors_.size() == kMaxCursors) {
        return reject("limit a session has at most 64 open cursors");
    }
    auto rows = shared_.database.scan(request.key);
    memtrace::resource_info info("cursor", std::string(request.key), request.bytes, wire_.id());
    auto cursor = memtrace::make_tracked<Cursor>(shared_.board, std::move(rows), std::move(info)); // BUG leaked-cursor acquired
    if (!cursor->usable()) {
        return reject("memory none left for the cursor");
    }
    const auto id = next_cursor_++;
    cursors_.push_back({id, std::move(cursor)});
    ++shared_.statistics.cursors_opened;
    reply("CURSOR " + std::to_string(id) + "\n");
}

memtrace::tracked_ptr<Cursor> Session::find_cursor(std::uint64_t id) const {
    const auto found = std::find_if(cursors_.begin(), cursors_.end(), [id](const auto& open) { return open.id == id; });
    return found == cursors_.end() ? nullptr : found->cursor;
}

void Session::scan_next(const Request& request) {
    const auto cursor = find_cursor(request.cursor);
    if (!cursor) {
        return reject("cursor no such cursor");
    }
    const auto batch = cursor->next(request.rows);
    if (!batch) {
        return reject(batch.error().message);
    }
    shared_.statistics.scan_rows += batch->rows;
    const std::string head = "ROWS " + std::to_string(batch->rows) + " " + std::to_string(batch->bytes.size());
    reply(head, batch->done ? " done\n" : " more\n", batch->bytes);
}

void Session::scan_close(std::uint64_t id) {
    if (std::erase_if(cursors_, [id](const auto& open) { return open.id == id; }) == 0) {
        return reject("cursor no such cursor");
    }
    ++shared_.statistics.cursors_closed;
    reply("OK\n");
}

void Session::scan_plan(std::uint64_t id) {
    const auto cursor = find_cursor(id);
    if (!cursor) {
        return reject("cursor no such cursor");
    }
    reply(cursor->plan().text(), "END\n", "");
}

void Session::quit() {
    reply("BYE\n");
    open_ = false;
    said_goodbye_ = true;
    if (shared_.board.on(Bug::double_release)) {
        database_->release(&database_); // BUG double-release before
    }
}

void Session::stats() {
    const auto cache = shared_.database.cache_figures();
    reply(shared_.statistics.text());
    reply("stat cache_entries " + std::to_string(cache.entries) + "\n");
    reply("stat cache_bytes " + std::to_string(cache.bytes) + "\n");
    reply("stat cache_evictions " + std::to_string(cache.evictions) + "\n");
    reply("stat database_users " + std::to_string(shared_.database.users()) + "\n");
    reply("END\n");
}

void Session::reject(std::string_view message) {
    ++shared_.statistics.rejected;
    shared_.errors.append(message, wire_.id());
    reply("ERR ", message, "\n");
}

void Session::reply(std::string_view head, std::string_view body, std::string_view tail) {
    reply(head);
    reply(body);
    reply(tail);
}

void Session::reply(std::string_view text) {
    if (text.size() > arena_.size() - used_) {
        flush();
    }
    if (text.size() > arena_.size()) {
        open_ = wire_->write_all(text) && open_;
        return;
    }
    std::memcpy(arena_.data() + used_, text.data(), text.size());
    used_ += text.size();
}

void Session::flush() {
    open_ = wire_->write_all({arena_.data(), used_}) && open_;
    used_ = 0;
}

} // namespace lightning
