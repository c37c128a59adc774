// A file under construction: has a temporary name until it is complete. Internal to user/store.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

/// Removed on destruction unless publish() succeeded. Move-only.
class TemporaryFile {
public:
    /// Creates and locks ".memtrace-PID-N.tmp" in `directory`.
    static Result<TemporaryFile> create(const std::string& directory);
    TemporaryFile(TemporaryFile&& other) noexcept;
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    ~TemporaryFile();

    /// Writes `bytes` and waits until they are on the disk.
    Status fill(const std::string& bytes);
    /// Gives it its name, replacing what has that name. The directory is not synced.
    Status publish(const std::string& path);

private:
    TemporaryFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    UniqueFd fd_;
    std::string path_; ///< empty: published, or moved from
};

/// Makes renames and removals in `directory` durable.
Status sync_directory(const std::string& directory);

/// Removes the temporary files of writers that no longer live.
void remove_leftovers(const std::string& directory);

} // namespace memtrace
