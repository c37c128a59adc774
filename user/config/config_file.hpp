// The text of a --config file.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

/// `name`: a path, or the bare name of recipes that came with memtrace: "sqlite". At most 1 MiB.
Result<std::string> read_config_file(const std::string& name);

/// What one of the files may say, by `parse` (text, name -> Result<std::optional<T>>); nothing where none does. A second one that does is an
/// error: "FILE: `what` in OTHER already".
template <typename Parse>
auto read_from_one_file(const std::vector<std::string>& files, const Parse& parse, const char* what)
    -> decltype(parse(std::string(), std::string())) {
    decltype(parse(std::string(), std::string())) found;
    std::string where;
    for (const auto& file : files) {
        const auto text = read_config_file(file);
        if (!text) {
            return tl::unexpected(text.error());
        }
        auto parsed = parse(*text, file);
        if (!parsed) {
            return parsed;
        }
        if (!*parsed) {
            continue;
        }
        if (!where.empty()) {
            return fail(std::string(file).append(": ").append(what).append(" in ").append(where).append(" already"));
        }
        where = file;
        found = std::move(parsed);
    }
    return found;
}

} // namespace memtrace
