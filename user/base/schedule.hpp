// Moments by the calendar, in local time (TZ, /etc/localtime): when scheduled snapshots are due. Pure but for the time zone.
//
//   [DAYS] HH:MM[:SS]     "03:00" and "daily 03:00": every day. "mon 03:00", "mon-fri 22:30", "sat,sun 12:00:30": on these
//   [DAYS] *:MM[:SS]      every hour: "*:00", "mon-fri *:15"
//   hourly, daily, weekly "*:00", "00:00" and "mon 00:00"
//
// Where the clock is put forward over such a moment, it is the one at which that happens; where it is put back, the first of the two. With
// *:MM every hour that passes has one, whatever the clock does.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace memtrace {

struct Schedule {
    std::array<bool, 7> days{}; ///< from Sunday
    int hour = 0;               ///< -1: each
    int minute = 0;
    int second = 0;
};

Result<Schedule> parse_schedule(const std::string& text);

/// The first moment of `schedule` after `wall_ns`: nanoseconds since 1970.
std::uint64_t next_moment(const Schedule& schedule, std::uint64_t wall_ns);

} // namespace memtrace
