// The call sites of a report and their figures; what is made of their histories is in judge_sites.cpp.
#include <algorithm>
#include <cstdio>

#include "analyze/estimate.hpp"
#include "base/clock.hpp"
#include "report/build_parts.hpp"

namespace memtrace {

namespace {

/// FNV-1a (Fowler, Noll, Vo), 64 bits: stable between runs and machines, unlike std::hash.
class StableHash {
public:
    void add(std::string_view bytes) {
        for (const char byte : bytes) {
            step(static_cast<unsigned char>(byte));
        }
        step(0);
    }
    void add(std::uint64_t value) {
        for (int shift = 0; shift < 64; shift += 8) {
            step(static_cast<unsigned char>(value >> shift));
        }
    }
    [[nodiscard]] std::string hex() const {
        char text[17];
        std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(state_));
        return text;
    }

private:
    void step(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3ull; }
    std::uint64_t state_ = 0xcbf29ce484222325ull;
};

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

} // namespace

std::string site_id(const Model& model, const std::string& allocator, const std::string& function, StackId id) {
    StableHash hash;
    hash.add(allocator);
    hash.add(function);
    if (const auto* stack = model.stack(id)) {
        for (const auto& frame : stack->frames) {
            const auto* module = model.module(frame.module);
            hash.add(module != nullptr ? base_name(module->about.path) : "");
            hash.add(frame.offset);
        }
    }
    return hash.hex();
}

void build_intervals(const Process& process, double bytes, double bytes_variance, double objects, double objects_variance,
                     double (&bytes_ci95)[2], double (&objects_ci95)[2]) {
    const auto interval = static_cast<double>(process.largest_interval_bytes);
    const double mean_size = objects > 0 ? std::max(bytes / objects, 1.0) : 1;
    const auto of_bytes = interval > 0 ? interval95(bytes, bytes_variance, interval) : ConfidenceInterval{bytes, bytes};
    const auto of_objects =
        interval > 0 ? interval95(objects, objects_variance, interval / mean_size) : ConfidenceInterval{objects, objects};
    bytes_ci95[0] = of_bytes.low;
    bytes_ci95[1] = of_bytes.high;
    objects_ci95[0] = of_objects.low;
    objects_ci95[1] = of_objects.high;
}

namespace {

/// Figures of a site, as far as totals and the choice of sites need them.
struct Weight {
    const Site* site = nullptr;
    std::uint64_t live_bytes = 0;
    std::int64_t grown_bytes = 0;
};

Weight weigh(const Process& process, const Site& site, bool aged) {
    return {&site, aged ? site.sample.aged_bytes : site.live_bytes(),
            static_cast<std::int64_t>(site.live_bytes() - site.live_bytes_at_report(process.reports))};
}

void add_to_totals(const Weight& weight, bool aged, ReportTotals& totals) {
    const auto& site = *weight.site;
    const auto live_objects = aged ? site.sample.aged_objects : site.live_objects();
    totals.grown_bytes += weight.grown_bytes;
    totals.live_bytes += weight.live_bytes;
    totals.live_objects += live_objects;
    totals.unverified_bytes += std::min(site.sample.unverified_bytes, weight.live_bytes);
    totals.unverified_objects += std::min(site.sample.unverified_objects, live_objects);
    totals.allocs += site.sample.allocs;
    totals.frees += site.sample.frees;
    totals.allocated_bytes += site.sample.allocated_bytes;
    totals.freed_bytes += site.sample.freed_bytes;
}

ReportSite build_site(const Model& model, const Process& process, const Weight& weight) {
    ReportSite out;
    const auto& site = *weight.site;
    out.id = site_id(model, site.about.allocator, site.about.function, site.about.stack);
    out.live_bytes = weight.live_bytes;
    out.live_objects = model.run().min_age_ns != 0 ? site.sample.aged_objects : site.live_objects();
    build_intervals(process, static_cast<double>(out.live_bytes), site.sample.live_bytes_variance,
                    static_cast<double>(out.live_objects), site.sample.live_objects_variance, out.live_bytes_ci95,
                    out.live_objects_ci95);
    out.unverified_bytes = std::min(site.sample.unverified_bytes, out.live_bytes);
    out.unverified_objects = std::min(site.sample.unverified_objects, out.live_objects);
    out.allocs = site.sample.allocs;
    out.frees = site.sample.frees;
    out.allocated_bytes = site.sample.allocated_bytes;
    out.freed_bytes = site.sample.freed_bytes;
    out.oldest_age_s = site.sample.oldest_ns != 0 ? seconds_between(site.sample.oldest_ns, process.last_mono_ns) : 0;
    out.grown_bytes = weight.grown_bytes;
    out.allocator = site.about.allocator;
    out.function = site.about.function;
    if (const auto* stack = model.stack(site.about.stack)) {
        out.stack_truncated = stack->truncated;
        out.stack = build_stack(model, site.about.stack);
    }
    return out;
}

/// The largest, and those that grew most, half and half; what is cut off is in `totals` only.
void cut(std::vector<Weight>& weights, std::size_t count, bool aged, ReportTotals& totals) {
    if (weights.size() <= count) {
        return;
    }
    const auto half = weights.begin() + static_cast<std::ptrdiff_t>((count + 1) / 2);
    const auto end = weights.begin() + static_cast<std::ptrdiff_t>(count);
    std::nth_element(weights.begin(), half, weights.end(),
                     [](const Weight& a, const Weight& b) { return a.live_bytes > b.live_bytes; });
    std::nth_element(half, end, weights.end(), [](const Weight& a, const Weight& b) { return a.grown_bytes > b.grown_bytes; });
    std::for_each(end, weights.end(), [&](const Weight& weight) {
        totals.other_sites += 1;
        totals.other_live_bytes += weight.live_bytes;
        totals.other_live_objects += aged ? weight.site->sample.aged_objects : weight.site->live_objects();
    });
    weights.erase(end, weights.end());
}

} // namespace

void build_sites(const Model& model, const Process& process, std::size_t count, Report& report) {
    const bool aged = model.run().min_age_ns != 0;
    std::vector<Weight> weights;
    weights.reserve(process.sites.size());
    for (const auto& site : process.sites) {
        if (site.sample.allocs != 0) {
            weights.push_back(weigh(process, site, aged));
            add_to_totals(weights.back(), aged, report.totals);
        }
    }
    cut(weights, count, aged, report.totals);
    std::vector<const Site*> sites;
    report.sites.reserve(weights.size());
    for (const auto& weight : weights) {
        sites.push_back(weight.site);
        report.sites.push_back(build_site(model, process, weight));
    }
    judge_sites(process, sites, report.sites);
    std::sort(report.sites.begin(), report.sites.end(), [](const ReportSite& a, const ReportSite& b) {
        return a.live_bytes != b.live_bytes ? a.live_bytes > b.live_bytes : a.id < b.id;
    });
}

} // namespace memtrace
