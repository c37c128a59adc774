// Writes the snapshot JSON. The document is written piece by piece, one site at a time, so that a report of many sites never exists
// as a tree; frames, by far the most of it, are written without one at all.
#include <cmath>
#include <ostream>

#include <nlohmann/json.hpp>

#include "report/json_parts.hpp"
#include "report/render.hpp"

namespace memtrace {

namespace {

void append_string(std::string& out, const std::string& text) {
    for (const unsigned char byte : text) {
        if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') {
            out += dump_json(Json(text));
            return;
        }
    }
    out += '"';
    out += text;
    out += '"';
}

void append_frame(std::string& out, const ReportFrame& frame) {
    out += R"({"function":)";
    append_string(out, frame.function);
    out += R"(,"file":)";
    append_string(out, frame.file);
    out += R"(,"line":)" + std::to_string(frame.line) + R"(,"column":)" + std::to_string(frame.column) + R"(,"module":)";
    append_string(out, frame.module);
    out += R"(,"offset":)" + std::to_string(frame.offset);
    out += frame.inlined ? R"(,"inlined":true,"build_id":)" : R"(,"inlined":false,"build_id":)";
    append_string(out, frame.build_id);
    out += '}';
}

} // namespace

Json interval_json(const double (&interval)[2]) {
    return Json::array({finite(interval[0]), finite(interval[1])});
}

