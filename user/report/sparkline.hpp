// A curve in one line of text. Pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace memtrace {

/// A character for each value, from the lowest to the highest of them; a blank where there is none. One that stays the same is a low line.
/// `unicode`: block elements, else ASCII.
std::string sparkline(const std::vector<std::optional<double>>& values, bool unicode);

} // namespace memtrace
