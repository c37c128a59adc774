// One of those who are told of alerts: a thread of its own takes messages out of a queue and hands them over by a program that it runs (a
// webhook's by curl), so that nothing that hangs or fails keeps anybody else. Messages that could not be handed over are tried again,
// later and later, in their order; with a spool directory they outlast memtrace.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "config/alert_config.hpp"

namespace memtrace {

/// How a message is handed over: the program that takes it on its standard input.
std::vector<std::string> delivery_command(const SinkConfig& config);

class AlertSink {
public:
    /// Messages that wait at most; the oldest is dropped for one more.
    static constexpr std::size_t kMaxWaiting = 1'000;
    /// Called by the sink's thread: one line for people.
    using Say = std::function<void(const std::string&)>;

    /// Takes up what the spool directory (empty: none; its parent must exist) holds of an earlier run. `first_pause_ns`: after the first failure; doubled
    /// with each further one, up to five minutes.
    AlertSink(SinkConfig config, std::string spool, Say say, std::uint64_t first_pause_ns = 1'000'000'000);
    /// Tries once more what waits, for `timeout_ns` of the configuration at most; what remains is in the spool, or lost and said so.
    ~AlertSink();
    AlertSink(const AlertSink&) = delete;
    AlertSink& operator=(const AlertSink&) = delete;

    [[nodiscard]] const SinkConfig& config() const { return config_; }
    /// Never waits. Threads: any.
    void send(std::string message);
    [[nodiscard]] std::size_t waiting() const;

private:
    struct Message {
        std::string text;
        std::string file; ///< in the spool; empty: not there
    };

    void run();
    void recover();
    void take_in();
    void store(Message& message);
    bool deliver_front();
    void forget_front();
    void end();

    const SinkConfig config_;
    const std::vector<std::string> command_;
    std::string spool_; ///< empty: there is none
    const Say say_;
    const std::uint64_t first_pause_ns_;

    mutable std::mutex mutex_; ///< of what follows
    std::condition_variable changed_;
    std::vector<std::string> inbox_;
    std::size_t waiting_ = 0; ///< in the queue
    bool stopping_ = false;

    // Of the thread alone.
    UniqueFd lock_;              ///< on the spool, for this sink
    std::deque<Message> queue_;  ///< the oldest in front
    std::uint64_t failures_ = 0; ///< in a row
    std::uint64_t next_ns_ = 0;  ///< not tried before
    std::uint64_t last_file_ = 0;
    bool store_failed_ = false;
    std::thread thread_;
};

} // namespace memtrace
