// Reads the part of the snapshot JSON that is about what a program tells of itself. Foreign bytes: see json_parse.cpp.
#include <limits>

#include "report/json_parse_parts.hpp"

namespace memtrace {

namespace {

using Fields = JsonFields;

/// An element each by `read(fields)`.
template <typename T, typename Read>
std::vector<T> read_array(const Fields& fields, const char* key, std::string& error, Read read) {
    std::vector<T> values;
    for (const auto& element : fields.elements(key)) {
        const auto where = fields.path(std::string(key) + "[" + std::to_string(values.size()) + "]");
        values.push_back(read(Fields(element, where, error), error));
    }
    return values;
}

ReportObject read_object(const Fields& fields, std::string&) {
    ReportObject object;
    fields.string("id", object.id);
    fields.string("type", object.type);
    fields.count("bytes", object.bytes);
    fields.count("strong", object.strong);
    fields.count("weak", object.weak);
    return object;
}

ReportCycleHandle read_handle(const Fields& fields, std::string& error) {
    ReportCycleHandle handle;
    fields.string("from", handle.from);
    fields.string("to", handle.to);
    fields.string("handle", handle.handle);
    handle.acquired_at = read_stack(fields, "acquired_at", error);
    return handle;
}

ReportCycle read_cycle(const Fields& fields, std::string& error) {
    ReportCycle cycle;
    fields.count("bytes", cycle.bytes);
    fields.count("other_objects", cycle.other_objects);
    fields.count("retained_objects", cycle.retained_objects);
    fields.count("retained_bytes", cycle.retained_bytes);
    fields.count("count", cycle.count);
    fields.count("total_bytes", cycle.total_bytes);
    fields.string("verdict", cycle.verdict);
    cycle.objects = read_array<ReportObject>(fields, "objects", error, read_object);
    cycle.handles = read_array<ReportCycleHandle>(fields, "handles", error, read_handle);
    return cycle;
}

ReportReferenceError read_error(const Fields& fields, std::string& error) {
    ReportReferenceError read;
    fields.string("kind", read.kind);
    fields.string("object", read.object);
    fields.string("type", read.type);
    fields.count("bytes", read.bytes);
    fields.string("handle", read.handle);
    fields.count("count", read.count);
    fields.string("verdict", read.verdict);
    fields.string("evidence", read.evidence);
    read.acquired_at = read_stack(fields, "acquired_at", error);
    read.released_at = read_stack(fields, "released_at", error);
    read.before_at = read_stack(fields, "before_at", error);
    return read;
}

} // namespace

ReportReferences read_references(const nlohmann::json& json, std::string& error) {
    const Fields fields(json, "references", error);
    ReportReferences references;
    references.followed = fields.find("sources") != nullptr;
    fields.count("objects", references.objects);
    fields.count("edges", references.edges);
    fields.count("references", references.references);
    fields.strings("sources", references.sources);
    fields.count("sampled_one_in", references.sampled_one_in);
    fields.count("other_cycles", references.other_cycles);
    fields.count("other_errors", references.other_errors);
    fields.counts("counters", references.counters);
    references.cycles = read_array<ReportCycle>(fields, "cycles", error, read_cycle);
    references.errors = read_array<ReportReferenceError>(fields, "errors", error, read_error);
    return references;
}

} // namespace memtrace
