#include "config/toml_table.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/clock.hpp"
#include "config/options.hpp"

namespace memtrace {

Result<toml::table> parse_toml(std::string_view text, const std::string& file) {
    auto parsed = toml::parse(text, file);
    if (!parsed) {
        return fail(toml_place(file, parsed.error().source()) + ": " + std::string(parsed.error().description()));
    }
    return std::move(parsed).table();
}

std::optional<std::string> toml_text(const toml::node& value) {
    if (auto text = value.value_exact<std::string>()) {
        return text;
    }
    if (const auto whole = value.value_exact<std::int64_t>()) {
        return std::to_string(*whole);
    }
    const auto real = value.value_exact<double>();
    return real ? std::optional(std::to_string(*real)) : std::nullopt;
}

std::string toml_place(const std::string& file, const toml::source_region& source) {
    return file + ":" + std::to_string(source.begin.line);
}

void TomlTable::complain(const char* key, const std::string& what) {
    if (error_.empty()) {
        const auto* const node = table_.get(key);
        error_ = toml_place(file_, node != nullptr ? node->source() : table_.source()) + ": " + key + " " + what;
        std::replace_if(error_.begin(), error_.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
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
    auto text = toml_text(*node);
    if (!text) {
        complain(key, "is neither a number nor a text");
    }
    return text;
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
