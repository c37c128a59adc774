// What the writers of the snapshot JSON share. Internal to them.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "report/report.hpp"

namespace memtrace {

using Json = nlohmann::ordered_json;

/// One line; bytes that are not UTF-8 become U+FFFD instead of an exception.
std::string dump_json(const Json& value);
/// JSON has no NaN and no infinity.
double finite(double value);
Json interval_json(const double (&interval)[2]);
/// `,"key":[frames]`.
void append_stack(std::string& out, const char* key, const std::vector<ReportFrame>& stack);

/// Spelled out: from a map, the library would make an array of pairs where the keys look like it.
template <typename Map>
Json object_json(const Map& map) {
    Json object = Json::object();
    for (const auto& [key, value] : map) {
        object[key] = value;
    }
    return object;
}

/// `,"references":{...}`.
void append_references(std::string& out, const ReportReferences& references);
/// `,"resources":[...]` and, where the program tells of any, what was added beside it.
void append_resources(std::string& out, const ReportResources& resources);
/// An element of the schema's alerts[], which is how sinks are told of them too.
Json alert_json(const Alert& alert);

} // namespace memtrace
