// [resources] of the configuration: when resources are said to be leaked or unusually old. Described in scripts/recipes/README.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "analyze/resource_findings.hpp"
#include "base/result.hpp"

namespace memtrace {

/// Of a configuration file's `text`; nothing where it does not say. What is wrong is an error of one line, "name:line: ...".
Result<std::optional<ResourceThresholds>> parse_resource_config(std::string_view text, const std::string& name);

/// Of all --config files, one of which may say; the defaults where none does.
Result<ResourceThresholds> read_resource_config(const std::vector<std::string>& files);

} // namespace memtrace
