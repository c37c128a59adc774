// What the readers of the snapshot JSON share. Internal to them.
#pragma once

#include <string>
#include <vector>

#include "report/json_fields.hpp"
#include "report/report.hpp"

namespace memtrace {

/// An element each by `read(fields, error)`.
template <typename T, typename Read>
std::vector<T> read_array(const JsonFields& fields, const char* key, std::string& error, Read read) {
    std::vector<T> values;
    for (const auto& element : fields.elements(key)) {
        const auto where = fields.path(std::string(key) + "[" + std::to_string(values.size()) + "]");
        values.push_back(read(JsonFields(element, where, error), error));
    }
    return values;
}

/// The frames of an array; none where it is absent.
std::vector<ReportFrame> read_stack(const JsonFields& fields, const char* key, std::string& error);
ReportReferences read_references(const nlohmann::json& json, std::string& error);
/// `root`: the document; what it says of resources lies beside other things.
ReportResources read_resources(const JsonFields& root, std::string& error);
std::vector<Alert> read_alerts(const JsonFields& root, std::string& error);

} // namespace memtrace
