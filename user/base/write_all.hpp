// Writing that a signal or a full pipe does not cut short.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/result.hpp"

namespace memtrace {

/// Writes all of `bytes` to `fd`.
inline Status write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail_errno("cannot write", written < 0 ? errno : EIO);
        }
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

} // namespace memtrace
