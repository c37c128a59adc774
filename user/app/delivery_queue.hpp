// Messages on their way to somebody outside: a thread of its own takes them out of a queue and hands each over by a program that it runs (curl, for
// what goes by HTTP), so that nothing that hangs or fails keeps anybody else. What could not be handed over is tried again, later and
// later, in its order; with a spool directory it outlasts memtrace. Used for alerts (app/alert_sink) and for profiles (app/profile_pusher).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

struct DeliverySettings {
    std::string name;                             ///< begins what is said: "sink ops"
    std::string what = "messages";                ///< what they are called
    std::vector<std::string> command;             ///< the program that takes a message on its standard input
    std::uint64_t timeout_ns = 0;                 ///< for one attempt
    std::size_t most_waiting = 1'000;             ///< the oldest is dropped for one more
    std::size_t most_bytes = 64 << 20;            ///< of all that wait
    std::uint64_t first_pause_ns = 1'000'000'000; ///< after the first failure; doubled with each further one, up to five minutes
    std::string spool{};                          ///< directory, whose parent must exist; empty: kept in memory only
    std::string spool_name{};                     ///< begins the names of files in it
    /// Whether it is no use to try again what failed so: it is dropped, and what follows goes out at once. None: it always is.
    std::function<bool(const Error&)> hopeless{};
    /// Ready when a queue before it, which may have had the same spool, has ended: with a spool its work begins then. None: at once.
    std::shared_future<void> after{};
};

/// Since the start.
struct DeliveryCounts {
    std::uint64_t delivered = 0;
    std::uint64_t lost = 0;
    std::uint64_t failures = 0; ///< attempts
};

class DeliveryQueue {
public:
    /// Called by the queue's thread: one line for people.
    using Say = std::function<void(const std::string&)>;

    /// Takes up what the spool holds of an earlier run.
    DeliveryQueue(DeliverySettings settings, Say say);
    /// Tries once more what waits, for `timeout_ns` at most; what remains is in the spool, or lost and said so.
    ~DeliveryQueue();
    DeliveryQueue(const DeliveryQueue&) = delete;
    DeliveryQueue& operator=(const DeliveryQueue&) = delete;

    /// `more`: arguments of this message alone, after those of the command; with a spool there are none. Never waits. Threads: any.
    void send(std::string message, std::vector<std::string> more = {});
    [[nodiscard]] std::size_t waiting() const;
    [[nodiscard]] DeliveryCounts counts() const;

private:
    struct Message {
        std::string text;
        std::vector<std::string> more;
        std::string file; ///< in the spool; empty: not there
    };

    void run();
    void open_spool();
    void recover();
    void take_in();
    [[nodiscard]] bool is_surplus(std::size_t count, std::size_t bytes) const;
    void drop_surplus(std::uint64_t dropped);
    void store(Message& message);
    Status hand_over_front();
    bool deliver_front();
    void forget_front(std::uint64_t DeliveryCounts::* counter);
    void end();

    DeliverySettings settings_;
    const Say say_;

    mutable std::mutex mutex_; ///< of what follows
    std::condition_variable changed_;
    std::deque<Message> inbox_; ///< bounded as the queue is
    std::size_t inbox_bytes_ = 0;
    std::uint64_t unsaid_ = 0; ///< dropped from it
    std::size_t waiting_ = 0;  ///< in the queue
    DeliveryCounts counts_;
    bool stopping_ = false;

    const UniqueFd news_; ///< an eventfd: something came into the inbox

    // Of the thread alone.
    UniqueFd lock_;                ///< on the spool
    std::deque<Message> queue_;    ///< the oldest in front
    std::size_t bytes_ = 0;        ///< in the queue
    std::uint64_t failures_ = 0;   ///< in a row, refusals aside
    std::size_t handing_over_ = 0; ///< 1: one is out of the queue, but counted in bytes_
    bool refused_ = false;         ///< said already
    std::uint64_t next_ns_ = 0;    ///< not tried before
    std::uint64_t last_file_ = 0;
    bool store_failed_ = false;
    bool dropping_ = false; ///< said already
    std::thread thread_;
};

} // namespace memtrace
