// One of those who are told of alerts: messages go to it through a queue (app/delivery_queue), by a program that is run for each of them, a
// webhook's by curl.
#pragma once

#include <string>
#include <vector>

#include "app/delivery_queue.hpp"
#include "config/alert_config.hpp"

namespace memtrace {

/// How a message is handed over: the program that takes it on its standard input.
std::vector<std::string> delivery_command(const SinkConfig& config);

class AlertSink {
public:
    /// Messages that wait at most; the oldest is dropped for one more.
    static constexpr std::size_t kMaxWaiting = 1'000;
    using Say = DeliveryQueue::Say;

    /// `spool`, `first_pause_ns`, `after`: as DeliverySettings say. At its end it tries once more what waits, for `timeout_ns` of the configuration.
    AlertSink(const SinkConfig& config, std::string spool, Say say, std::uint64_t first_pause_ns = 1'000'000'000,
              std::shared_future<void> after = {});

    /// Never waits. Threads: any.
    void send(std::string message) { queue_.send(std::move(message)); }
    [[nodiscard]] std::size_t waiting() const { return queue_.waiting(); }
    [[nodiscard]] DeliveryCounts counts() const { return queue_.counts(); }

private:
    DeliveryQueue queue_;
};

} // namespace memtrace
