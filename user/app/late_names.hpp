// Names from elsewhere: from --symbols DIR, also while tracing, and from --debuginfod for what was traced before. A snapshot, a recording
// and the events of a run say of each frame its module, that module's build-id, and its place there: from these.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "config/options.hpp"
#include "model/model.hpp"
#include "report/report.hpp"
#include "symbol/debuginfod.hpp"
#include "symbol/symbol_directory.hpp"
#include "symbol/symbolizer.hpp"

namespace memtrace {

/// What the options say of debuginfod servers.
DebuginfodSettings debuginfod_settings(const Options& options);

/// Names are only ever added to: where a file here says less than what was known when it was traced, that stays. One thread.
class LateNames {
public:
    /// Does nothing further on where the options name neither a directory nor servers.
    static Result<LateNames> open(const Options& options);
    /// For a run, where nothing may wait for servers: the collector asks them. Looks through the directory now.
    static Result<LateNames> open_live(const Options& options);

    /// Names the frames of a report. Says on standard error which files were of another build, and were not used.
    void improve(Report& report);
    /// What to take instead of an event; nothing: itself. To be told all events of a run, in order.
    std::optional<Event> better(const Event& event);
    /// Gives an event of a recording to the model, with better names where there are any.
    void apply(const Event& event, Model& model);
    /// Whether the directory has debug information of a module. `build_id` in hex.
    bool has_lines(const std::string& path, const std::string& build_id) { return module_of({path, build_id}).lines; }

private:
    LateNames() = default;
    Status open_directory(const Options& options);
    using ModuleName = std::pair<std::string, std::string>; ///< path, build-id
    struct Module {
        ModuleId id;        ///< 0 = nothing is known of it
        bool lines = false; ///< the directory has debug information of it
    };
    const Module& module_of(const ModuleName& name);
    Module open_module(const ModuleName& name);
    UniqueFd fetch(const ModuleName& name);
    /// What is known now, where that is more than `known`; else nothing.
    std::optional<std::vector<SymbolLine>> better(const ModuleName& module, std::uint64_t offset,
                                                  const std::vector<SymbolLine>& known);
    std::optional<SymbolResolved> name(const Frame& frame, const std::vector<SymbolLine>& known);
    void improve(std::vector<ReportFrame>& stack);

    std::optional<SymbolDirectory> directory_;
    std::unique_ptr<Debuginfod> servers_;
    Symbolizer symbolizer_;
    bool quiet_ = false;
    std::map<ModuleName, Module> modules_;
    struct EventModule {
        ProcessId process;
        ModuleName name;
    };
    std::map<ModuleId, EventModule> event_modules_; ///< the ids of a recording
};

} // namespace memtrace
