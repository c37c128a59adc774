// --push-profiles: where profiles go, and with which labels.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

/// In which of the forms that stores of profiles understand.
enum class ProfileStore : std::uint8_t { pyroscope, parca };

struct PushTarget {
    ProfileStore store = ProfileStore::pyroscope;
    std::string url; ///< of what is posted to, with its path, without a query
};

/// "pyroscope+http://HOST:4040", "parca+https://HOST/prefix": the path of that store's API is appended. Or the whole address of one:
/// "http://HOST:4040/ingest", "http://HOST:7070/api/profiles/writeraw".
Result<PushTarget> parse_push_target(const std::string& text);

/// NAME=VALUE of each; an empty value takes away a label that profiles have otherwise.
Result<std::map<std::string, std::string>> parse_push_labels(const std::vector<std::string>& texts);

} // namespace memtrace
