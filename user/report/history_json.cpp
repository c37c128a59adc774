// A history as JSON, schema "memtrace.history/1".
#include <ostream>

#include "base/clock.hpp"
#include "report/history_view.hpp"
#include "report/json_parts.hpp"

namespace memtrace {

namespace {

Json process_json(const HistoryProcess& process) {
    return {{"pid", process.pid},
            {"start_time", rfc3339_of_ms(process.start_ms)},
            {"comm", process.comm},
            {"exe", process.exe},
            {"cmdline", process.cmdline},
            {"state", process.state},
            {"first_seen", rfc3339_of_ms(process.first_ms)},
            {"last_seen", rfc3339_of_ms(process.last_ms)}};
}

Json sample_json(const HistorySample& sample) {
    return {{"time", rfc3339_of_ms(sample.at_ms)},
            {"live_bytes", sample.live_bytes},
            {"live_objects", sample.live_objects},
            {"rss_bytes", sample.rss_bytes},
            {"leak_bytes_per_s", finite(sample.leak_bytes_per_s)},
            {"overhead", finite(sample.overhead)},
            {"lost", sample.lost},
            {"descriptors", sample.descriptors},
            {"verdict", sample.verdict},
            {"mode", sample.mode}};
}

std::string site_json(const HistorySite& site) {
    Json samples = Json::array();
    for (const auto& sample : site.samples) {
        samples.push_back({{"time", rfc3339_of_ms(sample.at_ms)},
                           {"live_bytes", sample.live_bytes},
                           {"live_objects", sample.live_objects},
                           {"allocs", sample.allocs},
                           {"frees", sample.frees},
                           {"growth_bytes_per_s", finite(sample.growth_bytes_per_s)},
                           {"verdict", sample.verdict}});
    }
    auto text = dump_json({{"id", site.id},
                           {"allocator", site.allocator},
                           {"function", site.function},
                           {"grown_bytes", history_growth(site)},
                           {"stack_truncated", site.stack_truncated},
                           {"samples", samples}});
    text.pop_back(); // the object goes on
    append_stack(text, "stack", site.stack);
    return text + '}';
}

Json kind_json(const HistoryKind& kind) {
    Json samples = Json::array();
    for (const auto& sample : kind.samples) {
        samples.push_back({{"time", rfc3339_of_ms(sample.at_ms)},
                           {"live", sample.live},
                           {"leaked", sample.leaked},
                           {"bytes", sample.bytes},
                           {"growth_per_s", finite(sample.growth_per_s)},
                           {"verdict", sample.verdict}});
    }
    return {{"kind", kind.kind}, {"samples", samples}};
}

Json alert_change_json(const HistoryAlert& alert) {
    auto labels = Json::parse(alert.labels, nullptr, false);
    return {{"time", rfc3339_of_ms(alert.at_ms)},
            {"name", alert.name},
            {"severity", alert.severity},
            {"state", alert.state},
            {"since", rfc3339_of_ms(alert.since_ms)},
            {"value", finite(alert.value)},
            {"threshold", finite(alert.threshold)},
            {"labels", labels.is_object() ? labels : Json::object()},
            {"text", alert.text}};
}

template <typename Values, typename ToJson>
Json array_json(const Values& values, ToJson to_json) {
    Json array = Json::array();
    for (const auto& value : values) {
        array.push_back(to_json(value));
    }
    return array;
}

} // namespace

void render_history_json(const HistoryView& view, std::ostream& out) {
    auto text = dump_json({{"schema", "memtrace.history/1"},
                           {"process", process_json(view.process)},
                           {"samples", array_json(view.samples, sample_json)},
                           {"verdicts", array_json(view.verdicts,
                                                   [](const HistoryVerdict& change) {
                                                       return Json{{"time", rfc3339_of_ms(change.at_ms)},
                                                                   {"verdict", change.verdict},
                                                                   {"text", change.text}};
                                                   })},
                           {"resources", array_json(view.kinds, kind_json)},
                           {"alerts", array_json(view.alerts, alert_change_json)},
                           {"snapshots", array_json(view.snapshots, [](const HistorySnapshot& snapshot) {
                                return Json{{"time", rfc3339_of_ms(snapshot.at_ms)},
                                            {"format", snapshot.format},
                                            {"path", snapshot.path},
                                            {"gone", snapshot.gone}};
                            })}});
    text.pop_back(); // the object goes on
    out << text << R"(,"sites":[)";
    for (std::size_t i = 0; i < view.sites.size(); ++i) {
        out << (i > 0 ? "," : "") << site_json(view.sites[i]);
    }
    out << "]}\n";
}

void render_history_list_json(const std::vector<HistoryProcess>& processes, std::ostream& out) {
    out << dump_json({{"schema", "memtrace.history/1"}, {"processes", array_json(processes, process_json)}}) << '\n';
}

} // namespace memtrace
