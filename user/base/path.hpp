// Paths as texts.
#pragma once

#include <string>

namespace memtrace {

/// The directory that a file is in: "." where none is named.
inline std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

} // namespace memtrace
