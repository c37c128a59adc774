// What /proc says of a process. All calls read afresh; a process that is gone is an error, never a crash.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

/// What stays the same while a process lives (but for exec).
struct ProcessInfo {
    std::int32_t pid = 0;
    std::uint64_t start_ticks = 0;   ///< since boot, in clock ticks: with the pid, the identity of the process
    std::uint64_t start_wall_ns = 0; ///< the same as wall time, good to a tick
    std::string comm;
    std::string exe; ///< as the process sees it; " (deleted)" cut
    std::vector<std::string> cmdline;
};

/// What changes: sampled on every tick.
struct ProcessUsage {
    std::uint64_t rss_bytes = 0;
    std::uint64_t cpu_ns = 0; ///< all threads, user and system
};

/// Cheap to read: who is who.
struct ProcessIdentity {
    std::uint64_t start_ticks = 0; ///< as ProcessInfo's
    std::int32_t parent = 0;
    bool ended = false; ///< a zombie
};

/// Takes the process's root directory off a path that /proc gave: the kernel writes paths as they are from here, where that leads to
/// the place (after chroot), and as the process sees them else (in a mount namespace of its own).
class RootPrefix {
public:
    explicit RootPrefix(std::int32_t pid);
    void strip(std::string& path) const;

private:
    std::string prefix_; ///< without a slash at its end; empty = none
};

/// Reads it for a process that can be traced. Errors name the reason: no such process, a kernel thread, a zombie.
Result<ProcessInfo> read_process_info(std::int32_t pid);
Result<ProcessIdentity> read_process_identity(std::int32_t pid);
Result<ProcessUsage> read_process_usage(std::int32_t pid);

/// A descriptor that becomes readable when the process has ended.
Result<UniqueFd> open_pidfd(std::int32_t pid);

/// The pids of all processes now, ascending.
std::vector<std::int32_t> list_processes();

/// The pids of each of these names, ascending, but for ourselves; one pass over /proc, some 10 µs for each process of the machine.
std::map<std::string, std::vector<std::int32_t>> list_by_comm(const std::set<std::string>& names);
/// Those in the cgroup directory `path` and below, ascending, but for ourselves; none where there is no such directory.
std::vector<std::int32_t> list_cgroup(const std::string& path);

/// The pids whose comm is `name`; those in the cgroup directory `path` and below. Empty: an error that says so.
Result<std::vector<std::int32_t>> find_by_comm(const std::string& name);
Result<std::vector<std::int32_t>> find_by_cgroup(const std::string& path);

/// Reads a small file whole, as those of /proc.
Result<std::string> read_file(const std::string& path);

} // namespace memtrace
