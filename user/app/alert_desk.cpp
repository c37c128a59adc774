#include "app/alert_desk.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <system_error>
#include <utility>

#include "app/message.hpp"
#include "base/clock.hpp"
#include "base/host_name.hpp"
#include "report/alert_messages.hpp"
#include "report/observe.hpp"

namespace memtrace {

namespace {

/// How often something must be told again before Alertmanager takes it for resolved.
constexpr std::uint64_t kRepeatsLast = 4;
constexpr std::uint64_t kFirstPauseNs = 1'000'000'000;

SinkConfig log_sink() {
    SinkConfig config;
    config.name = "log";
    return config;
}

/// Whether standard error goes to the journal, which takes "<2>" for a priority.
bool is_journal() {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat info{};
    return stream != nullptr && ::fstat(STDERR_FILENO, &info) == 0 &&
           std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) == stream;
}

/// Of a process, for as long as it lives.
std::uint64_t key_of(const ReportProcess& process) {
    return std::hash<std::string>()(std::to_string(process.pid) + " " + process.start_time);
}

bool is_for(const SinkConfig& sink, const Alert& alert) {
    return alert.severity >= sink.severity && matches(alert, sink.match);
}

} // namespace

AlertDesk::AlertDesk(const AlertConfig& config) : book_(config.rules, config.silences) {}

AlertDesk::AlertDesk(const AlertConfig& config, bool log, std::function<Status()> snapshot, Say say)
    : book_(config.rules, config.silences), host_(host_name()), say_(std::move(say)), snapshot_(std::move(snapshot)) {
    open_sinks(config, log);
    open_actions(config);
    config_ = config;
}

AlertDesk::~AlertDesk() {
    for (auto& told : sinks_) {
        end_apart(told.config.name, std::move(told.sink));
    }
    end_apart("", std::move(actions_));
    endings_.clear(); // waits
}

