// Lines on their way to a standard error that may not be read: while there is one of these, a thread of its own writes what say_line() is
// given, so that nobody waits for a pipe that is full or a terminal that is stopped. What finds no room is counted, and said once there is
// room again.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>

namespace memtrace {

class MessageQueue {
public:
    /// Lines that wait at most; further ones are dropped.
    static constexpr std::size_t kMostWaiting = 1'000;
    /// For the last lines, where nobody reads them.
    static constexpr std::uint64_t kFlushNs = 2'000'000'000;

    /// One at a time.
    explicit MessageQueue(int fd = STDERR_FILENO, std::uint64_t flush_ns = kFlushNs);
    /// Waits until all is written, for `flush_ns` at most: a write that hangs then is left to itself.
    ~MessageQueue();
    MessageQueue(const MessageQueue&) = delete;
    MessageQueue& operator=(const MessageQueue&) = delete;

    /// False: there is no queue. Never waits. Threads: any.
    static bool take(const std::string& line);

private:
    struct Lines;
    struct Current;
    static Current& current();
    static void write_all_of(Lines& lines);

    std::shared_ptr<Lines> lines_; ///< the thread's as well, which may outlast this
    std::uint64_t flush_ns_;
};

} // namespace memtrace
