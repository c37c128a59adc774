// A scan in progress: an iterator over a fixed view of the database, and a buffer that a batch of rows is packed into.
// Belongs to one session and its thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <leveldb/iterator.h>

#include "base/result.hpp"
#include "block.hpp"
#include "memtrace/memtrace.hpp"
#include "plan.hpp"

namespace lightning {

struct Batch {
    std::string_view bytes; ///< rows "KEY BYTES\n" value "\n"; points into the cursor's buffer until the next call
    std::uint64_t rows = 0;
    bool done = false; ///< no more rows follow
};

class Cursor {
public:
    /// `info`: as tracers are told of it.
    Cursor(BugBoard& board, std::unique_ptr<leveldb::Iterator> rows, memtrace::resource_info info)
        : plan_(board), buffer_(board, Bug::cursor_buffer, info.bytes), rows_(std::move(rows), std::move(info)) {}
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;
    /// Closing and forgetting a cursor both end here: the place of bug cursor-buffer.
    ~Cursor() { buffer_.dispose(); }

    /// Without memory for its buffer a cursor is of no use.
    [[nodiscard]] bool usable() const { return static_cast<bool>(buffer_); }
    /// Packs rows until there are `max_rows`, the buffer is full or the scan is at its end. A row that does not fit an empty
    /// buffer is an error and is not passed over.
    memtrace::Result<Batch> next(std::uint64_t max_rows);
    [[nodiscard]] const Plan& plan() const { return plan_; }

private:
    Plan plan_;
    Block buffer_;
    memtrace::resource_handle<std::unique_ptr<leveldb::Iterator>> rows_;
};

} // namespace lightning
