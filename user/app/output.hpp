// Where reports go: standard output or --out, in the format asked for, and the snapshot directory.
#pragma once

#include <optional>
#include <set>
#include <vector>

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

    /// Shows the reports of all processes of the model. `last`: nothing follows.
    Status show(const Model& model, bool last);
    Status show(const std::vector<Report>& reports, bool last);
    /// Of the processes that go on, and of those that have ended since the report before; `last`: of all.
    [[nodiscard]] static std::vector<Report> reports_to_show(const Model& model, bool last);
    /// Of each process that goes on, and once more of each that has ended.
    Status write_snapshots(const Model& model);

    [[nodiscard]] bool has_snapshots() const { return snapshots_.has_value(); }

private:
    explicit Output(const Options& options) : options_(options) {}
    /// Whether show() shows any.
    [[nodiscard]] bool shown(bool last) const;

    Options options_;
    std::optional<SnapshotDirectory> snapshots_;
    std::set<ProcessId> last_snapshots_; ///< ended processes that have had theirs
};

/// Whether any site of any process has that verdict, or a more certain one (--fail-on).
bool found_verdict(const Model& model, const std::string& fail_on);

} // namespace memtrace
