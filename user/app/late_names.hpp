// Names for what was traced before, or on another machine: `memtrace report` and `memtrace replay` with --symbols DIR or --debuginfod.
// A snapshot and a recording say of each frame its module, that module's build-id, and its place there: from these.
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

    /// Names the frames of a report. Says on standard error which files were of another build, and were not used.
    void improve(Report& report);
    /// Gives an event of a recording to the model, with better names where there are any.
    void apply(const Event& event, Model& model);

private:
    LateNames() = default;
    using ModuleName = std::pair<std::string, std::string>; ///< path, build-id
    ModuleId module_of(const ModuleName& name);
    ModuleId open_module(const ModuleName& name);
    UniqueFd fetch(const ModuleName& name);
    /// What is known now, where that is more than `known`; else nothing.
    std::optional<std::vector<SymbolLine>> better(const ModuleName& module, std::uint64_t offset,
                                                  const std::vector<SymbolLine>& known);
    void improve(std::vector<ReportFrame>& stack);

    std::optional<SymbolDirectory> directory_;
    std::unique_ptr<Debuginfod> servers_;
    Symbolizer symbolizer_;
    std::map<ModuleName, ModuleId> modules_;       ///< 0 = nothing is known of it
    std::map<ModuleId, ModuleName> event_modules_; ///< the ids of a recording
};

} // namespace memtrace
