#include "report/observe.hpp"

#include <algorithm>
#include <utility>

#include "analyze/verdict.hpp"
#include "report/format.hpp"
#include "report/top_sites.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kLargest = 1'000;

std::string count_of(std::uint64_t count, const std::string& noun) {
    return human_count(count) + " " + noun + (count == 1 ? "" : "s");
}

/// Who called the allocator, or took the resource: what people call the place.
std::string place_of(const std::vector<ReportFrame>& stack) {
    return stack.empty() ? "an unknown place" : innermost_name(stack);
}

class Observer {
public:
    explicit Observer(const Report& report) : report_(report) {}

    std::vector<Observation> all() {
        process();
        forecast();
        sites();
        for (const auto& kind : report_.resources.kinds) {
            resource_kind(kind);
        }
        for (const auto& site : report_.resources.sites) {
            resource_site(site);
        }
        resource_errors();
        pools();
        references();
        return std::move(found_);
    }

private:
    void add(AlertSubject subject, std::string key, double value, AlertLabels labels, std::string text) {
        found_.push_back({subject, std::move(key), value, std::move(labels), std::move(text)});
    }

    void process() {
        const auto& [coverage, totals] = std::pair(report_.coverage, report_.totals);
        add(AlertSubject::live_bytes, "", static_cast<double>(totals.live_bytes), {},
            human_bytes(totals.live_bytes) + " live in " + count_of(totals.live_objects, "block"));
        add(AlertSubject::rss_bytes, "", static_cast<double>(report_.process.rss_bytes), {},
            human_bytes(report_.process.rss_bytes) + " resident");
        add(AlertSubject::memory, "", 1, {{"class", report_.verdict.class_name}}, report_.verdict.text);
        add(AlertSubject::overhead, "", coverage.overhead.ratio, {{"mode", coverage.mode}},
            "tracing takes " + human_percent(coverage.overhead.ratio) + " of the target's CPU time");
        add(AlertSubject::loss, "", static_cast<double>(coverage.lost_now), {},
            count_of(coverage.lost_now, "event") + " lost since the report before: figures are too low by them");
    }

    void forecast() {
        const auto& forecast = report_.forecast;
        if (forecast.growth_bytes_per_s > 0) {
            add(AlertSubject::time_to_limit, "", forecast.seconds,
                {{"limit", forecast.limit}, {"class", report_.verdict.class_name}},
                "the memory of the " + forecast.limit + " lasts for " + human_duration(forecast.seconds) + " (" +
                    human_duration(forecast.seconds_ci95[0]) + " at least) while the process grows " +
                    human_rate(forecast.growth_bytes_per_s));
        }
    }

    void sites() {
        std::size_t larger = 0;
        for (const auto& site : report_.sites) {
            const auto rank = verdict_rank(site.verdict);
            if (rank == 0 && (larger++ >= kLargest || site.growth_bytes_per_s <= 0)) {
                continue;
            }
            const auto function = place_of(site.stack);
            const AlertLabels labels{{"site", site.id}, {"function", function}, {"verdict", site.verdict}};
            add(AlertSubject::site, site.id, rank, labels,
                function + " is a " + site.verdict + " leak (" + human_bytes(site.live_bytes) + " live): " + site.evidence);
            add(AlertSubject::site_rate, site.id, site.growth_bytes_per_s, labels,
                function + " grows " + human_rate(site.growth_bytes_per_s));
        }
        const auto leaking = leak_rate(report_);
        add(AlertSubject::leak_rate, "", leaking, {}, "what probably leaks grows " + human_rate(leaking) + " in all");
    }

