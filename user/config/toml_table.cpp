#include "config/toml_table.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/clock.hpp"
#include "config/options.hpp"

namespace memtrace {

namespace {

bool is_beyond_ascii(std::string_view text, std::size_t at) {
    return at < text.size() && static_cast<unsigned char>(text[at]) >= 0x7f;
}

/// Behind the string that begins at `at`, or the end of the text where it does not end. Where a letter beyond ASCII comes next after a backslash
/// (and the line's end): there.
std::size_t end_of_string(std::string_view text, std::size_t at) {
    const char quote = text[at];
    const std::string closing(text.substr(at, 3) == std::string(3, quote) ? 3 : 1, quote);
    for (at += closing.size(); at < text.size(); ++at) {
        if (text.substr(at, closing.size()) == closing) {
            return at + closing.size();
        }
        if (text[at] == '\n' && closing.size() == 1) {
            return at; // an error, which the parser will find
        }
        if (quote == '"' && text[at] == '\\') {
            if (const auto next = text.find_first_not_of(" \t\r\n", at + 1); is_beyond_ascii(text, next)) {
                return next;
            }
            ++at;
        }
    }
    return text.size();
}

/// The first line with a byte that TOML has in strings and comments only; 0: none. toml++ (3.3.0) does not say of all of them that they are
/// wrong: for most letters beyond ASCII it runs into what its compiler was promised never to come.
std::size_t line_of_stray_byte(std::string_view text) {
    std::size_t line = 1;
    for (std::size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < text.size();) {
        const auto byte = static_cast<unsigned char>(text[at]);
        const auto from = at;
        if (byte == '#') {
            at = std::min(text.find('\n', at), text.size());
        } else if (byte == '"' || byte == '\'') {
            at = std::min(end_of_string(text, at), text.size());
        } else if (is_beyond_ascii(text, at) || (byte < ' ' && byte != '\t' && byte != '\r' && byte != '\n')) {
            return line;
        } else {
            ++at;
        }
        const auto passed = text.substr(from, at - from);
        line += static_cast<std::size_t>(std::count(passed.begin(), passed.end(), '\n'));
    }
    return 0;
}

} // namespace

Result<toml::table> parse_toml(std::string_view text, const std::string& file) {
    if (const auto line = line_of_stray_byte(text); line != 0) {
        return fail(file + ":" + std::to_string(line) +
                    ": a character that belongs into quotes or a comment, and not right behind a backslash");
    }
    auto parsed = toml::parse(text, file);
    if (!parsed) {
        return fail(toml_place(file, parsed.error().source()) + ": " + std::string(parsed.error().description()));
    }
    return std::move(parsed).table();
}

std::string toml_place(const std::string& file, const toml::source_region& source) {
    return file + ":" + std::to_string(source.begin.line);
}

void TomlTable::complain(const char* key, const std::string& what) {
    if (error_.empty()) {
        const auto* const node = table_.get(key);
        error_ = toml_place(file_, node != nullptr ? node->source() : table_.source()) + ": " + key + " " + what;
    }
}

const toml::node* TomlTable::find(const char* key) {
    asked_.insert(key);
    return table_.get(key);
}

void TomlTable::text(const char* key, std::string& to) {
    if (const auto* const node = find(key)) {
        const auto text = node->value_exact<std::string>();
        if (!text || text->empty()) {
            return complain(key, "is not a text");
        }
        to = *text;
    }
}

void TomlTable::texts(const char* key, std::vector<std::string>& to) {
    if (const auto* const node = find(key)) {
        const auto* const array = node->as_array();
        if (array == nullptr || !array->is_homogeneous<std::string>()) {
            return complain(key, "is not an array of texts");
        }
        for (const auto& element : *array) {
            to.push_back(*element.value_exact<std::string>());
        }
    }
}

void TomlTable::flag(const char* key, bool& to) {
    if (const auto* const node = find(key)) {
        const auto flag = node->value_exact<bool>();
        flag ? void(to = *flag) : complain(key, "is not true or false");
    }
}

void TomlTable::labels(const char* key, std::map<std::string, std::string>& to) {
    if (const auto* const node = find(key)) {
        const auto* const table = node->as_table();
        if (table == nullptr || !table->is_homogeneous<std::string>()) {
            return complain(key, "is not a table of texts, such as { comm = \"postgres*\" }");
        }
        for (const auto& [label, pattern] : *table) {
            to[std::string(label.str())] = *pattern.value_exact<std::string>();
        }
    }
}

void TomlTable::duration(const char* key, std::uint64_t& nanoseconds) {
    if (const auto text = value(key)) {
        const auto duration = parse_duration(*text);
        duration ? void(nanoseconds = *duration) : complain(key, "is no duration, such as \"30s\"");
    }
}

void TomlTable::moment(const char* key, std::uint64_t& unix_ns) {
    if (const auto* const node = find(key)) {
        const auto moment = node->value_exact<toml::date_time>();
        if (!moment || !moment->offset) {
            return complain(key, "is no moment with its time zone, such as 2030-01-02T03:04:05Z");
        }
        std::tm utc{};
        utc.tm_year = moment->date.year - 1900;
        utc.tm_mon = moment->date.month - 1;
        utc.tm_mday = moment->date.day;
        utc.tm_hour = moment->time.hour;
        utc.tm_min = moment->time.minute - moment->offset->minutes;
        utc.tm_sec = moment->time.second;
        const auto seconds = ::timegm(&utc);
        if (seconds <= 0) {
            return complain(key, "is before 1970");
        }
        unix_ns = static_cast<std::uint64_t>(seconds) * kNanosPerSecond + moment->time.nanosecond;
    }
}

std::optional<std::string> TomlTable::value(const char* key) {
    const auto* const node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    if (const auto text = node->value_exact<std::string>()) {
        return text;
    }
    if (const auto whole = node->value_exact<std::int64_t>()) {
        return std::to_string(*whole);
    }
    if (const auto real = node->value_exact<double>()) {
        return std::to_string(*real);
    }
    complain(key, "is neither a number nor a text");
    return std::nullopt;
}

const toml::array* TomlTable::tables(const char* key) {
    const auto* const node = find(key);
    if (node == nullptr) {
        return nullptr;
    }
    const auto* const array = node->as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>()) {
        complain(key, "is written [[" + std::string(key) + "]]");
        return nullptr;
    }
    return array;
}

Status TomlTable::done() {
    for (const auto& [key, value] : table_) {
        if (!asked_.contains(std::string(key.str()))) {
            complain(std::string(key.str()).c_str(), "is unknown here");
        }
    }
    return status();
}

} // namespace memtrace
