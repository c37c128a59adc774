// Puts the governor to work: counts, asks it once a second, applies what it says, and keeps the schedule of windows.
//
//   windowed:  |<-- window_s -->|                                   |<-- ...
//   allocations #################...................................######
//   frees       #####################...............................######     a little longer, so that short-lived blocks are seen to go
//               |<------------------- period_s -------------------->|
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "app/collector.hpp"
#include "app/governor.hpp"
#include "base/result.hpp"

namespace memtrace {

class OverheadControl {
public:
    /// `say` is told of every change, in a sentence.
    OverheadControl(Collector& collector, GovernorSettings settings, std::function<void(const std::string&)> say);

    /// Other settings from now on, as if it began.
    Status change(const GovernorSettings& settings);
    /// When to call run() next, monotonic nanoseconds.
    [[nodiscard]] std::uint64_t next_ns() const;
    /// Does what is due at `now_ns`.
    Status run(std::uint64_t now_ns);

private:
    enum class Phase : std::uint8_t { open, frees_only, shut };

    void measure(std::uint64_t now_ns);
    Status decide(std::uint64_t now_ns);
    Status move_window(std::uint64_t now_ns);
    Status enter(Phase phase, std::uint64_t now_ns);
    [[nodiscard]] bool has_windows() const;

    Collector& collector_;
    GovernorSettings settings_;
    std::function<void(const std::string&)> say_;
    GovernorState state_;
    GovernorInterval interval_; ///< what has been counted since the last decision
    Phase phase_ = Phase::open;
    bool begun_ = false;
    std::uint64_t measured_ns_ = 0;
    std::uint64_t next_decision_ns_ = 0;
    std::uint64_t window_ns_ = 0; ///< when the present window was opened
};

} // namespace memtrace
