// SIGINT and SIGTERM as a descriptor, and SIGHUP where it asks for something. The first asks for the last report; after it they have their default effect again, so that
// a second one leaves at once.
#pragma once

#include <cstdint>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

class StopSignals {
public:
    enum class Hangup : std::uint8_t { ends, asks }; ///< what SIGHUP does: ends the process, or is told as the others are
    /// Blocks the signals in this thread and those made after it; ignores SIGPIPE (a closed output is an error, not an end).
    static Result<StopSignals> open(Hangup hangup = Hangup::ends);
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Whether one has come that nobody has taken.
    [[nodiscard]] bool pending() const;
    /// Takes the pending signal and says which it was; after SIGINT or SIGTERM both have their default effect again.
    int take();

private:
    explicit StopSignals(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

} // namespace memtrace
