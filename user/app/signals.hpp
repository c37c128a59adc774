// SIGINT and SIGTERM as a descriptor. The first asks for the last report; after it they have their default effect again, so that
// a second one leaves at once.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

class StopSignals {
public:
    /// Blocks both signals in this thread and those made after it; ignores SIGPIPE (a closed output is an error, not an end).
    static Result<StopSignals> open();
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Whether one has come that nobody has taken.
    [[nodiscard]] bool pending() const;
    /// Takes the pending signal and gives both their default effect again.
    void disarm();

private:
    explicit StopSignals(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

} // namespace memtrace
