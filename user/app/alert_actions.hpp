// What is done when an alert fires: nothing, unless the configuration says so. One action at a time, by a thread of its own, so that none
// keeps the tracing; each is logged with its cause and its outcome.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "config/alert_config.hpp"

namespace memtrace {

/// A process, so that no other of the same number is meant.
struct ActionTarget {
    std::int32_t pid = 0;
    std::string start_time; ///< as reports have it
};

class AlertActions {
public:
    using Say = std::function<void(const std::string&)>; ///< one line; any thread
    /// `snapshot` is called within take(), by its thread.
    AlertActions(std::vector<ActionConfig> actions, std::function<Status()> snapshot, Say say);
    /// Waits for the one at work, which has a time limit; what waits still is not done, and said so.
    ~AlertActions();
    AlertActions(const AlertActions&) = delete;
    AlertActions& operator=(const AlertActions&) = delete;

    /// Takes the actions that the alert, which fires, asks for, but those whose cooldown is not over. `message`: for commands.
    void take(const Alert& alert, const ActionTarget& target, const std::string& message, std::uint64_t now_ns);

private:
    struct Job {
        std::string what;
        std::function<Status()> run;
    };

    void submit(const ActionConfig& action, const Alert& alert, const ActionTarget& target, const std::string& message);
    void run();

    const std::vector<ActionConfig> actions_;
    const std::function<Status()> snapshot_;
    const Say say_;
    std::map<std::pair<std::string, std::int32_t>, std::uint64_t> taken_ns_; ///< by action and process

    std::mutex mutex_; ///< of what follows
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace memtrace
