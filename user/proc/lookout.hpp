// Finds processes that come and go, again and again: by a file with their number, by unit of systemd. What is not there is
// no error.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace memtrace {

/// The process whose number begins the file. Nobody: there is no such file, no number in it, or the process of that number is younger than
/// the file, which an earlier one of that number left behind.
std::vector<std::int32_t> list_by_pid_file(const std::string& path);

/// Where cgroups are mounted on this machine, as far as systemd's units are in them.
std::vector<std::string> cgroup_roots();

/// Cgroup directories of units, wherever they are below `roots`: in slices, in a user's manager, in a container.
class UnitCgroups {
public:
    using Pids = std::map<std::string, std::vector<std::int32_t>>;

    /// The processes now of each of `units`, which are services where they have no suffix. Their directories are looked for once, and again
    /// where they have gone, which a restart of the unit makes them: in one walk for all units that have none.
    Pids list(const std::set<std::string>& units, const std::vector<std::string>& roots);

private:
    std::map<std::string, std::vector<std::string>> directories_; ///< by unit
};

} // namespace memtrace