/// The end of what hangs takes its time.
template <typename T>
void AlertDesk::end_apart(const std::string& sink, std::unique_ptr<T> what) {
    std::erase_if(endings_, [](const Ending& ending) {
        return ending.done.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
    if (what == nullptr) {
        return;
    }
    try {
        auto done = std::async(std::launch::async, [what = std::move(what)]() mutable { what.reset(); });
        endings_.push_back({sink, done.share()});
    } catch (const std::system_error& error) { // it has ended here
        say_((sink.empty() ? "actions" : "sink " + sink) +
             " had to be waited for: there is no thread to be had: " + error.what());
    }
}

/// Of the one of that name before, where that is not over.
std::shared_future<void> AlertDesk::end_of(const std::string& sink) const {
    const auto found =
        std::find_if(endings_.rbegin(), endings_.rend(), [&](const Ending& ending) { return ending.sink == sink; });
    return found == endings_.rend() ? std::shared_future<void>() : found->done;
}

/// Those that are there already stay.
void AlertDesk::open_sinks(const AlertConfig& config, bool log) {
    auto before = std::exchange(sinks_, {});
    const auto same = [&](const SinkConfig& sink) {
        return std::find_if(before.begin(), before.end(), [&](const Told& told) { return told.config == sink; });
    };
    std::vector<Told> kept;
    std::vector<SinkConfig> wanted = config.sinks;
    if (wanted.empty() && log) {
        wanted.push_back(log_sink());
    }
    for (const auto& sink : wanted) {
        if (const auto found = same(sink); found != before.end() && config.spool == config_.spool) {
            kept.push_back(std::move(*found));
            before.erase(found);
        }
    }
    for (auto& told : before) {
        end_apart(told.config.name, std::move(told.sink));
    }
    for (const auto& sink : wanted) {
        const auto found = std::find_if(kept.begin(), kept.end(), [&](const Told& told) { return told.config == sink; });
        if (found != kept.end()) {
            sinks_.push_back(std::move(*found));
            kept.erase(found);
        } else {
            auto opened = sink.type == SinkType::log
                              ? nullptr
                              : std::make_unique<AlertSink>(sink, config.spool, say_, kFirstPauseNs, end_of(sink.name));
            sinks_.push_back({sink, std::move(opened), {}});
        }
    }
}

void AlertDesk::open_actions(const AlertConfig& config) {
    if (config.actions != config_.actions) {
        end_apart("", std::move(actions_));
        actions_ = config.actions.empty() ? nullptr : std::make_unique<AlertActions>(config.actions, snapshot_, say_);
    }
}

void AlertDesk::change(const AlertConfig& config, bool log) {
    book_.change(config.rules, config.silences);
    open_sinks(config, log);
    open_actions(config);
    config_ = config;
}

void AlertDesk::tell_sink(Told& told, const Report& report, const std::vector<Alert>& news) {
    std::vector<Alert> wanted;
    const auto want = [&](const std::vector<Alert>& alerts) {
        std::ranges::copy_if(alerts, std::back_inserter(wanted), [&](const Alert& alert) { return is_for(told.config, alert); });
    };
    const auto& config = told.config;
    const bool repeats = config.type == SinkType::alertmanager;
    auto& repeated_ns = told.repeated_ns[report.process.pid];
    const auto now_ns = monotonic_ns();
    if (repeats && now_ns - repeated_ns >= config.repeat_ns && told.sink->waiting() == 0) {
        repeated_ns = now_ns;
        want(report.alerts);
        std::erase_if(wanted, [](const Alert& alert) { return alert.state != AlertState::firing; });
    }
    want(news);
    if (wanted.empty()) {
        return;
    }
    if (told.sink == nullptr) {
        for (const auto& alert : wanted) {
            const auto priority = is_journal() ? "<" + std::to_string(log_priority(alert)) + ">" : "";
            say_line(priority + "memtrace: alert " + alert_line(alert));
        }
    } else {
        told.sink->send(repeats
                            ? alertmanager_message(report, host_, wanted, report.time_unix_ns + kRepeatsLast * config.repeat_ns)
                            : alert_message(report, host_, wanted));
    }
}

void AlertDesk::look(std::vector<Report>& reports, bool last) {
    for (auto& report : reports) {
        const auto key = key_of(report.process);
        const auto& state = report.process.state;
        if (state == "running") {
            left_.erase(key);
        } else if (state == "detached" && !last) {
            left_.insert(key);
        }
        const bool over = state != "running" && (state != "detached" || left_.contains(key));
        const auto news =
            over ? book_.end(key, report.time_unix_ns)
                 : book_.update(key, process_labels(report), observe(report), {report.duration_s, report.time_unix_ns});
        complete(report);
        tell(report, news);
        if (last && !over) {
            tell_end(report, key);
        }
        if (over) {
            std::ranges::for_each(sinks_, [&](Told& told) { told.repeated_ns.erase(report.process.pid); });
        }
    }
    say_refused();
}

void AlertDesk::say_refused() {
    if (book_.refused() != 0 && say_ && !std::exchange(refused_said_, true)) {
        say_(std::to_string(AlertBook::kMaxAlerts) + " alerts pend or fire, more are not followed: rules should match less");
    }
}

/// The log has its last line.
void AlertDesk::tell_end(const Report& report, std::uint64_t key) {
    auto resolved = book_.to_resolve(key, report.time_unix_ns);
    for (auto& alert : resolved) {
        alert.text.insert(0, "memtrace ends, and whether this goes on is not known: ");
    }
    for (auto& told : sinks_) {
        if (told.sink != nullptr) {
            tell_sink(told, report, resolved);
        }
    }
}

void AlertDesk::complete(Report& report) const {
    report.alerts = book_.alerts(key_of(report.process));
}

std::vector<SinkMessages> AlertDesk::messages() const {
    std::vector<SinkMessages> all;
    for (const auto& told : sinks_) {
        if (told.sink != nullptr) {
            const auto counts = told.sink->counts();
            all.push_back({told.config.name, counts.delivered, counts.lost, counts.failures});
        }
    }
    return all;
}

void AlertDesk::tell(const Report& report, const std::vector<Alert>& news) {
    for (auto& told : sinks_) {
        tell_sink(told, report, news);
    }
    for (const auto& alert : news) {
        if (actions_ != nullptr && alert.state == AlertState::firing) {
            actions_->take(alert, {report.process.pid, report.process.start_time}, alert_message(report, host_, {alert}),
                           monotonic_ns());
        }
    }
}

} // namespace memtrace
