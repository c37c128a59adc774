#include "app/alert_sink.hpp"

#include "app/http_post.hpp"

namespace memtrace {

namespace {

DeliverySettings delivery_settings(const SinkConfig& config, std::string spool, std::uint64_t first_pause_ns,
                                   std::shared_future<void> after) {
    DeliverySettings settings;
    settings.name = "sink " + config.name;
    settings.command = delivery_command(config);
    settings.timeout_ns = config.timeout_ns;
    settings.most_waiting = AlertSink::kMaxWaiting;
    settings.first_pause_ns = first_pause_ns;
    settings.spool = std::move(spool);
    settings.spool_name = config.name;
    settings.after = std::move(after);
    return settings;
}

} // namespace

std::vector<std::string> delivery_command(const SinkConfig& config) {
    if (config.type == SinkType::command) {
        return config.command;
    }
    auto command = http_post_command({"application/json", config.header_file, config.timeout_ns});
    command.push_back(config.url + (config.type == SinkType::alertmanager ? "/api/v2/alerts" : ""));
    return command;
}

AlertSink::AlertSink(const SinkConfig& config, std::string spool, Say say, std::uint64_t first_pause_ns,
                     std::shared_future<void> after)
    : queue_(delivery_settings(config, std::move(spool), first_pause_ns, std::move(after)), std::move(say)) {}

} // namespace memtrace
