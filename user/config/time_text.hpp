// Moments as people say them. Pure, but for the time zone (TZ, /etc/localtime), which is the one of the process.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace memtrace {

/// A moment in nanoseconds since 1970, local time where it names no zone:
///
///   now                        90s ago, 2h ago, 1d ago         (as parse_duration())
///   today, yesterday [HH:MM[:SS]]                              without a time of day: 00:00
///   monday ... sunday [HH:MM[:SS]]                             the last one that is not after now; mon ... sun as well
///   HH:MM[:SS]                                                 the last one that is not after now
///   YYYY-MM-DD[ HH:MM[:SS]]    also with T for the blank, and a fraction
///   ...Z, ...+HH:MM, ...-HH:MM after the date and time         RFC 3339
///
/// A time of day that was passed over, as clocks were put forward, is the moment at which one shows it that was left as it was. Of one that
/// came twice it is the first. The error tells the forms.
Result<std::uint64_t> parse_time(const std::string& text, std::uint64_t now_ns);

} // namespace memtrace
