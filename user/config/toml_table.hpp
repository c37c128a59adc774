// A table of a TOML file, read key by key: each of the right type, none twice, none unknown. Errors are of one line, "file:line: ...".
// For the readers of the configuration only.
#pragma once

// toml++ promises its compiler what files do not keep (found by fuzzing 3.3.0). It asserts what it then looks at anyway, and says is wrong: "[" and a
// byte that begins no key would end the program. And where it asks whether most letters beyond ASCII are blanks it says that this place
// is never come to: they are none.
#define TOML_EXCEPTIONS 0
#define TOML_ASSERT(expression) static_cast<void>(0)
#if __has_include(<toml++/impl/unicode.hpp>)
#include <toml++/impl/forward_declarations.hpp>
#else
#include <toml++/impl/forward_declarations.h>
#endif
#pragma push_macro("TOML_UNREACHABLE")
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE return false
#if __has_include(<toml++/impl/unicode.hpp>)
#include <toml++/impl/unicode.hpp>
#else
#include <toml++/impl/unicode.h>
#endif
#pragma pop_macro("TOML_UNREACHABLE")
#include <toml++/toml.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

/// The first thing wrong is kept; what follows is read as absent, and does no harm. Lives no longer than what it is given.
class TomlTable {
public:
    TomlTable(const std::string& file, const toml::table& table) : file_(file), table_(table) {}

    [[nodiscard]] bool has(const char* key) const { return table_.contains(key); }
    /// `to` stays as it is where the key is absent.
    void text(const char* key, std::string& to);
    void texts(const char* key, std::vector<std::string>& to);
    void flag(const char* key, bool& to);
    /// Label -> text.
    void labels(const char* key, std::map<std::string, std::string>& to);
    /// "10m"; nanoseconds.
    void duration(const char* key, std::uint64_t& nanoseconds);
    /// A moment with its time zone; nanoseconds since 1970.
    void moment(const char* key, std::uint64_t& unix_ns);
    /// A number, or a text that the caller understands: nullopt where it is absent.
    std::optional<std::string> value(const char* key);
    [[nodiscard]] const toml::array* tables(const char* key);

    /// Of this table, or of one of its keys.
    void complain(const char* key, const std::string& what);
    /// The end: keys that nobody asked for are complained of.
    [[nodiscard]] Status done();
    [[nodiscard]] Status status() const { return error_.empty() ? Status() : fail(error_); }

private:
    const toml::node* find(const char* key);

    const std::string& file_;
    const toml::table& table_;
    std::set<std::string> asked_;
    std::string error_;
};

/// The document that `text`, of `file`, holds. Bad TOML is an error of one line, "file:line: ...".
Result<toml::table> parse_toml(std::string_view text, const std::string& file);

/// A text, or a number as one.
std::optional<std::string> toml_text(const toml::node& value);

/// "file:line".
std::string toml_place(const std::string& file, const toml::source_region& source);

} // namespace memtrace
