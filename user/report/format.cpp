#include "report/format.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>

namespace memtrace {

namespace {

[[gnu::format(printf, 1, 2)]] std::string print(const char* format, ...) {
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return text;
}

std::uint64_t magnitude(std::int64_t value) {
    return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

const char* sign(std::int64_t value) {
    return value > 0 ? "+" : value < 0 ? "-" : "";
}

/// Bytes of the UTF-8 character that `text` starts with; 0 where it is not valid, or is a control character.
std::size_t printable_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) {
        return 0;
    }
    std::uint32_t code = first & (0xffU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (byte(i) & 0x3f);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool control = code < 0xa0;
    return overlong || surrogate || control || code > 0x10ffff ? 0 : length;
}

} // namespace

std::string human_bytes(std::uint64_t bytes) {
    static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        return print("%llu B", static_cast<unsigned long long>(bytes));
    }
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < std::size(kUnits)) { // what would be printed as 1024.0 is 1.0 of the next unit
        value /= 1024;
        ++unit;
    }
    return print("%.1f %s", value, kUnits[unit]);
}

std::string human_signed_bytes(std::int64_t bytes) {
    return sign(bytes) + human_bytes(magnitude(bytes));
}

std::string human_rate(double bytes_per_s) {
    if (!std::isfinite(bytes_per_s)) {
        return "unknown rate";
    }
    const double bounded = std::min(std::fabs(bytes_per_s), 9e18);
    const auto bytes = static_cast<std::int64_t>(std::llround(bounded));
    if (bytes == 0 && bounded > 0) {
        return bytes_per_s > 0 ? "+<1 B/s" : "-<1 B/s";
    }
    return human_signed_bytes(bytes_per_s < 0 ? -bytes : bytes) + "/s";
}

std::string human_number_rate(double per_s) {
    const double size = std::fabs(per_s);
    const auto [factor, unit] = size >= 1        ? std::pair(1.0, "/s")
                                : size * 60 >= 1 ? std::pair(60.0, "/min")
                                                 : std::pair(3600.0, "/h");
    return size * factor < 10 ? print("%.2g%s", per_s * factor, unit) : print("%.0f%s", per_s * factor, unit);
}

std::string human_count(std::uint64_t count) {
    std::string digits = std::to_string(count);
    for (std::size_t i = digits.size(); i > 3;) {
        i -= 3;
        digits.insert(i, 1, ',');
    }
    return digits;
}

std::string human_signed_count(std::int64_t count) {
    return sign(count) + human_count(magnitude(count));
}

std::string human_duration(double seconds) {
    if (!(seconds > 0)) { // NaN too
        return "0s";
    }
    if (seconds < 1) {
        return print("%.0fms", seconds * 1000);
    }
    if (seconds < 59.95) {
        return seconds < 9.95 && std::fabs(seconds - std::round(seconds)) >= 0.05 ? print("%.1fs", seconds)
                                                                                  : print("%.0fs", seconds);
    }
    const auto whole = static_cast<unsigned long long>(std::min(std::round(seconds), 9e15));
    if (whole < 3600) {
        return print("%llum%02llus", whole / 60, whole % 60);
    }
    if (whole < 86400) {
        return print("%lluh%02llum", whole / 3600, whole / 60 % 60);
    }
    return print("%llud%02lluh", whole / 86400, whole / 3600 % 24);
}

std::string human_objects(std::uint64_t count) {
    return count == 1 ? "block" : "blocks";
}

std::string human_percent(double ratio) {
    const double percent = ratio * 100;
    if (!std::isfinite(percent)) {
        return "? %";
    }
    const int digits = std::fabs(percent) >= 9.95 ? 0 : std::fabs(percent) >= 0.995 ? 1 : 2;
    return print("%.*f %%", digits, std::min(percent, 1e15));
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
    std::uint64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::int64_t difference(std::uint64_t after, std::uint64_t before) {
    std::int64_t result = 0;
    if (__builtin_sub_overflow(after, before, &result)) {
        return after > before ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
    }
    return result;
}

std::string printable(std::string_view text) {
    std::string clean;
    clean.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = printable_length(text);
        if (length == 0) {
            clean += '?';
            text.remove_prefix(1);
        } else {
            clean.append(text.substr(0, length));
            text.remove_prefix(length);
        }
    }
    return clean;
}

std::string shorten(std::string_view text, std::size_t width) {
    if (text.size() <= width || width < 8) {
        return std::string(text);
    }
    const auto continues = [&](std::size_t i) { return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80; };
    std::size_t head = (width - 3) * 2 / 3;
    std::size_t tail = text.size() - (width - 3 - head);
    while (head > 0 && continues(head)) { // never through a character
        --head;
    }
    while (continues(tail)) {
        ++tail;
    }
    return std::string(text.substr(0, head)) + "..." + std::string(text.substr(tail));
}

std::string_view base_name(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos || slash + 1 == path.size() ? path : path.substr(slash + 1);
}

std::string frame_location(const ReportFrame& frame, bool whole_path) {
    const std::string address = print("0x%llx", static_cast<unsigned long long>(frame.offset));
    if (frame.module.empty()) {
        return "[" + address + "]";
    }
    return "[" + (whole_path ? frame.module : std::string(base_name(frame.module))) + "+" + address + "]";
}

std::string frame_name(const ReportFrame& frame) {
    return frame.function.empty() ? frame_location(frame) : frame.function;
}

std::string innermost_name(const std::vector<ReportFrame>& stack) {
    const auto named = std::find_if(stack.begin(), stack.end(), [](const auto& frame) { return !frame.function.empty(); });
    return frame_name(named == stack.end() ? stack.front() : *named);
}

} // namespace memtrace
