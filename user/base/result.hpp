// The one error type. A function that can fail returns Result<T>; nothing of ours throws.
// An Error says what failed, why, and what to do about it, in one line without a full stop.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace memtrace {

struct Error {
    std::string message;
    int errnum = 0; ///< errno of the call that failed, 0 where none did

    /// "context: message": adds what was being done when the error came up.
    [[nodiscard]] Error in(const std::string& context) const { return {context + ": " + message, errnum}; }
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// An error that carries no errno.
[[nodiscard]] inline tl::unexpected<Error> fail(std::string message) {
    return tl::unexpected(Error{std::move(message), 0});
}

/// An error from a system call: appends the text of `errnum`.
[[nodiscard]] inline tl::unexpected<Error> fail_errno(const std::string& what, int errnum) {
    return tl::unexpected(Error{what + ": " + std::strerror(errnum), errnum});
}

} // namespace memtrace
