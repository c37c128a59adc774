// The text of a --config file.
#pragma once

#include <string>

#include "base/result.hpp"

namespace memtrace {

/// `name`: a path, or the bare name of recipes that came with memtrace: "sqlite". At most 1 MiB.
Result<std::string> read_config_file(const std::string& name);

} // namespace memtrace
