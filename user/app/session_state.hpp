// A run, as session.hpp says. Of its sources alone: session.cpp has the order of things and the loop, session_start.cpp what comes before it,
// session_reports.cpp what is told.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/alert_desk.hpp"
#include "app/collector.hpp"
#include "app/late_names.hpp"
#include "app/launcher.hpp"
#include "app/message.hpp"
#include "app/output.hpp"
#include "app/overhead_control.hpp"
#include "app/publisher.hpp"
#include "app/signals.hpp"
#include "base/result.hpp"
#include "config/alert_config.hpp"
#include "config/options.hpp"
#include "config/recipes.hpp"
#include "model/model.hpp"
#include "store/recording.hpp"

namespace memtrace {

class Session {
public:
    explicit Session(const Options& options) : options_(options) {}
    Status run();
    [[nodiscard]] bool found() const { return found_verdict(model_, options_.fail_on); }

private:
    Status prepare();
    Result<std::vector<std::int32_t>> find_targets() const;
    Status load(const KernelFeatures& features);
    void watch_contract(AttachMethod method, const KernelFeatures& features);
    Status follow_targets(const std::vector<std::int32_t>& pids);
    Status launch();
    void started(std::uint64_t begin_ns);
    Status loop();
    Status wait(std::uint64_t until_ns);
    Status tick(bool with_ages);
    Status end_processes();
    void await_debug_files();
    std::vector<Report> look(bool last);
    Status report(std::vector<Report> reports, bool last);
    Status snapshot_now();
    Status finish();
    void on_event(const Event& seen);
    void note(const std::string& text) const {
        if (!options_.quiet) {
            say(text);
        }
    }

    Options options_;
    std::vector<ResourceRecipe> recipes_; ///< until the collector has them
    Model model_;
    std::optional<LateNames> names_; ///< where --symbols is given
    std::optional<Output> output_;
    std::optional<Publisher> publisher_;
    AlertConfig alerts_;
    std::unique_ptr<AlertDesk> desk_;
    std::optional<RecordingWriter> recording_;
    std::optional<Error> recording_error_;
    std::optional<StopSignals> signals_;
    std::unique_ptr<Debuginfod> debuginfod_;
    std::optional<HeapTracer> tracer_;
    std::optional<PageTracer> pages_;
    std::optional<ResourceTracer> resources_;
    std::optional<Collector> collector_;
    std::optional<OverheadControl> control_;
    std::optional<Launcher> launcher_;
    std::vector<std::int32_t> ended_;
    bool stop_ = false;
    bool snapshot_failed_ = false;
};

} // namespace memtrace
