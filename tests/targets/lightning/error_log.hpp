// A file with a line for each request that was turned down. Opened for each line, so that it may be moved away. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bugs.hpp"
#include "forgotten.hpp"

namespace lightning {

class ErrorLog {
public:
    /// The others have to outlive the log.
    ErrorLog(std::string path, const BugBoard& board, Forgotten& forgotten)
        : path_(std::move(path)), name_(path_.substr(path_.rfind('/') + 1)), board_(board), forgotten_(forgotten) {}

    /// Best effort: of a file that is full, cannot be opened or not be written to nobody is told.
    void append(std::string_view line, std::uint64_t session);

private:
    const std::string path_;
    const std::string name_;
    const BugBoard& board_;
    Forgotten& forgotten_;
};

} // namespace lightning
