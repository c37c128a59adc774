// Reads the snapshot JSON: foreign bytes. The library parses without exceptions; sites are converted and dropped one by one as they
// are completed, so that the tree in memory never holds more than one of them. Every value is checked for its type before it is
// taken. Missing fields keep their default (a later version's reader meets an earlier version's file, and the other way round).
#include <limits>

#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "report/json_fields.hpp"
#include "report/json_parse_parts.hpp"
#include "report/render.hpp"

namespace memtrace {

namespace {

using Json = nlohmann::json;
using Fields = JsonFields;

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;
constexpr int kMaxDepth = 32;            ///< the schema needs 7
constexpr std::size_t kMaxFrames = 4096; ///< of one stack, inlined ones counted

ReportFrame read_frame(const Fields& fields, std::string&) {
    ReportFrame frame;
    fields.string("function", frame.function);
    fields.string("file", frame.file);
    fields.count("line", frame.line, std::numeric_limits<std::uint32_t>::max());
    fields.count("column", frame.column, std::numeric_limits<std::uint32_t>::max());
    fields.string("module", frame.module);
    fields.count("offset", frame.offset, std::numeric_limits<std::uint64_t>::max());
    fields.boolean("inlined", frame.inlined);
    fields.string("build_id", frame.build_id);
    return frame;
}

} // namespace

std::vector<ReportFrame> read_stack(const JsonFields& fields, const char* key, std::string& error) {
    if (fields.elements(key).size() > kMaxFrames) {
        fields.complain(key, "has more than " + std::to_string(kMaxFrames) + " frames");
        return {};
    }
    return read_array<ReportFrame>(fields, key, error, read_frame);
}

namespace {

ReportSite read_site(const Json& json, const std::string& where, std::string& error) {
    const Fields fields(json, where, error);
    ReportSite site;
    static_cast<void>(fields.require("id"));
    fields.string("id", site.id);
    fields.count("live_bytes", site.live_bytes);
    fields.count("live_objects", site.live_objects);
    fields.count("allocs", site.allocs);
    fields.count("frees", site.frees);
    fields.count("allocated_bytes", site.allocated_bytes);
    fields.count("freed_bytes", site.freed_bytes);
    fields.interval("live_bytes_ci95", site.live_bytes_ci95, static_cast<double>(site.live_bytes));
    fields.interval("live_objects_ci95", site.live_objects_ci95, static_cast<double>(site.live_objects));
    fields.count("unverified_bytes", site.unverified_bytes);
    fields.count("unverified_objects", site.unverified_objects);
    fields.number("oldest_age_s", site.oldest_age_s);
    fields.number("growth_bytes_per_s", site.growth_bytes_per_s);
    fields.interval("growth_bytes_per_s_ci95", site.growth_bytes_per_s_ci95, site.growth_bytes_per_s);
    fields.number("p_value", site.p_value);
    fields.string("shape", site.shape);
    fields.string("verdict", site.verdict);
    fields.number("confidence", site.confidence);
    fields.string("evidence", site.evidence);
    fields.string("allocator", site.allocator);
    fields.string("function", site.function);
    fields.boolean("stack_truncated", site.stack_truncated);
    site.stack = read_stack(fields, "stack", error);
    return site;
}

ReportPageSite read_page_site(const Fields& fields, std::string& error) {
    ReportPageSite site;
    fields.string("id", site.id);
    fields.string("kind", site.kind);
    fields.count("bytes", site.bytes);
    fields.count("returned_bytes", site.returned_bytes);
    fields.count("events", site.events);
    fields.number("bytes_per_s", site.bytes_per_s);
    fields.boolean("stack_truncated", site.stack_truncated);
    site.stack = read_stack(fields, "stack", error);
    return site;
}

ReportPages read_pages(const Json& json, std::string& error) {
    const Fields fields(json, "pages", error);
    ReportPages pages;
    fields.strings("sources", pages.sources);
    fields.count("faulted_bytes", pages.faulted_bytes);
    fields.count("returned_bytes", pages.returned_bytes);
    fields.count("mapped_bytes", pages.mapped_bytes);
    fields.count("unmapped_bytes", pages.unmapped_bytes);
    fields.count("other_sites", pages.other_sites);
    fields.count("other_bytes", pages.other_bytes);
    pages.sites = read_array<ReportPageSite>(fields, "sites", error, read_page_site);
    return pages;
}

ReportProcess read_process(const Json& json, std::string& error) {
    const Fields fields(json, "process", error);
    ReportProcess process;
    static_cast<void>(fields.require("pid"));
    fields.count("pid", process.pid, std::numeric_limits<std::int32_t>::max());
    fields.string("start_time", process.start_time);
    fields.string("comm", process.comm);
    fields.string("exe", process.exe);
    fields.strings("cmdline", process.cmdline);
    fields.count("rss_bytes", process.rss_bytes);
    fields.count("anon_bytes", process.anon_bytes);
    fields.count("file_bytes", process.file_bytes);
    fields.count("shmem_bytes", process.shmem_bytes);
    fields.count("swap_bytes", process.swap_bytes);
    fields.count("stack_bytes", process.stack_bytes);
    fields.string("state", process.state);
    return process;
}

ReportCoverage read_coverage(const Json& json, std::string& error) {
    const Fields fields(json, "coverage", error);
    ReportCoverage coverage;
    fields.string("mode", coverage.mode);
    fields.count("sample_interval_bytes", coverage.sample_interval_bytes);
    fields.number("window_s", coverage.window_s);
    fields.number("period_s", coverage.period_s);
    fields.string("mode_reason", coverage.mode_reason);
    fields.strings("sources", coverage.sources);
    fields.count("unmatched_frees", coverage.unmatched_frees);
    fields.counts("lost", coverage.lost);
    fields.counts("counters", coverage.counters);
    fields.boolean("from_start", coverage.from_start);
    fields.count("max_live", coverage.max_live);
    fields.count("kernel_bytes", coverage.kernel_bytes);
    if (const Json* object = fields.find("overhead")) {
        const Fields overhead(*object, "coverage.overhead", error);
        overhead.number("ratio", coverage.overhead.ratio);
        overhead.number("trap_ns", coverage.overhead.trap_ns);
        overhead.number("hits_per_s", coverage.overhead.hits_per_s);
        if (const Json* budget = overhead.find("budget"); budget != nullptr && !budget->is_null()) {
            overhead.number("budget", coverage.overhead.budget.emplace());
        }
    }
    if (const Json* object = fields.find("collector")) {
        const Fields own(*object, "coverage.collector", error);
        auto& collector = coverage.collector.emplace();
        own.number("cpu_ratio", collector.cpu_ratio);
        own.number("cpu_budget", collector.cpu_budget);
        own.count("rss_bytes", collector.rss_bytes);
        own.count("memory_budget", collector.memory_budget);
        own.number("interval_s", collector.interval_s);
        own.number("tick_s", collector.tick_s);
        own.number("ages_s", collector.ages_s);
        own.count("sites_listed", collector.sites_listed);
        own.count("max_sites", collector.max_sites);
        own.count("forgotten", collector.forgotten);
        own.string("reason", collector.reason);
    }
    return coverage;
}

ReportTotals read_totals(const Json& json, std::string& error) {
    const Fields fields(json, "totals", error);
    ReportTotals totals;
    fields.count("live_bytes", totals.live_bytes);
    fields.count("live_objects", totals.live_objects);
    fields.count("allocs", totals.allocs);
    fields.count("frees", totals.frees);
    fields.count("allocated_bytes", totals.allocated_bytes);
    fields.count("freed_bytes", totals.freed_bytes);
    fields.count("unverified_bytes", totals.unverified_bytes);
    fields.count("unverified_objects", totals.unverified_objects);
    fields.count("other_sites", totals.other_sites);
    fields.count("other_live_bytes", totals.other_live_bytes);
    fields.count("other_live_objects", totals.other_live_objects);
    fields.interval("live_bytes_ci95", totals.live_bytes_ci95, static_cast<double>(totals.live_bytes));
    fields.interval("live_objects_ci95", totals.live_objects_ci95, static_cast<double>(totals.live_objects));
    return totals;
}

ReportVerdict read_verdict(const Json& json, std::string& error) {
    const Fields fields(json, "verdict", error);
    ReportVerdict verdict;
    fields.string("class", verdict.class_name);
    fields.string("text", verdict.text);
    const Json* evidence = fields.find("evidence");
    if (evidence != nullptr && !evidence->is_object()) {
        fields.complain("evidence", "is not an object");
    } else if (evidence != nullptr) {
        for (const auto& [name, value] : evidence->items()) {
            const auto* text = value.get_ptr<const std::string*>();
            if (text == nullptr && value.is_structured()) {
                fields.complain("evidence", "holds something that is not a string");
            } else {
                verdict.evidence[name] = text != nullptr ? *text : value.dump(); // a later version may write a bare number
            }
        }
    }
    return verdict;
}

ReportForecast read_forecast(const Json& json, std::string& error) {
    const Fields fields(json, "forecast", error);
    ReportForecast forecast;
    fields.string("limit", forecast.limit);
    fields.count("limit_bytes", forecast.limit_bytes);
    fields.count("used_bytes", forecast.used_bytes);
    fields.number("growth_bytes_per_s", forecast.growth_bytes_per_s);
    fields.number("seconds", forecast.seconds);
    const Json& interval = fields.elements("seconds_ci95");
    for (std::size_t i = 0; i < 2 && i < interval.size(); ++i) { // null: it may never come
        forecast.seconds_ci95[i] = interval[i].is_number() ? interval[i].get<double>() : std::numeric_limits<double>::infinity();
    }
    return forecast;
}

void read_head(const Json& root, Report& report, std::string& error) {
    const Fields fields(root, "", error);
    if (const Json* tool = fields.find("tool")) {
        Fields(*tool, "tool", error).string("version", report.tool_version);
    }
    fields.string("time", report.time);
    report.time_unix_ns = parse_rfc3339(report.time);
    fields.number("duration_s", report.duration_s);
    fields.number("min_age_s", report.min_age_s);
    report.process = read_process(fields.require("process"), error);
    if (const Json* coverage = fields.find("coverage")) {
        report.coverage = read_coverage(*coverage, error);
    }
    report.totals = read_totals(fields.require("totals"), error);
    if (const Json* verdict = fields.find("verdict")) {
        report.verdict = read_verdict(*verdict, error);
    }
    if (const Json* forecast = fields.find("forecast")) {
        report.forecast = read_forecast(*forecast, error);
    }
    if (const Json* pages = fields.find("pages")) {
        report.pages = read_pages(*pages, error);
    }
    if (const Json* references = fields.find("references")) {
        report.references = read_references(*references, error);
    }
    report.resources = read_resources(fields, error);
    report.alerts = read_alerts(fields, error);
    static_cast<void>(fields.require("sites"));
    static_cast<void>(fields.elements("sites"));
}

/// Follows the parser: takes the sites out of the document as they pass by.
class SiteCollector {
public:
    SiteCollector(std::vector<ReportSite>& sites, std::string& error) : sites_(sites), error_(error) {}

