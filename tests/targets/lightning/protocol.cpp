#include "protocol.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

namespace lightning {
namespace {

using memtrace::fail;
using memtrace::Result;

constexpr std::size_t kMaxWords = 5;

struct Words {
    std::array<std::string_view, kMaxWords> word;
    std::size_t count = 0;
    std::string_view operator[](std::size_t i) const { return word[i]; }
};

/// Splits at single blanks; nothing where there are too many words or an empty one.
std::optional<Words> split(std::string_view line) {
    Words words;
    while (true) {
        if (words.count == kMaxWords) {
            return std::nullopt;
        }
        const auto blank = line.find(' ');
        words.word[words.count++] = line.substr(0, blank);
        if (words[words.count - 1].empty()) {
            return std::nullopt;
        }
        if (blank == std::string_view::npos) {
            return words;
        }
        line.remove_prefix(blank + 1);
    }
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) {
        return std::nullopt;
    }
    return value;
}

Result<Request> parse_keyed(Verb verb, const Words& words) {
    if (words.count != 2 || !valid_key(words[1])) {
        return fail("syntax wants one key of 1 to 255 printable characters");
    }
    return Request{.verb = verb, .key = words[1]};
}

Result<Request> parse_put(const Words& words) {
    const auto bytes = words.count == 3 ? number(words[2]) : std::nullopt;
    if (!bytes) {
        return fail("syntax PUT KEY BYTES");
    }
    return Request{.verb = Verb::put, .key = words[1], .bytes = *bytes};
}

Result<Request> parse_scan_open(const Words& words) {
    const auto bytes = words.count == 4 ? number(words[3]) : std::optional<std::uint64_t>(kDefaultCursorBytes);
    if (words.count < 3 || words.count > 4 || !bytes || !valid_key(words[2])) {
        return fail("syntax SCAN OPEN START|- [BUFFER-BYTES]");
    }
    if (*bytes < kMinCursorBytes || *bytes > kMaxCursorBytes) {
        return fail("limit cursor buffers have 512 to 262144 bytes");
    }
    return Request{.verb = Verb::scan_open, .key = words[2] == "-" ? std::string_view() : words[2], .bytes = *bytes};
}

Result<Request> parse_scan(const Words& words) {
    if (words.count > 1 && words[1] == "OPEN") {
        return parse_scan_open(words);
    }
    const auto cursor = words.count > 2 ? number(words[2]) : std::nullopt;
    if (words.count == 4 && words[1] == "NEXT") {
        const auto rows = number(words[3]);
        if (cursor && rows && *rows > 0) {
            return Request{.verb = Verb::scan_next, .cursor = *cursor, .rows = *rows};
        }
    }
    if (words.count == 3 && (words[1] == "CLOSE" || words[1] == "PLAN") && cursor) {
        return Request{.verb = words[1] == "CLOSE" ? Verb::scan_close : Verb::scan_plan, .cursor = *cursor};
    }
    return fail("syntax SCAN OPEN START|- [BUFFER-BYTES], SCAN NEXT CURSOR ROWS, SCAN CLOSE CURSOR, SCAN PLAN CURSOR");
}

Result<Request> parse_bug(const Words& words) {
    if (words.count == 2 && words[1] == "LIST") {
        return Request{.verb = Verb::bug_list};
    }
    if (words.count != 3 || (words[1] != "ON" && words[1] != "OFF")) {
        return fail("syntax BUG ON NAME, BUG OFF NAME, BUG LIST");
    }
    const auto bug = find_bug(words[2]);
    if (!bug) {
        return fail("unknown bug, known are " + bug_names());
    }
    return Request{.verb = words[1] == "ON" ? Verb::bug_on : Verb::bug_off, .bug = *bug};
}

std::optional<Verb> bare_verb(std::string_view word) {
    using Row = std::pair<std::string_view, Verb>;
    constexpr std::array kBare = {Row{"STATS", Verb::stats}, Row{"LEAKS", Verb::leaks}, Row{"PING", Verb::ping},
                                  Row{"QUIT", Verb::quit}};
    for (const auto& [name, verb] : kBare) {
        if (word == name) {
            return verb;
        }
    }
    return std::nullopt;
}

} // namespace

Result<Request> parse_request(std::string_view line) {
    const auto words = split(line);
    if (!words) {
        return fail("syntax words are separated by single blanks");
    }
    const auto verb = (*words)[0];
    if (verb == "GET" || verb == "DEL") {
        return parse_keyed(verb == "GET" ? Verb::get : Verb::del, *words);
    }
    if (verb == "PUT") {
        return parse_put(*words);
    }
    if (verb == "SCAN") {
        return parse_scan(*words);
    }
    if (verb == "BUG") {
        return parse_bug(*words);
    }
    const auto bare = bare_verb(verb);
    if (!bare || words->count != 1) {
        return fail("unknown request");
    }
    return Request{.verb = *bare};
}

bool valid_key(std::string_view key) {
    return !key.empty() && key.size() <= kMaxKeyBytes &&
           std::all_of(key.begin(), key.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

} // namespace lightning
