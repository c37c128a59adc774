// The part of the snapshot JSON that is about what a program tells of itself: references, resources, pools, cleanups.
#include "report/json_parts.hpp"

namespace memtrace {

namespace {

/// `,"key":[...]`, an element each by `append`.
template <typename T, typename Append>
void append_array(std::string& out, const char* key, const std::vector<T>& values, Append append) {
    out += std::string(",\"") + key + "\":[";
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) {
            out += ',';
        }
        append(out, values[i]);
    }
    out += ']';
}

/// `head` without its end: the object goes on.
void append_open(std::string& out, const Json& head) {
    out += dump_json(head);
    out.pop_back();
}

void append_object(std::string& out, const ReportObject& object) {
    out += dump_json(
        {{"id", object.id}, {"type", object.type}, {"bytes", object.bytes}, {"strong", object.strong}, {"weak", object.weak}});
}

void append_handle(std::string& out, const ReportCycleHandle& handle) {
    append_open(out, {{"from", handle.from}, {"to", handle.to}, {"handle", handle.handle}});
    append_stack(out, "acquired_at", handle.acquired_at);
    out += '}';
}

void append_cycle(std::string& out, const ReportCycle& cycle) {
    append_open(out, {{"bytes", cycle.bytes},
                      {"other_objects", cycle.other_objects},
                      {"retained_objects", cycle.retained_objects},
                      {"retained_bytes", cycle.retained_bytes},
                      {"count", cycle.count},
                      {"total_bytes", cycle.total_bytes},
                      {"verdict", cycle.verdict}});
    append_array(out, "objects", cycle.objects, append_object);
    append_array(out, "handles", cycle.handles, append_handle);
    out += '}';
}

void append_error(std::string& out, const ReportReferenceError& error) {
    append_open(out, {{"kind", error.kind},
                      {"object", error.object},
                      {"type", error.type},
                      {"bytes", error.bytes},
                      {"handle", error.handle},
                      {"count", error.count},
                      {"verdict", error.verdict},
                      {"evidence", error.evidence}});
    append_stack(out, "acquired_at", error.acquired_at);
    append_stack(out, "released_at", error.released_at);
    append_stack(out, "before_at", error.before_at);
    out += '}';
}

void append_resource(std::string& out, const ReportResource& resource) {
    append_open(out, {{"kind", resource.kind},
                      {"id", resource.id},
                      {"state", resource.state},
                      {"age_s", finite(resource.age_s)},
                      {"idle_s", finite(resource.idle_s)},
                      {"bytes", resource.bytes},
                      {"parent", resource.parent},
                      {"name", resource.name},
                      {"verdict", resource.verdict},
                      {"evidence", resource.evidence},
                      {"tid", resource.tid}});
    append_stack(out, "acquired_at", resource.acquired_at);
    out += '}';
}

void append_kind(std::string& out, const ReportResourceKind& kind) {
    out += dump_json({{"kind", kind.kind},
                      {"live", kind.live},
                      {"leaked", kind.leaked},
                      {"bytes", kind.bytes},
                      {"acquired", kind.acquired},
                      {"released", kind.released},
                      {"lifetime_p50_s", finite(kind.lifetime_p50_s)},
                      {"lifetime_p99_s", finite(kind.lifetime_p99_s)},
                      {"idle_p99_s", finite(kind.idle_p99_s)},
                      {"growth_per_s", finite(kind.growth_per_s)},
                      {"growth_per_s_ci95", interval_json(kind.growth_per_s_ci95)},
                      {"p_value", finite(kind.p_value)}});
}

void append_site(std::string& out, const ReportResourceSite& site) {
    append_open(out, {{"kind", site.kind},
                      {"held", site.held},
                      {"acquired", site.acquired},
                      {"released", site.released},
                      {"growth_per_s", finite(site.growth_per_s)},
                      {"verdict", site.verdict},
                      {"confidence", finite(site.confidence)},
                      {"evidence", site.evidence},
                      {"names", site.names}});
    append_stack(out, "acquired_at", site.acquired_at);
    out += '}';
}

void append_resource_error(std::string& out, const ReportResourceError& error) {
    append_open(
        out,
        {{"error", error.error}, {"kind", error.kind}, {"id", error.id}, {"count", error.count}, {"verdict", error.verdict}});
    append_stack(out, "acquired_at", error.acquired_at);
    append_stack(out, "released_at", error.released_at);
    append_stack(out, "used_at", error.used_at);
    out += '}';
}

void append_pool(std::string& out, const ReportPool& pool) {
    append_open(out, {{"name", pool.name},
                      {"id", pool.id},
                      {"in_use", pool.in_use},
                      {"limit", pool.limit},
                      {"peak", pool.peak},
                      {"waits", pool.waits},
                      {"verdict", pool.verdict},
                      {"evidence", pool.evidence}});
    append_stack(out, "waited_at", pool.waited_at);
    out += '}';
}

void append_cleanup(std::string& out, const ReportCleanup& cleanup) {
    out += dump_json({{"level", cleanup.level},
                      {"ended", cleanup.ended},
                      {"wanted_bytes", cleanup.wanted_bytes},
                      {"freed_bytes", cleanup.freed_bytes},
                      {"released", cleanup.released},
                      {"duration_s", finite(cleanup.duration_s)},
                      {"age_s", finite(cleanup.age_s)}});
}

} // namespace

void append_resources(std::string& out, const ReportResources& resources) {
    append_array(out, "resources", resources.listed, append_resource);
    if (!resources.kinds.empty() || !resources.counters.empty() || !resources.errors.empty()) {
        out += R"(,"other_resources":)" + dump_json({{"count", resources.other},
                                                     {"bytes", resources.other_bytes},
                                                     {"errors", resources.other_errors},
                                                     {"sites", resources.other_sites},
                                                     {"descriptors", resources.descriptors},
                                                     {"descriptor_limit", resources.descriptor_limit},
                                                     {"counters", object_json(resources.counters)}});
        append_array(out, "resource_kinds", resources.kinds, append_kind);
        append_array(out, "resource_sites", resources.sites, append_site);
        append_array(out, "resource_errors", resources.errors, append_resource_error);
    }
    if (!resources.pools.empty()) {
        append_array(out, "pools", resources.pools, append_pool);
    }
    if (!resources.cleanups.empty()) {
        append_array(out, "cleanups", resources.cleanups, append_cleanup);
    }
}

void append_references(std::string& out, const ReportReferences& references) {
    Json head = {{"objects", references.objects}, {"edges", references.edges}};
    if (references.followed) {
        head["references"] = references.references;
        head["sources"] = references.sources;
        head["sampled_one_in"] = references.sampled_one_in;
        if (references.sampled_one_in > 1) {
            head["objects_ci95"] = references.objects_ci95;
            head["references_ci95"] = references.references_ci95;
        }
        head["other_cycles"] = references.other_cycles;
        head["other_errors"] = references.other_errors;
        head["counters"] = object_json(references.counters);
    }
    out += R"(,"references":)";
    append_open(out, head);
    append_array(out, "cycles", references.cycles, append_cycle);
    append_array(out, "errors", references.errors, append_error);
    out += '}';
}

} // namespace memtrace