std::string dump_json(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

double finite(double value) {
    return std::isfinite(value) ? value : 0;
}

void append_stack(std::string& out, const char* key, const std::vector<ReportFrame>& stack) {
    out += std::string(",\"") + key + "\":[";
    for (std::size_t i = 0; i < stack.size(); ++i) {
        if (i > 0) {
            out += ',';
        }
        append_frame(out, stack[i]);
    }
    out += ']';
}

namespace {

/// `site` as an object, appended to `out`.
void append_site(std::string& out, const ReportSite& site) {
    const Json head = {{"id", site.id},
                       {"live_bytes", site.live_bytes},
                       {"live_objects", site.live_objects},
                       {"allocs", site.allocs},
                       {"frees", site.frees},
                       {"allocated_bytes", site.allocated_bytes},
                       {"freed_bytes", site.freed_bytes},
                       {"live_bytes_ci95", interval_json(site.live_bytes_ci95)},
                       {"live_objects_ci95", interval_json(site.live_objects_ci95)},
                       {"unverified_bytes", site.unverified_bytes},
                       {"unverified_objects", site.unverified_objects},
                       {"oldest_age_s", finite(site.oldest_age_s)},
                       {"growth_bytes_per_s", finite(site.growth_bytes_per_s)},
                       {"growth_bytes_per_s_ci95", interval_json(site.growth_bytes_per_s_ci95)},
                       {"p_value", finite(site.p_value)},
                       {"shape", site.shape},
                       {"verdict", site.verdict},
                       {"confidence", finite(site.confidence)},
                       {"evidence", site.evidence},
                       {"allocator", site.allocator},
                       {"function", site.function},
                       {"stack_truncated", site.stack_truncated}};
    out += dump_json(head);
    out.pop_back(); // the object goes on
    append_stack(out, "stack", site.stack);
    out += '}';
}

void append_page_site(std::string& out, const ReportPageSite& site) {
    const Json head = {{"id", site.id},
                       {"kind", site.kind},
                       {"bytes", site.bytes},
                       {"returned_bytes", site.returned_bytes},
                       {"events", site.events},
                       {"bytes_per_s", finite(site.bytes_per_s)},
                       {"stack_truncated", site.stack_truncated}};
    out += dump_json(head);
    out.pop_back(); // the object goes on
    append_stack(out, "stack", site.stack);
    out += '}';
}

/// `,"pages":{...}`, where there is something to say.
void append_pages(std::string& out, const ReportPages& pages) {
    if (pages.sources.empty()) {
        return;
    }
    const Json head = {
        {"sources", pages.sources},           {"faulted_bytes", pages.faulted_bytes},   {"returned_bytes", pages.returned_bytes},
        {"mapped_bytes", pages.mapped_bytes}, {"unmapped_bytes", pages.unmapped_bytes}, {"other_sites", pages.other_sites},
        {"other_bytes", pages.other_bytes}};
    out += R"(,"pages":)" + dump_json(head);
    out.pop_back(); // the object goes on
    out += R"(,"sites":[)";
    for (std::size_t i = 0; i < pages.sites.size(); ++i) {
        if (i > 0) {
            out += ',';
        }
        append_page_site(out, pages.sites[i]);
    }
    out += "]}";
}

Json process_json(const ReportProcess& process) {
    return {{"pid", process.pid},
            {"start_time", process.start_time},
            {"comm", process.comm},
            {"exe", process.exe},
            {"cmdline", process.cmdline},
            {"rss_bytes", process.rss_bytes},
            {"anon_bytes", process.anon_bytes},
            {"file_bytes", process.file_bytes},
            {"shmem_bytes", process.shmem_bytes},
            {"swap_bytes", process.swap_bytes},
            {"stack_bytes", process.stack_bytes},
            {"state", process.state}};
}

Json coverage_json(const ReportCoverage& coverage) {
    const auto& cost = coverage.overhead;
    const Json overhead = {{"ratio", finite(cost.ratio)},
                           {"budget", cost.budget ? Json(finite(*cost.budget)) : Json(nullptr)},
                           {"trap_ns", finite(cost.trap_ns)},
                           {"hits_per_s", finite(cost.hits_per_s)}};
    Json json = {{"mode", coverage.mode},
                 {"sample_interval_bytes", coverage.sample_interval_bytes},
                 {"window_s", finite(coverage.window_s)},
                 {"period_s", finite(coverage.period_s)},
                 {"mode_reason", coverage.mode_reason},
                 {"sources", coverage.sources},
                 {"unmatched_frees", coverage.unmatched_frees},
                 {"lost", object_json(coverage.lost)},
                 {"overhead", overhead},
                 {"counters", object_json(coverage.counters)},
                 {"from_start", coverage.from_start},
                 {"max_live", coverage.max_live},
                 {"kernel_bytes", coverage.kernel_bytes}};
    if (const auto& own = coverage.collector) {
        json["collector"] = {{"cpu_ratio", finite(own->cpu_ratio)},
                             {"cpu_budget", finite(own->cpu_budget)},
                             {"rss_bytes", own->rss_bytes},
                             {"memory_budget", own->memory_budget},
                             {"interval_s", finite(own->interval_s)},
                             {"tick_s", finite(own->tick_s)},
                             {"ages_s", finite(own->ages_s)},
                             {"sites_listed", own->sites_listed},
                             {"max_sites", own->max_sites},
                             {"forgotten", own->forgotten},
                             {"reason", own->reason}};
    }
    return json;
}

Json totals_json(const ReportTotals& totals) {
    Json json = {{"live_bytes", totals.live_bytes},
                 {"live_objects", totals.live_objects},
                 {"allocs", totals.allocs},
                 {"frees", totals.frees},
                 {"allocated_bytes", totals.allocated_bytes},
                 {"freed_bytes", totals.freed_bytes},
                 {"live_bytes_ci95", interval_json(totals.live_bytes_ci95)},
                 {"live_objects_ci95", interval_json(totals.live_objects_ci95)},
                 {"unverified_bytes", totals.unverified_bytes},
                 {"unverified_objects", totals.unverified_objects}};
    if (totals.other_sites != 0) {
        json["other_sites"] = totals.other_sites;
        json["other_live_bytes"] = totals.other_live_bytes;
        json["other_live_objects"] = totals.other_live_objects;
    }
    return json;
}

Json verdict_json(const ReportVerdict& verdict) {
    return {{"class", verdict.class_name}, {"text", verdict.text}, {"evidence", object_json(verdict.evidence)}};
}

/// `,"forecast":{...}`, where a limit is known. What may never come is null.
void append_forecast(std::string& out, const ReportForecast& forecast) {
    if (forecast.limit.empty()) {
        return;
    }
    const auto seconds = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
    Json json = {{"limit", forecast.limit}, {"limit_bytes", forecast.limit_bytes}, {"used_bytes", forecast.used_bytes}};
    if (forecast.growth_bytes_per_s > 0) {
        json["growth_bytes_per_s"] = finite(forecast.growth_bytes_per_s);
        json["seconds"] = seconds(forecast.seconds);
        json["seconds_ci95"] = Json::array({seconds(forecast.seconds_ci95[0]), seconds(forecast.seconds_ci95[1])});
    }
    out += R"(,"forecast":)" + dump_json(json);
}

} // namespace

void render_json(const Report& report, std::ostream& out) {
    const Json head = {{"schema", "memtrace.snapshot/1"},
                       {"tool", {{"name", "memtrace"}, {"version", report.tool_version}}},
                       {"time", report.time},
                       {"duration_s", finite(report.duration_s)},
                       {"min_age_s", finite(report.min_age_s)},
                       {"process", process_json(report.process)},
                       {"coverage", coverage_json(report.coverage)},
                       {"totals", totals_json(report.totals)},
                       {"verdict", verdict_json(report.verdict)}};
    std::string buffer = dump_json(head);
    buffer.pop_back(); // the object goes on
    append_forecast(buffer, report.forecast);
    buffer += R"(,"sites":[)";
    for (std::size_t i = 0; i < report.sites.size(); ++i) {
        if (i > 0) {
            buffer += ',';
        }
        append_site(buffer, report.sites[i]);
        if (buffer.size() >= 1 << 16) {
            out << buffer;
            buffer.clear();
        }
    }
    buffer += ']';
    append_pages(buffer, report.pages);
    append_resources(buffer, report.resources);
    append_references(buffer, report.references);
    Json alerts = Json::array();
    for (const auto& alert : report.alerts) {
        alerts.push_back(alert_json(alert));
    }
    out << buffer << R"(,"alerts":)" << dump_json(alerts) << "}\n";
}

} // namespace memtrace
