// Reads the part of the snapshot JSON that is about what a program tells of itself. Foreign bytes: see json_parse.cpp.
#include <limits>

#include "report/json_parse_parts.hpp"

namespace memtrace {

namespace {

using Fields = JsonFields;

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

ReportResource read_resource(const Fields& fields, std::string& error) {
    ReportResource resource;
    fields.string("kind", resource.kind);
    fields.string("id", resource.id);
    fields.string("state", resource.state);
    fields.number("age_s", resource.age_s);
    fields.number("idle_s", resource.idle_s);
    fields.count("bytes", resource.bytes);
    fields.string("parent", resource.parent);
    fields.string("name", resource.name);
    fields.string("verdict", resource.verdict);
    fields.string("evidence", resource.evidence);
    fields.count("tid", resource.tid, std::numeric_limits<std::int32_t>::max());
    resource.acquired_at = read_stack(fields, "acquired_at", error);
    return resource;
}

ReportResourceKind read_kind(const Fields& fields, std::string&) {
    ReportResourceKind kind;
    fields.string("kind", kind.kind);
    fields.count("live", kind.live);
    fields.count("leaked", kind.leaked);
    fields.count("bytes", kind.bytes);
    fields.count("acquired", kind.acquired);
    fields.count("released", kind.released);
    fields.number("lifetime_p50_s", kind.lifetime_p50_s);
    fields.number("lifetime_p99_s", kind.lifetime_p99_s);
    fields.number("idle_p99_s", kind.idle_p99_s);
    fields.number("growth_per_s", kind.growth_per_s);
    fields.interval("growth_per_s_ci95", kind.growth_per_s_ci95, kind.growth_per_s);
    fields.number("p_value", kind.p_value);
    return kind;
}

ReportResourceSite read_site(const Fields& fields, std::string& error) {
    ReportResourceSite site;
    fields.string("kind", site.kind);
    fields.count("held", site.held);
    fields.count("acquired", site.acquired);
    fields.count("released", site.released);
    fields.number("growth_per_s", site.growth_per_s);
    fields.string("verdict", site.verdict);
    fields.number("confidence", site.confidence);
    fields.string("evidence", site.evidence);
    fields.strings("names", site.names);
    site.acquired_at = read_stack(fields, "acquired_at", error);
    return site;
}

ReportResourceError read_resource_error(const Fields& fields, std::string& error) {
    ReportResourceError read;
    fields.string("error", read.error);
    fields.string("kind", read.kind);
    fields.string("id", read.id);
    fields.count("count", read.count);
    fields.string("verdict", read.verdict);
    read.acquired_at = read_stack(fields, "acquired_at", error);
    read.released_at = read_stack(fields, "released_at", error);
    read.used_at = read_stack(fields, "used_at", error);
    return read;
}

ReportPool read_pool(const Fields& fields, std::string& error) {
    ReportPool pool;
    fields.string("name", pool.name);
    fields.string("id", pool.id);
    fields.count("in_use", pool.in_use);
    fields.count("limit", pool.limit);
    fields.count("peak", pool.peak);
    fields.count("waits", pool.waits);
    fields.string("verdict", pool.verdict);
    fields.string("evidence", pool.evidence);
    pool.waited_at = read_stack(fields, "waited_at", error);
    return pool;
}

ReportCleanup read_cleanup(const Fields& fields, std::string&) {
    ReportCleanup cleanup;
    fields.string("level", cleanup.level);
    fields.boolean("ended", cleanup.ended);
    fields.count("wanted_bytes", cleanup.wanted_bytes);
    fields.count("freed_bytes", cleanup.freed_bytes);
    fields.count("released", cleanup.released);
    fields.number("duration_s", cleanup.duration_s);
    fields.number("age_s", cleanup.age_s);
    return cleanup;
}

} // namespace

ReportResources read_resources(const JsonFields& root, std::string& error) {
    ReportResources resources;
    resources.listed = read_array<ReportResource>(root, "resources", error, read_resource);
    if (const auto* other = root.find("other_resources")) {
        const Fields fields(*other, "other_resources", error);
        fields.count("count", resources.other);
        fields.count("bytes", resources.other_bytes);
        fields.count("errors", resources.other_errors);
        fields.count("sites", resources.other_sites);
        fields.count("descriptors", resources.descriptors);
        fields.count("descriptor_limit", resources.descriptor_limit);
        fields.counts("counters", resources.counters);
    }
    resources.kinds = read_array<ReportResourceKind>(root, "resource_kinds", error, read_kind);
    resources.sites = read_array<ReportResourceSite>(root, "resource_sites", error, read_site);
    resources.errors = read_array<ReportResourceError>(root, "resource_errors", error, read_resource_error);
    resources.pools = read_array<ReportPool>(root, "pools", error, read_pool);
    resources.cleanups = read_array<ReportCleanup>(root, "cleanups", error, read_cleanup);
    return resources;
}

ReportReferences read_references(const nlohmann::json& json, std::string& error) {
    const Fields fields(json, "references", error);
    ReportReferences references;
    references.followed = fields.find("sources") != nullptr;
    fields.count("objects", references.objects);
    fields.count("edges", references.edges);
    fields.count("references", references.references);
    fields.strings("sources", references.sources);
    fields.count("sampled_one_in", references.sampled_one_in);
    fields.interval("objects_ci95", references.objects_ci95, static_cast<double>(references.objects));
    fields.interval("references_ci95", references.references_ci95, static_cast<double>(references.references));
    fields.count("other_cycles", references.other_cycles);
    fields.count("other_errors", references.other_errors);
    fields.counts("counters", references.counters);
    references.cycles = read_array<ReportCycle>(fields, "cycles", error, read_cycle);
    references.errors = read_array<ReportReferenceError>(fields, "errors", error, read_error);
    return references;
}

} // namespace memtrace
