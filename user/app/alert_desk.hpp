// Alerts of a run: who is told of them, and what is done. One thread, but what it says, it may say from others.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/alert_actions.hpp"
#include "app/alert_sink.hpp"
#include "config/alert_config.hpp"
#include "report/report.hpp"

namespace memtrace {

class AlertDesk {
public:
    using Say = AlertActions::Say;
    /// Without sinks of the configuration, the log is one.
    AlertDesk(const AlertConfig& config, std::function<Status()> snapshot, Say say);

    /// What is new of the report's process; the report has what fires.
    void tell(const Report& report, const std::vector<Alert>& news);

private:
    struct Told {
        SinkConfig config;
        std::unique_ptr<AlertSink> sink; ///< none: the log
        std::map<std::int32_t, std::uint64_t> repeated_ns;
    };

    void tell_sink(Told& told, const Report& report, const std::vector<Alert>& news);

    std::string host_;
    Say say_;
    std::vector<Told> sinks_;
    std::unique_ptr<AlertActions> actions_; ///< none are configured
};

} // namespace memtrace
