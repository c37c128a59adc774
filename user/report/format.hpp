// How figures and names are put for people: shared by the text, diff and folded renderers. Pure functions, any thread.
//
// Names in a report come from a foreign process. What is printed on a terminal goes through printable() first, so that no function
// name or command line can send it control sequences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "report/report.hpp"

namespace memtrace {

/// "512 B", "1.5 KiB", "20.0 GiB".
std::string human_bytes(std::uint64_t bytes);
/// With a sign: "+1.5 KiB", "-512 B", "0 B".
std::string human_signed_bytes(std::int64_t bytes);
/// Bytes a second, with a sign: "+1.5 KiB/s".
std::string human_rate(double bytes_per_s);
/// Things a second, a minute or an hour, whichever can be read: "12/s", "1.5/min", "0.2/h".
std::string human_number_rate(double per_s);
/// Digits in groups: "1,234,567".
std::string human_count(std::uint64_t count);
/// With a sign: "+1,234", "-5", "0".
std::string human_signed_count(std::int64_t count);
/// "350ms", "12s", "3m05s", "2h07m", "3d04h".
std::string human_duration(double seconds);
/// "block" or "blocks": the noun that goes with `count`.
std::string human_objects(std::uint64_t count);
/// A ratio as a percentage, with as many digits as say something: 0.00041 -> "0.04 %", 0.5 -> "50 %".
std::string human_percent(double ratio);

/// a + b, or the largest value where that overflows: figures may come from a foreign file.
std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b);
/// after - before, kept within the range of the type.
std::int64_t difference(std::uint64_t after, std::uint64_t before);

/// `text` as valid UTF-8 without control characters: each offending byte becomes '?'.
std::string printable(std::string_view text);
/// `text` cut in its middle to about `width` characters: "start...end". The ends of a C++ name say more than its middle.
std::string shorten(std::string_view text, std::size_t width);
/// The part after the last slash.
std::string_view base_name(std::string_view path);

/// "[libc.so.6+0x1234]", "[0x7f0012345678]" where there is no module.
std::string frame_location(const ReportFrame& frame, bool whole_path = false);
/// The function, or frame_location() where it is unknown. Not made printable.
std::string frame_name(const ReportFrame& frame);
/// The innermost function that is known, else the innermost place: what people call a stack. Not made printable, nor of an empty stack.
std::string innermost_name(const std::vector<ReportFrame>& stack);

} // namespace memtrace
