// Opening files that the traced program chose. Its paths may name a FIFO, a device or a symbolic link that leads out of its
// container: nothing but a regular file is ever opened, and a path below a root stays below it.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

/// Opens a regular file for reading. Follows links, /proc's magic ones too.
Result<UniqueFd> open_regular(const std::string& path);

/// A descriptor of the directory `path` for open_below(): it keeps leading to the same tree when the process whose /proc/PID/root it
/// was has ended.
Result<UniqueFd> open_root(const std::string& path);

/// Opens the regular file `path` for reading, where `path` and all links on the way mean what they mean to a process whose root
/// directory is `root`.
Result<UniqueFd> open_below(const UniqueFd& root, const std::string& path);

} // namespace memtrace
