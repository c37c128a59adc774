// Where reports go: standard output or --out, in the format asked for, and the snapshot directory.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "app/alert_desk.hpp"
#include "base/result.hpp"
#include "config/options.hpp"
#include "model/model.hpp"
#include "report/history.hpp"
#include "report/render.hpp"
#include "store/snapshots.hpp"

namespace memtrace {

/// A file of a snapshot.
struct WrittenSnapshot {
    HistoryProcess process; ///< last seen at the moment that it describes
    std::string format;
    std::string path; ///< absolute
};

class Output {
public:
    /// Opens the snapshot directory, where one is asked for, and checks that --out can be written.
    static Result<Output> open(const Options& options);

    /// As open(), with other options, in place of this one.
    [[nodiscard]] Result<Output> reopen(const Options& options) const;

    /// Of the processes that go on, and of those that have ended since the report before; `last`: of all, nothing follows.
    [[nodiscard]] static std::vector<Report> reports_to_show(const Model& model, bool last);
    /// A daemon's go to a file, or nowhere.
    Status show(const std::vector<Report>& reports, bool last);
    /// Of each process that goes on, and once more of each that has ended; with the alerts of `desk`.
    Status write_snapshots(const Model& model, const AlertDesk& desk);

    /// The files that write_snapshots() has written since this was asked last.
    [[nodiscard]] std::vector<WrittenSnapshot> take_written() { return std::exchange(written_, {}); }

    [[nodiscard]] bool has_snapshots() const { return snapshots_.has_value(); }
    /// Whether nothing more is to be written of a process that has ended, but the last report.
    [[nodiscard]] bool is_done_with(ProcessId id) const { return !snapshots_ || last_snapshots_.contains(id); }
    void forget(ProcessId id) { last_snapshots_.erase(id); }

private:
    explicit Output(const Options& options) : options_(options) {}
    void note_written(const Report& report);

    Options options_;
    std::optional<SnapshotDirectory> snapshots_;
    std::set<ProcessId> last_snapshots_; ///< ended processes that have had theirs
    std::vector<WrittenSnapshot> written_;
};

/// Whether any site of any process has that verdict, or a more certain one (--fail-on).
bool found_verdict(const Model& model, const std::string& fail_on);
bool found_verdict(const Model& model, ProcessId id, const std::string& fail_on);

/// Processes that have ended, and of which all has been told, but for the last report: in order of appearance, without the newest `kept`.
std::vector<ProcessId> over_and_told(const Model& model, const Output& output, std::size_t kept);

} // namespace memtrace
