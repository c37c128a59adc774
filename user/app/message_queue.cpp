#include "app/message_queue.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/write_all.hpp"

namespace memtrace {

struct MessageQueue::Lines {
    int fd;

    std::mutex mutex{}; ///< of what follows
    std::condition_variable changed{};
    std::deque<std::string> waiting{};
    std::uint64_t dropped = 0; ///< since there was room last
    bool stopping = false;
    bool done = false; ///< all is written
};

struct MessageQueue::Current {
    std::mutex mutex{}; ///< of what follows
    std::shared_ptr<Lines> lines{};
};

MessageQueue::Current& MessageQueue::current() {
    static Current current;
    return current;
}

MessageQueue::MessageQueue(int fd, std::uint64_t flush_ns) : lines_(new Lines{fd}), flush_ns_(flush_ns) {
    std::thread([lines = lines_] { write_all_of(*lines); }).detach(); // it cannot be waited for while it hangs
    const std::lock_guard<std::mutex> lock(current().mutex);
    current().lines = lines_;
}

MessageQueue::~MessageQueue() {
    {
        const std::lock_guard<std::mutex> lock(current().mutex);
        current().lines.reset();
    }
    std::unique_lock<std::mutex> lock(lines_->mutex);
    lines_->stopping = true;
    lines_->changed.notify_all();
    lines_->changed.wait_for(lock, std::chrono::nanoseconds(flush_ns_), [this] { return lines_->done; });
}

bool MessageQueue::take(const std::string& line) {
    const std::lock_guard<std::mutex> current_lock(current().mutex);
    const auto& lines = current().lines;
    if (lines == nullptr) {
        return false;
    }
    const std::lock_guard<std::mutex> lock(lines->mutex);
    if (lines->waiting.size() < kMostWaiting) {
        lines->waiting.push_back(line + "\n");
        lines->changed.notify_all();
    } else {
        ++lines->dropped;
    }
    return true;
}

/// The thread. A line that cannot be written is lost, as there is nobody to be told.
void MessageQueue::write_all_of(Lines& lines) {
    std::unique_lock<std::mutex> lock(lines.mutex);
    for (;;) {
        lines.changed.wait(lock, [&] { return lines.stopping || !lines.waiting.empty(); });
        if (lines.waiting.empty()) {
            break;
        }
        auto batch = std::exchange(lines.waiting, {});
        if (const auto dropped = std::exchange(lines.dropped, 0); dropped != 0) {
            batch.push_back("memtrace: " + std::to_string(dropped) + " lines are missing here: nobody read those before them\n");
        }
        lock.unlock();
        for (const auto& line : batch) {
            (void)write_all(lines.fd, line);
        }
        lock.lock();
    }
    lines.done = true;
    lines.changed.notify_all();
}

} // namespace memtrace