    /// False: drop what was just parsed.
    bool operator()(int depth, Json::parse_event_t event, Json& value) {
        if (depth > kMaxDepth) {
            if (error_.empty()) {
                error_ = "nested too deeply";
            }
            return false;
        }
        if (depth == 1 && event == Json::parse_event_t::key) {
            in_sites_ = value == "sites";
        }
        if (depth == 2 && in_sites_) {
            return on_element(event, value);
        }
        return true;
    }

private:
    bool on_element(Json::parse_event_t event, const Json& value) {
        if (event == Json::parse_event_t::object_start) {
            return error_.empty();
        }
        if (error_.empty()) {
            sites_.push_back(read_site(value, "sites[" + std::to_string(sites_.size()) + "]", error_));
        }
        return false;
    }

    std::vector<ReportSite>& sites_;
    std::string& error_;
    bool in_sites_ = false;
};

tl::unexpected<Error> refuse(const std::string& why) {
    return fail("not a memtrace snapshot: " + why);
}

} // namespace

Result<Report> parse_json_report(const std::string& text) {
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
        return refuse("the file is empty");
    }
    if (text.size() > kMaxTextBytes) {
        return refuse("larger than " + std::to_string(kMaxTextBytes >> 20) + " MiB");
    }
    Report report;
    std::string error;
    SiteCollector collector(report.sites, error);
    const Json root = Json::parse(
        text, [&](int depth, Json::parse_event_t event, Json& value) { return collector(depth, event, value); },
        /*allow_exceptions=*/false);
    if (root.is_discarded()) {
        return refuse(error.empty() ? "not valid JSON, or cut short" : error);
    }
    if (!root.is_object()) {
        return refuse("not a JSON object");
    }
    const auto schema = root.find("schema");
    if (schema == root.end() || !schema->is_string()) {
        return refuse("it names no schema");
    }
    if (*schema != "memtrace.snapshot/1") {
        return refuse("its schema is " + schema->dump() + ", this version reads \"memtrace.snapshot/1\"");
    }
    read_head(root, report, error);
    if (!error.empty()) {
        return refuse(error);
    }
    return report;
}

} // namespace memtrace
