// Recordings: the decoded input stream (model/events.hpp) in a file. The byte format is specified in user/store/README.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "model/events.hpp"

namespace memtrace {

/// Writes events. Buffered; flush() at the end of every tick makes what was written readable after a kill. One thread.
/// After a failed write (a full disk, say) the file holds part of a record: every further call gives the same error.
/// A reader that closes a fifo raises SIGPIPE in the writer, unless the process ignores it: then it is an error like any other.
class RecordingWriter {
public:
    /// Creates or empties the file, mode 0600, and writes the header at once: what can never be written to fails here. Of
    /// existing files only regular ones, /dev/null, /dev/full and fifos are taken. A fifo must have its reader already, and a
    /// reader that takes nothing for as long as `patience` is an error: tracing must not hang on it.
    static Result<RecordingWriter> create(const std::string& path, std::chrono::milliseconds patience = std::chrono::seconds(5));
    /// The event after which nothing follows (ReportDue with last) also writes the end record and flushes.
    /// An event that cannot be recorded (larger than 16 MiB) is an error, but leaves the recording intact and usable.
    Status write(const Event& event);
    Status flush();
    /// Flushes and closes: the last chance to hear of a write error. Idempotent.
    Status close();

private:
    RecordingWriter(UniqueFd fd, std::string path, std::chrono::milliseconds patience)
        : fd_(std::move(fd)), path_(std::move(path)), patience_(patience) {}
    Status write_out();
    Status wait_for_room();
    tl::unexpected<Error> break_off(tl::unexpected<Error> error);

    UniqueFd fd_;
    std::string path_; ///< for messages
    std::chrono::milliseconds patience_;
    std::string buffer_;
    std::uint64_t records_ = 0;
    bool ended_ = false;
    std::optional<Error> broken_;
};

/// Reads events in order, a bounded piece of the file at a time. A damaged or truncated file is an error that names the path and
/// the byte offset; what came before it was handed out. One thread.
class RecordingReader {
public:
    static Result<RecordingReader> open(const std::string& path);
    /// Over bytes in memory, for tests and the fuzzer.
    static Result<RecordingReader> from_bytes(std::string bytes);
    /// The next event, nullopt at a clean end. After an error every further call gives the same error.
    Result<std::optional<Event>> next();
    /// Records of kinds that this version does not know, skipped.
    [[nodiscard]] std::uint64_t unknown_records() const { return unknown_; }

private:
    RecordingReader(UniqueFd fd, std::string name, std::string bytes)
        : fd_(std::move(fd)), name_(std::move(name)), buffer_(std::move(bytes)) {}
    Status read_header();
    Result<std::optional<Event>> next_unchecked();
    Status finish(std::string_view payload);
    Result<bool> have(std::size_t count);
    [[nodiscard]] std::uint64_t offset() const { return buffer_offset_ + position_; }
    [[nodiscard]] tl::unexpected<Error> truncated() const;
    [[nodiscard]] tl::unexpected<Error> damaged(const std::string& why) const;

    UniqueFd fd_; ///< none: all bytes are in the buffer already
    std::string name_;
    std::string buffer_;              ///< a piece of the file, from buffer_offset_ on
    std::uint64_t buffer_offset_ = 0; ///< in the file
    std::size_t position_ = 0;        ///< of the next record in the buffer
    std::uint64_t records_ = 0;       ///< read so far, unknown ones included
    std::uint64_t unknown_ = 0;
    bool ended_ = false;
    std::optional<Error> broken_;
};

} // namespace memtrace
