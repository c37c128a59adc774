// Where reports go: standard output or --out, in the format asked for, and the snapshot directory.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "app/alert_desk.hpp"
#include "base/result.hpp"
#include "config/options.hpp"
#include "model/model.hpp"
#include "report/render.hpp"
#include "store/snapshots.hpp"

namespace memtrace {

class Output {
public:
    /// Opens the snapshot directory, where one is asked for, and checks that --out can be written.
    static Result<Output> open(const Options& options);

    /// Of the processes that go on, and of those that have ended since the report before; `last`: of all, nothing follows.
    [[nodiscard]] static std::vector<Report> reports_to_show(const Model& model, bool last);
    Status show(const std::vector<Report>& reports, bool last);
    /// Of each process that goes on, and once more of each that has ended; with the alerts of `desk`.
    Status write_snapshots(const Model& model, const AlertDesk& desk);

    [[nodiscard]] bool has_snapshots() const { return snapshots_.has_value(); }
    /// Whether nothing more is to be written of a process that has ended, but the last report.
    [[nodiscard]] bool is_done_with(ProcessId id) const { return !snapshots_ || last_snapshots_.contains(id); }
    void forget(ProcessId id) { last_snapshots_.erase(id); }

private:
    explicit Output(const Options& options) : options_(options) {}
    Options options_;
    std::optional<SnapshotDirectory> snapshots_;
    std::set<ProcessId> last_snapshots_; ///< ended processes that have had theirs
};

/// Whether any site of any process has that verdict, or a more certain one (--fail-on).
bool found_verdict(const Model& model, const std::string& fail_on);
bool found_verdict(const Model& model, ProcessId id, const std::string& fail_on);

/// Processes that have ended, and of which all has been told, but for the last report: in order of appearance, without the newest `kept`.
std::vector<ProcessId> over_and_told(const Model& model, const Output& output, std::size_t kept);

} // namespace memtrace
