// Alerts of a run: what fires, who is told of it, and what is done. One thread, but what it says, it may say from others.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/alert_actions.hpp"
#include "app/alert_sink.hpp"
#include "config/alert_config.hpp"
#include "report/prometheus.hpp"
#include "report/report.hpp"

namespace memtrace {

class AlertDesk {
public:
    using Say = AlertActions::Say;
    /// Nobody is told, and nothing is done: for recordings.
    explicit AlertDesk(const AlertConfig& config);
    /// `log`: where the configuration has no sinks, the log is one. `snapshot` is what that action does.
    AlertDesk(const AlertConfig& config, bool log, std::function<Status()> snapshot, Say say);
    /// Waits for sinks and actions at work, all at once, for as long as each may take.
    ~AlertDesk();
    AlertDesk(const AlertDesk&) = delete;
    AlertDesk& operator=(const AlertDesk&) = delete;

    /// Fills in the alerts of new reports, and tells what is new. `last`: the run ends, and what it leaves goes on as it is, but sinks other
    /// than the log are told that it is resolved, as nobody would tell them later; a process that is left before that has no more alerts.
    void look(std::vector<Report>& reports, bool last);
    /// Another configuration from now on: what is the same in both keeps its state. Sinks and actions that are not end in threads of their
    /// own: nobody waits for them.
    void change(const AlertConfig& config, bool log);
    /// Fills in those of the last look().
    void complete(Report& report) const;

    /// Of all sinks but the log.
    [[nodiscard]] std::vector<SinkMessages> messages() const;
    /// As AlertBook's.
    [[nodiscard]] std::uint64_t refused() const { return book_.refused(); }

private:
    struct Told {
        SinkConfig config;
        std::unique_ptr<AlertSink> sink; ///< none: the log
        std::map<std::int32_t, std::uint64_t> repeated_ns;
    };

    /// Of what ends apart.
    struct Ending {
        std::string sink; ///< empty: actions
        std::shared_future<void> done;
    };

    template <typename T>
    void end_apart(const std::string& sink, std::unique_ptr<T> what);
    [[nodiscard]] std::shared_future<void> end_of(const std::string& sink) const;
    void open_sinks(const AlertConfig& config, bool log);
    void open_actions(const AlertConfig& config);
    void tell_end(const Report& report, std::uint64_t key);
    void say_refused();
    void tell(const Report& report, const std::vector<Alert>& news);
    void tell_sink(Told& told, const Report& report, const std::vector<Alert>& news);

    AlertBook book_;
    std::string host_;
    Say say_;
    bool refused_said_ = false;
    std::set<std::uint64_t> left_; ///< processes that were left before the run ends, by key
    std::vector<Told> sinks_;
    AlertConfig config_;
    std::function<Status()> snapshot_;
    std::unique_ptr<AlertActions> actions_; ///< none are configured
    std::vector<Ending> endings_;
};

} // namespace memtrace
