// When the loop of a run does what: ticks, reports, snapshots by interval and by calendar, profiles to push. Times are monotonic nanoseconds; the calendar goes by
// the wall clock, which may be set at any time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.hpp"
#include "base/schedule.hpp"
#include "config/options.hpp"

namespace memtrace {

/// A moment that comes again and again; late ones are not made up for.
class Periodic {
public:
    Periodic(std::uint64_t first_ns, std::uint64_t period_ns) : next_(first_ns), period_(period_ns) {}
    [[nodiscard]] std::uint64_t next() const { return next_; }
    /// From the next moment on, which stays.
    void set_period(std::uint64_t period_ns) { period_ = period_ns; }
    bool due(std::uint64_t now) {
        if (now < next_) {
            return false;
        }
        next_ = std::max(next_ + period_, now + period_ / 2);
        return true;
    }

private:
    std::uint64_t next_;
    std::uint64_t period_;
};

/// Moments of the calendar. One that the machine slept over, or the clock was set over, is due at once, and once.
class Calendar {
public:
    explicit Calendar(std::vector<Schedule> schedules) : schedules_(std::move(schedules)) { reckon(wall_ns()); }
    /// As a monotonic time, with the clock as it is now.
    [[nodiscard]] std::uint64_t next() const;
    bool due();

private:
    void reckon(std::uint64_t wall);

    std::vector<Schedule> schedules_;
    std::uint64_t next_wall_ = 0;
    std::uint64_t last_wall_ = 0; ///< when it was asked last
};

/// Between two ticks, as usual.
std::uint64_t tick_period(const Options& options);

struct Timetable {
    Timetable(const Options& options, bool has_snapshots, std::uint64_t begin_ns);
    [[nodiscard]] std::uint64_t next() const;
    bool snapshot_due(std::uint64_t now_ns);
    /// Other distances from now on, in seconds. What comes by calendar stays, and snapshots that come by that alone.
    void set_periods(double tick_s, double report_s, double snapshot_s, double push_s);

    Periodic ticks;
    Periodic reports;
    Periodic snapshots;
    Periodic pushes;
    Calendar calendar;
};

} // namespace memtrace
