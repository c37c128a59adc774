// The snapshot directory: one file per format and moment, each written to a temporary name, fsynced, renamed; then the directory
// is fsynced and the oldest beyond the retention are removed. A full disk or a kill at any point loses no earlier snapshot.
//
// Several memtraces may share a directory, those of one process too. A temporary file is locked (flock) for as long as its writer
// lives: one that is not locked was left behind by a kill, and may go. Not thread-safe: one thread owns a SnapshotDirectory.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "report/render.hpp"

namespace memtrace {

/// Writes `bytes` so that `path` holds either its old content or the new one, whole; a symbolic link is followed. The temporary file
/// lies beside it and is called ".memtrace-*.tmp". A device, pipe or socket (/dev/stdout, /dev/null) is written to as it is: renaming
/// would replace it.
Status write_file_atomically(const std::string& path, const std::string& bytes);

/// Whether write_file_atomically() can be expected to work; what is there stays as it is.
Status check_writable(const std::string& path);

class SnapshotDirectory {
public:
    /// Creates the directory where it is missing (its parent must exist), checks that it can be written, removes temporary files that
    /// an earlier run left behind. `keep` = snapshots kept for each process, 0 = all.
    static Result<SnapshotDirectory> open(const std::string& path, std::vector<ReportFormat> formats, unsigned keep);

    /// Writes memtrace-PID-YYYYMMDDTHHMMSS.mmmZ.EXT for every format, so that names sort by time; then applies the retention, which
    /// counts moments (all formats of one moment together) and never removes what was just written. Where the moment is taken, the
    /// name goes on: "...mmmZ_001.EXT". On failure nothing earlier is touched, nothing half-written stays. An error whose text begins
    /// with "old snapshots" means that the new ones are there.
    Status write(const Report& report);

    [[nodiscard]] const std::string& path() const { return path_; }
    /// The files of the last write() that are there: one for each format, or none.
    [[nodiscard]] const std::vector<std::string>& written() const { return written_; }

private:
    SnapshotDirectory(std::string path, std::vector<ReportFormat> formats, unsigned keep)
        : path_(std::move(path)), formats_(std::move(formats)), keep_(keep) {}
    [[nodiscard]] Result<std::string> free_stem(const Report& report) const;
    [[nodiscard]] Status apply_retention(std::int32_t pid, const std::string& written_stem) const;

    std::string path_;
    std::vector<ReportFormat> formats_;
    unsigned keep_;
    std::vector<std::string> written_;
};

} // namespace memtrace
