#include "config/time_text.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <ctime>
#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "config/options.hpp"

namespace memtrace {

namespace {

struct Date {
    int year;
    int month; ///< from 1
    int day;
};

struct TimeOfDay {
    int hour = 0, minute = 0, second = 0;
    std::uint64_t nanos = 0;
};

constexpr std::string_view kDays[] = {"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"};

/// Takes what is expected off the front of a text.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}
    bool take(char c) {
        const bool found = !rest_.empty() && rest_.front() == c;
        rest_.remove_prefix(found ? 1 : 0);
        return found;
    }
    bool take_word(std::string_view word) {
        const bool found = rest_.starts_with(word) &&
                           (rest_.size() == word.size() || std::isalpha(static_cast<unsigned char>(rest_[word.size()])) == 0);
        rest_.remove_prefix(found ? word.size() : 0);
        return found;
    }
    /// A number of so many digits, `most` at the largest.
    std::optional<int> number(std::size_t digits, int most) {
        int value = 0;
        if (rest_.size() < digits || !std::all_of(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(digits),
                                                  [](unsigned char c) { return std::isdigit(c) != 0; })) {
            return std::nullopt;
        }
        std::from_chars(rest_.data(), rest_.data() + digits, value);
        rest_.remove_prefix(digits);
        return value <= most ? std::optional(value) : std::nullopt;
    }
    /// ".678": nanoseconds. What is beyond them is passed over.
    std::uint64_t fraction() {
        std::uint64_t nanos = 0;
        auto unit = kNanosPerSecond / 10;
        while (!rest_.empty() && std::isdigit(static_cast<unsigned char>(rest_.front())) != 0) {
            nanos += static_cast<std::uint64_t>(rest_.front() - '0') * unit;
            unit /= 10;
            rest_.remove_prefix(1);
        }
        return nanos;
    }
    [[nodiscard]] bool done() const { return rest_.empty(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }

private:
    std::string_view rest_;
};

/// "3:00" is as good as "03:00".
std::optional<TimeOfDay> take_time_of_day(Scanner& text) {
    TimeOfDay time;
    const auto colon = text.rest().find(':');
    const auto hour = text.number(colon == 1 ? 1 : 2, 23);
    const auto minute = hour && text.take(':') ? text.number(2, 59) : std::nullopt;
    if (!minute) {
        return std::nullopt;
    }
    time.hour = *hour;
    time.minute = *minute;
    if (text.take(':')) {
        const auto second = text.number(2, 59);
        if (!second) {
            return std::nullopt;
        }
        time.second = *second;
        time.nanos = text.take('.') ? text.fraction() : 0;
    }
    return time;
}

std::optional<Date> take_date(Scanner& text) {
    const auto year = text.number(4, 2'500);
    const auto month = year && text.take('-') ? text.number(2, 12) : std::nullopt;
    const auto day = month && text.take('-') ? text.number(2, 31) : std::nullopt;
    if (!day || *year < 1970 || *month < 1 || *day < 1) {
        return std::nullopt;
    }
    return Date{*year, *month, *day};
}

std::tm fields_of(const Date& date, const TimeOfDay& time) {
    std::tm fields{};
    fields.tm_year = date.year - 1900;
    fields.tm_mon = date.month - 1;
    fields.tm_mday = date.day;
    fields.tm_hour = time.hour;
    fields.tm_min = time.minute;
    fields.tm_sec = time.second;
    return fields;
}

/// Also of a day that is none, as the 0th: the one that it comes to.
Date normalized(Date date) {
    auto fields = fields_of(date, {});
    const auto seconds = timegm(&fields);
    gmtime_r(&seconds, &fields);
    return {fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday};
}

bool exists(const Date& date) {
    const auto same = normalized(date);
    return same.month == date.month && same.day == date.day;
}

bool shows(time_t moment, const std::tm& wanted) {
    std::tm local{};
    localtime_r(&moment, &local);
    return local.tm_mday == wanted.tm_mday && local.tm_hour == wanted.tm_hour && local.tm_min == wanted.tm_min &&
           local.tm_sec == wanted.tm_sec;
}

std::uint64_t to_ns(time_t seconds, std::uint64_t nanos) {
    return static_cast<std::uint64_t>(std::max<time_t>(seconds, 0)) * kNanosPerSecond + nanos;
}

std::uint64_t local_moment(const Date& date, const TimeOfDay& time) {
    const auto wanted = fields_of(date, time);
    std::optional<time_t> first;
    for (const int summer : {1, 0, -1}) { // what mktime() makes of it, told that it is summer time, that it is not, and nothing
        auto fields = wanted;
        fields.tm_isdst = summer;
        const auto moment = mktime(&fields);
        if (shows(moment, wanted) && (!first || moment < *first)) {
            first = moment;
        }
    }
    if (!first) { // clocks passed it over
        auto fields = wanted;
        fields.tm_isdst = 0;
        first = mktime(&fields);
    }
    return to_ns(*first, time.nanos);
}

Date date_of(std::uint64_t now_ns, int days_before) {
    const auto seconds = static_cast<time_t>(now_ns / kNanosPerSecond);
    std::tm local{};
    localtime_r(&seconds, &local);
    return normalized({local.tm_year + 1900, local.tm_mon + 1, local.tm_mday - days_before});
}

int weekday_of(std::uint64_t now_ns) {
    const auto seconds = static_cast<time_t>(now_ns / kNanosPerSecond);
    std::tm local{};
    localtime_r(&seconds, &local);
    return local.tm_wday;
}

/// "Z", "+02:00": seconds to take away from the time before it. Nothing: it is none.
std::optional<int> take_zone(Scanner& text) {
    if (text.take('z')) {
        return 0;
    }
    const int sign = text.take('+') ? 1 : text.take('-') ? -1 : 0;
    const auto hours = sign != 0 ? text.number(2, 23) : std::nullopt;
    const auto minutes = hours && text.take(':') ? text.number(2, 59) : std::nullopt;
    return minutes ? std::optional(sign * (*hours * 3'600 + *minutes * 60)) : std::nullopt;
}

/// The time of day that follows a day, or midnight.
std::optional<TimeOfDay> rest_of_day(Scanner& text) {
    if (text.done()) {
        return TimeOfDay{};
    }
    return text.take(' ') ? take_time_of_day(text) : std::nullopt;
}

std::optional<std::uint64_t> parse_dated(Scanner text) {
    const auto date = take_date(text);
    if (!date || !exists(*date)) {
        return std::nullopt;
    }
    if (text.done()) {
        return local_moment(*date, {});
    }
    const auto time = text.take('t') || text.take(' ') ? take_time_of_day(text) : std::nullopt;
    if (!time || text.done()) {
        return time ? std::optional(local_moment(*date, *time)) : std::nullopt;
    }
    const auto zone = take_zone(text);
    if (!zone || !text.done()) {
        return std::nullopt;
    }
    auto fields = fields_of(*date, *time);
    return to_ns(timegm(&fields) - *zone, time->nanos);
}

/// A day by its name, with or without a time.
std::optional<std::uint64_t> parse_named(Scanner text, std::uint64_t now_ns) {
    for (const int before : {0, 1}) {
        if (auto day = text; day.take_word(before == 0 ? "today" : "yesterday")) {
            const auto time = rest_of_day(day);
            return time && day.done() ? std::optional(local_moment(date_of(now_ns, before), *time)) : std::nullopt;
        }
    }
    for (int weekday = 0; weekday < 7; ++weekday) {
        auto day = text;
        if (!day.take_word(kDays[weekday]) && !day.take_word(kDays[weekday].substr(0, 3))) {
            continue;
        }
        const auto time = rest_of_day(day);
        if (!time || !day.done()) {
            return std::nullopt;
        }
        const int before = (weekday_of(now_ns) - weekday + 7) % 7;
        const auto moment = local_moment(date_of(now_ns, before), *time);
        return moment <= now_ns ? moment : local_moment(date_of(now_ns, before + 7), *time);
    }
    return std::nullopt;
}

std::optional<std::uint64_t> parse_clock(Scanner text, std::uint64_t now_ns) {
    const auto time = take_time_of_day(text);
    if (!time || !text.done()) {
        return std::nullopt;
    }
    const auto moment = local_moment(date_of(now_ns, 0), *time);
    return moment <= now_ns ? moment : local_moment(date_of(now_ns, 1), *time);
}

std::optional<std::uint64_t> parse_ago(std::string_view text, std::uint64_t now_ns) {
    constexpr std::string_view kAgo = " ago";
    if (!text.ends_with(kAgo) || text.find_first_not_of("0123456789.") == 0) {
        return std::nullopt;
    }
    std::string number(text.substr(0, text.size() - kAgo.size()));
    std::erase(number, ' ');
    const auto duration = parse_duration(number);
    return duration && *duration <= now_ns ? std::optional(now_ns - *duration) : std::nullopt;
}

/// In lower case, one blank between words, none around them.
std::string tidied(const std::string& text) {
    std::string tidy;
    for (const char c : text) {
        const bool blank = std::isspace(static_cast<unsigned char>(c)) != 0;
        if (!blank) {
            tidy += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        } else if (!tidy.empty() && tidy.back() != ' ') {
            tidy += ' ';
        }
    }
    if (!tidy.empty() && tidy.back() == ' ') {
        tidy.pop_back();
    }
    return tidy;
}

} // namespace

Result<std::uint64_t> parse_time(const std::string& text, std::uint64_t now_ns) {
    const auto tidy = tidied(text);
    if (tidy == "now") {
        return now_ns;
    }
    auto moment = parse_ago(tidy, now_ns);
    moment = moment ? moment : parse_named(Scanner(tidy), now_ns);
    moment = moment ? moment : parse_clock(Scanner(tidy), now_ns);
    moment = moment ? moment : parse_dated(Scanner(tidy));
    if (!moment) {
        return fail("\"" + text +
                    "\" is no time: write now, 2h ago, 03:00, today 14:00, yesterday 03:00, monday 09:00, "
                    "2026-11-25 03:00 or 2026-11-25T03:00:00Z");
    }
    return *moment;
}

} // namespace memtrace
