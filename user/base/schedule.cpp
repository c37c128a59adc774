#include "base/schedule.hpp"

#include <algorithm>
#include <ctime>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/clock.hpp"

namespace memtrace {

namespace {

constexpr std::int64_t kMinute = 60;
constexpr std::int64_t kMinutesOfDay = 1440;
constexpr std::int64_t kLongestShift = 10'800;         ///< by which clocks are put forward or back
constexpr std::int64_t kFarthest = 15 * kMinutesOfDay; ///< a week and what clocks do in it
constexpr int kDaysOfWeek = 7;
constexpr int kThursday = 4; ///< 1 January 1970
constexpr const char* kDays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

std::optional<int> day_of(std::string_view name) {
    const auto* const found = std::find(std::begin(kDays), std::end(kDays), name);
    return found != std::end(kDays) ? std::optional(static_cast<int>(found - std::begin(kDays))) : std::nullopt;
}

/// "mon-fri,sun"; of a range from one day to the same, all. False: it is nothing like it.
bool take_days(const std::string& text, std::array<bool, 7>& days) {
    std::istringstream parts(text + ",");
    bool any = false;
    for (std::string part; std::getline(parts, part, ','); any = true) {
        const auto dash = part.find('-');
        const auto first = day_of(part.substr(0, dash));
        const auto last = dash == std::string::npos ? first : day_of(part.substr(dash + 1));
        if (!first || !last) {
            return false;
        }
        for (int day = *first;; day = (day + 1) % kDaysOfWeek) {
            days.at(static_cast<std::size_t>(day)) = true;
            if (day == *last) {
                break;
            }
        }
    }
    return any;
}

/// Two digits, at most `most`; one will do for an hour.
std::optional<int> number(std::string_view text, int most, bool short_form) {
    const bool digits = !text.empty() && text.size() <= 2 && text.find_first_not_of("0123456789") == std::string_view::npos;
    if (!digits || (text.size() == 1 && !short_form)) {
        return std::nullopt;
    }
    const int value = text.size() == 1 ? text[0] - '0' : (text[0] - '0') * 10 + text[1] - '0';
    return value <= most ? std::optional(value) : std::nullopt;
}

/// "03:00", "*:15:30".
bool take_time(const std::string& text, Schedule& schedule) {
    std::vector<std::string> parts;
    std::istringstream stream(text + ":");
    for (std::string part; std::getline(stream, part, ':');) {
        parts.push_back(part);
    }
    if (parts.size() != 2 && parts.size() != 3) {
        return false;
    }
    const auto hour = parts[0] == "*" ? std::optional(-1) : number(parts[0], 23, true);
    const auto minute = number(parts[1], 59, false);
    const auto second = parts.size() == 3 ? number(parts[2], 59, false) : std::optional(0);
    if (!hour || !minute || !second) {
        return false;
    }
    schedule.hour = *hour;
    schedule.minute = *minute;
    schedule.second = *second;
    return true;
}

/// Seconds that the local clock is ahead of UTC.
std::int64_t offset_at(std::int64_t seconds) {
    const auto time = static_cast<time_t>(seconds);
    std::tm local{};
    ::localtime_r(&time, &local);
    return local.tm_gmtoff;
}

/// Whether a minute of the local clock, since 1970, is one of the schedule's.
bool is_minute(const Schedule& schedule, std::int64_t local_minute) {
    const auto day = local_minute / kMinutesOfDay;
    const auto in_day = local_minute % kMinutesOfDay;
    return schedule.days.at(static_cast<std::size_t>((day + kThursday) % kDaysOfWeek)) && in_day % 60 == schedule.minute &&
           (schedule.hour < 0 || in_day / 60 == schedule.hour);
}

/// Whether the local clock showed the same before, as it was put back since.
bool is_second_time(std::int64_t seconds, std::int64_t offset) {
    const auto before = offset_at(seconds - kLongestShift);
    return before > offset && offset_at(seconds - (before - offset)) == before;
}

} // namespace

Result<Schedule> parse_schedule(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    if (words.size() == 1) {
        words = words[0] == "hourly"   ? std::vector<std::string>{"*:00"}
                : words[0] == "daily"  ? std::vector<std::string>{"00:00"}
                : words[0] == "weekly" ? std::vector<std::string>{"mon", "00:00"}
                                       : words;
    }
    Schedule schedule;
    bool right = words.size() == 1 || words.size() == 2;
    if (right && (words.size() == 1 || words[0] == "daily")) {
        schedule.days.fill(true);
    } else if (right) {
        right = take_days(words[0], schedule.days);
    }
    if (!right || !take_time(words.back(), schedule)) {
        return fail("\"" + text + "\" is no time of the calendar: write 03:00, \"mon-fri 22:30\", \"sat,sun 12:00\" or *:15");
    }
    return schedule;
}

/// Minute by minute: two weeks of them take some milliseconds, and no clock can be so odd that it is got wrong.
std::uint64_t next_moment(const Schedule& schedule, std::uint64_t wall_ns) {
    const auto now = static_cast<std::int64_t>(wall_ns / kNanosPerSecond);
    const auto minute = now - now % kMinute;
    auto last_offset = offset_at(minute - kMinute);
    for (std::int64_t i = 0; i < kFarthest; ++i) {
        const auto start = minute + i * kMinute;
        const auto offset = offset_at(start);
        const auto local = (start + offset) / kMinute;
        const auto last_local = (start - kMinute + last_offset) / kMinute;
        last_offset = offset;
        if (is_minute(schedule, local) && start + schedule.second > now &&
            (schedule.hour < 0 || !is_second_time(start, offset))) {
            return static_cast<std::uint64_t>(start + schedule.second) * kNanosPerSecond;
        }
        for (auto skipped = last_local + 1; schedule.hour >= 0 && skipped < local; ++skipped) {
            if (is_minute(schedule, skipped) && start > now) {
                return static_cast<std::uint64_t>(start) * kNanosPerSecond;
            }
        }
    }
    return static_cast<std::uint64_t>(minute + kFarthest * kMinute) *
           kNanosPerSecond; // not with any schedule that can be written
}

} // namespace memtrace
