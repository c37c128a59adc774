// Lines to a standard error that nobody reads: none waits, what found no room is told, and the end is bounded.
#include "app/message_queue.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/fd.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kLong = 60'000'000'000; // ns

/// A pipe that holds 4 KiB.
struct Pipe {
    Pipe() {
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        reader.reset(ends[0]);
        writer.reset(ends[1]);
        EXPECT_EQ(::fcntl(writer.get(), F_SETPIPE_SZ, 4'096), 4'096);
    }
    /// What comes until `text` does.
    [[nodiscard]] std::string read_until(const std::string& text) const {
        std::string all;
        while (all.find(text) == std::string::npos) {
            char buffer[1'024];
            const auto count = ::read(reader.get(), buffer, sizeof(buffer));
            if (count <= 0) {
                break;
            }
            all.append(buffer, static_cast<std::size_t>(count));
        }
        return all;
    }
    UniqueFd reader;
    UniqueFd writer;
};

TEST(MessageQueue, IsForLinesWhileItIsThere) {
    EXPECT_FALSE(MessageQueue::take("a"));
    Pipe pipe;
    {
        const MessageQueue queue(pipe.writer.get(), kLong);
        EXPECT_TRUE(MessageQueue::take("one"));
        EXPECT_TRUE(MessageQueue::take("two"));
    }
    EXPECT_FALSE(MessageQueue::take("b"));
    pipe.writer.reset();
    EXPECT_EQ(pipe.read_until("never"), "one\ntwo\n");
}

TEST(MessageQueue, WhatNobodyReadsIsDroppedCountedAndSaid) {
    constexpr std::size_t kLines = 3 * MessageQueue::kMostWaiting;
    const Pipe pipe;
    const MessageQueue queue(pipe.writer.get(), kLong);
    for (std::size_t i = 0; i < kLines; ++i) {
        ASSERT_TRUE(MessageQueue::take(std::string(99, 'x')));
    }
    const auto said = pipe.read_until(" lines are missing here");
    const auto at = said.find("memtrace: ");
    ASSERT_NE(at, std::string::npos) << said;
    const auto missing = std::stoul(said.substr(at + 10));
    EXPECT_GE(missing, kLines - 2 * MessageQueue::kMostWaiting - 4'096 / 100);
    EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(said.substr(0, at), '\n')) + missing, kLines);
    EXPECT_TRUE(MessageQueue::take("again"));
    EXPECT_NE(pipe.read_until("again\n"), "");
}

TEST(MessageQueue, ItsEndDoesNotWaitForWhoNeverReads) {
    const Pipe pipe;
    {
        const MessageQueue queue(pipe.writer.get(), 1);
        EXPECT_TRUE(MessageQueue::take(std::string(100'000, 'x'))); // more than the pipe holds
    }
    EXPECT_FALSE(MessageQueue::take("a"));
    (void)pipe.read_until("\n"); // so that its thread ends
}

} // namespace
} // namespace memtrace
