// A run, as session.hpp says. Of its sources alone: session.cpp has the order of things and the loop, session_start.cpp what comes before it,
// session_reports.cpp what is told, session_daemon.cpp what is the daemon's alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/alert_desk.hpp"
#include "app/collector.hpp"
#include "app/history_log.hpp"
#include "app/late_names.hpp"
#include "app/launcher.hpp"
#include "app/message.hpp"
#include "app/message_queue.hpp"
#include "app/output.hpp"
#include "app/overhead_control.hpp"
#include "app/own_control.hpp"
#include "app/profile_pusher.hpp"
#include "app/publisher.hpp"
#include "app/service_notify.hpp"
#include "app/signals.hpp"
#include "app/targets.hpp"
#include "app/timetable.hpp"
#include "base/result.hpp"
#include "config/alert_config.hpp"
#include "config/options.hpp"
#include "config/recipes.hpp"
#include "config/resource_config.hpp"
#include "model/model.hpp"
#include "store/recording.hpp"

namespace memtrace {

class Session {
public:
    explicit Session(const Options& options) : options_(options) {}
    Status run();
    [[nodiscard]] bool found() const { return found_ || found_verdict(model_, options_.fail_on); }

private:
    Status prepare();
    Result<std::vector<std::int32_t>> find_targets() const;
    Status load(const KernelFeatures& features);
    [[nodiscard]] GovernorSettings governor_settings() const;
    [[nodiscard]] std::optional<double> contract_budget() const;
    void watch_contract(AttachMethod method, const KernelFeatures& features);
    Status follow_targets(const std::vector<std::int32_t>& pids);
    Status launch();
    void started(std::uint64_t begin_ns);
    Status loop();
    Status work(std::uint64_t now_ns);
    Status wait(std::uint64_t until_ns);
    Status tick(bool with_ages, bool with_memory);
    Status tick_before_leaving();
    void take_knobs();
    Status end_processes();
    void forget_processes();
    Status write_snapshots();
    void snapshot();
    Status open_pusher();
    void push_profiles();
    void await_debug_files();
    std::vector<Report> look(bool last);
    Status report(std::vector<Report> reports, bool last);
    Status snapshot_now();
    Status finish();
    void on_event(const Event& seen);

    // The daemon's.
    [[nodiscard]] bool is_daemon() const { return options_.command == Command::daemon; }
    void begin_daemon();
    void look_for_targets(std::uint64_t now_ns);
    [[nodiscard]] std::string about(std::int32_t pid) const;
    bool follow(const Targets::Newcomer& newcomer);
    void take_children();
    Status serve_manager(std::uint64_t now_ns);
    Status reload();
    Result<bool> apply(const Options& next, const AlertConfig& alerts, const std::vector<ResourceRecipe>& recipes,
                       const ResourceThresholds& thresholds);
    Status retarget(bool governed);
    Status let_go(const std::vector<std::int32_t>& pids);

    void note(const std::string& text) const {
        if (!options_.quiet) {
            say(text);
        }
    }

    std::optional<MessageQueue> messages_; ///< the last to go: all others say things
    Options options_;
    std::vector<ResourceRecipe> recipes_;
    ResourceThresholds thresholds_;
    Model model_;
    std::optional<LateNames> names_; ///< where --symbols is given
    std::optional<Output> output_;
    std::optional<Publisher> publisher_;
    std::optional<HistoryLog> history_;
    AlertConfig alerts_;
    std::unique_ptr<AlertDesk> desk_;
    std::unique_ptr<ProfilePusher> pusher_; ///< where --push-profiles is given
    std::optional<RecordingWriter> recording_;
    std::optional<Error> recording_error_;
    std::optional<StopSignals> signals_;
    std::unique_ptr<Debuginfod> debuginfod_;
    std::optional<HeapTracer> tracer_;
    std::optional<PageTracer> pages_;
    std::optional<ResourceTracer> resources_;
    std::optional<Collector> collector_;
    std::optional<OverheadControl> control_;
    std::optional<OwnControl> own_;
    std::uint64_t forgotten_ = 0; ///< processes
    bool found_ = false;          ///< in one of these
    std::optional<Launcher> launcher_;
    std::vector<std::int32_t> ended_;
    std::optional<Timetable> times_; ///< of the loop
    std::optional<Targets> targets_; ///< the daemon's
    ServiceNotify notify_;
    std::uint64_t next_look_ns_ = ~std::uint64_t{0}; ///< for targets
    bool full_ = false;                              ///< as many processes are followed as can be, and it has been said
    bool show_failed_ = false;                       ///< reports, the daemon's; it has been said
    bool stop_ = false;
    bool reload_ = false;
    bool snapshot_failed_ = false;
};

} // namespace memtrace
