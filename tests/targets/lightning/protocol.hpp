// Requests of the client protocol (README.md): limits, and one line of text turned into a Request. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "bugs.hpp"

namespace lightning {

constexpr std::size_t kMaxLineBytes = 1024;
constexpr std::size_t kMaxKeyBytes = 255;
constexpr std::size_t kMaxValueBytes = 64 * 1024;
constexpr std::size_t kMinCursorBytes = 512;
constexpr std::size_t kMaxCursorBytes = 256 * 1024;
constexpr std::size_t kDefaultCursorBytes = 8 * 1024;

enum class Verb : std::uint8_t {
    get,
    put,
    del,
    scan_open,
    scan_next,
    scan_close,
    scan_plan,
    stats,
    leaks,
    bug_on,
    bug_off,
    bug_list,
    ping,
    quit
};

struct Request {
    Verb verb = Verb::ping;
    std::string_view key{};   ///< GET PUT DEL; SCAN OPEN: where to start, empty = at the first key. Points into the line.
    std::uint64_t bytes = 0;  ///< PUT: of the value; SCAN OPEN: of the buffer
    std::uint64_t cursor = 0; ///< SCAN NEXT, SCAN CLOSE, SCAN PLAN
    std::uint64_t rows = 0;   ///< SCAN NEXT: at most
    Bug bug{};                ///< BUG ON, BUG OFF
};

/// `line` is without its newline. The key of a PUT is not judged yet: its value has to be read first, or what follows would be
/// taken for requests.
memtrace::Result<Request> parse_request(std::string_view line);

/// 1 to kMaxKeyBytes printable ASCII characters without blanks.
bool valid_key(std::string_view key);

} // namespace lightning