    void resource_kind(const ReportResourceKind& kind) {
        const ReportResource* oldest = nullptr;
        const ReportResource* worst = nullptr;
        for (const auto& resource : report_.resources.listed) {
            if (resource.kind == kind.kind) {
                oldest = oldest == nullptr || resource.age_s > oldest->age_s ? &resource : oldest;
                worst = worst == nullptr || verdict_rank(resource.verdict) > verdict_rank(worst->verdict) ? &resource : worst;
            }
        }
        add(AlertSubject::resource_count, kind.kind, static_cast<double>(kind.live), {{"kind", kind.kind}},
            human_count(kind.live) + " of kind " + kind.kind + " are held");
        if (grows(kind)) {
            add(AlertSubject::resource_rate, kind.kind, kind.growth_per_s, {{"kind", kind.kind}},
                "kind " + kind.kind + " grows by " + human_number_rate(kind.growth_per_s) + ", to " + human_count(kind.live));
        }
        if (oldest != nullptr) {
            add(AlertSubject::resource_age, kind.kind, oldest->age_s,
                {{"kind", kind.kind}, {"function", place_of(oldest->acquired_at)}},
                kind.kind + " " + oldest->id + " is held for " + human_duration(oldest->age_s));
            add(AlertSubject::resource, kind.kind, verdict_rank(worst->verdict),
                {{"kind", kind.kind}, {"function", place_of(worst->acquired_at)}, {"verdict", worst->verdict}},
                kind.kind + " " + worst->id + " of " + place_of(worst->acquired_at) + ": " + worst->evidence + "; " +
                    human_count(kind.leaked) + " of " + human_count(kind.live) + " of its kind leaked");
        }
    }

    void resource_site(const ReportResourceSite& site) {
        const auto function = place_of(site.acquired_at);
        if (const auto rank = verdict_rank(site.verdict); rank != 0) {
            add(AlertSubject::resource, site.kind + " at " + function, rank,
                {{"kind", site.kind}, {"function", function}, {"verdict", site.verdict}},
                function + " holds " + human_count(site.held) + " of kind " + site.kind + ": " + site.evidence);
        }
    }

    void resource_errors() {
        for (const auto& error : report_.resources.errors) {
            add(AlertSubject::resource, error.error + " " + error.kind + " " + place_of(error.used_at),
                verdict_rank(error.verdict),
                {{"kind", error.kind}, {"function", place_of(error.used_at)}, {"verdict", error.verdict}},
                error.error + " of " + error.kind + " " + error.id + " in " + place_of(error.used_at) + ", " +
                    count_of(error.count, "time"));
        }
    }

    void pools() {
        for (const auto& pool : report_.resources.pools) {
            const AlertLabels labels{{"pool", pool.name}, {"verdict", pool.verdict}};
            add(AlertSubject::pool, pool.id, verdict_rank(pool.verdict), labels, "pool " + pool.name + ": " + pool.evidence);
            if (pool.limit != 0) {
                const auto share = static_cast<double>(pool.in_use) / static_cast<double>(pool.limit);
                add(AlertSubject::pool_use, pool.id, share, labels,
                    "pool " + pool.name + ": " + human_count(pool.in_use) + " of " + human_count(pool.limit) + " in use");
            }
        }
    }

    void references() {
        for (const auto& error : report_.references.errors) {
            add(AlertSubject::reference, error.kind + " " + error.type + " " + place_of(error.acquired_at),
                verdict_rank(error.verdict),
                {{"error", error.kind},
                 {"type", error.type},
                 {"function", place_of(error.acquired_at)},
                 {"verdict", error.verdict}},
                error.kind + " of " + error.type + ", " + count_of(error.count, "time") + ": " + error.evidence);
        }
        for (const auto& cycle : report_.references.cycles) {
            std::string types;
            for (const auto& object : cycle.objects) {
                types += (types.empty() ? "" : " -> ") + object.type;
            }
            add(AlertSubject::reference, "cycle " + types, verdict_rank(cycle.verdict),
                {{"error", "cycle"}, {"type", types}, {"verdict", cycle.verdict}},
                count_of(cycle.count, "cycle") + " " + types + " hold " + human_bytes(cycle.total_bytes));
        }
    }

    const Report& report_;
    std::vector<Observation> found_;
};

} // namespace

AlertLabels process_labels(const Report& report) {
    return {{"pid", std::to_string(report.process.pid)}, {"comm", report.process.comm}};
}

std::vector<Observation> observe(const Report& report) {
    return Observer(report).all();
}

} // namespace memtrace
