// What the configuration says to memtrace daemon alone: [[target]], what is followed whenever it is there, and [trace], which holds long options of
// the command line. scripts/systemd/memtrace.toml describes it. Plain structs; foreign bytes: what makes no sense is an error of one line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

enum class TargetKind : std::uint8_t {
    pid_file, ///< the process whose number is in a file
    comm,     ///< all of that name
    cgroup,   ///< all in a cgroup's directory and below
    unit      ///< all of a unit of systemd
};
const char* target_kind_name(TargetKind kind);

struct TargetConfig {
    std::string name; ///< for people; no two are alike
    TargetKind kind = TargetKind::comm;
    std::string value;
    bool follow = false; ///< children of what is found, too
    bool operator==(const TargetConfig&) const = default;
};

/// A key of [trace].
struct TraceSetting {
    std::string option;             ///< its long name, without dashes
    std::vector<std::string> words; ///< as on the command line; none where a flag is false
    std::string place;              ///< "file:line"
};

struct DaemonConfig {
    std::vector<TargetConfig> targets;
    std::vector<TraceSetting> settings;
};

/// Of a configuration file's `text`. What it says of other things (recipes, alerts) is passed over. `name` is what messages call the file.
Result<DaemonConfig> parse_daemon_config(std::string_view text, const std::string& name);

/// Of all --config files, one of which may have [trace]. Without a target there is nothing to do: an error.
Result<DaemonConfig> read_daemon_config(const std::vector<std::string>& files);

} // namespace memtrace
