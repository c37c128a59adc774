// What this machine is called.
#pragma once

#include <unistd.h>

#include <climits>
#include <string>

namespace memtrace {

/// Empty where it has no name.
inline std::string host_name() {
    char name[HOST_NAME_MAX + 1]{};
    return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

} // namespace memtrace
