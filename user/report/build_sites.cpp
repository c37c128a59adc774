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

ReportSite build_site(const Model& model, const Process& process, const Site& site) {
    ReportSite out;
    out.id = site_id(model, site.about.allocator, site.about.function, site.about.stack);
    const bool aged = model.run().min_age_ns != 0;
    out.live_bytes = aged ? site.sample.aged_bytes : site.live_bytes();
    out.live_objects = aged ? site.sample.aged_objects : site.live_objects();
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
    out.grown_bytes = static_cast<std::int64_t>(site.live_bytes() - site.live_bytes_at_report);
    out.allocator = site.about.allocator;
    out.function = site.about.function;
    if (const auto* stack = model.stack(site.about.stack)) {
        out.stack_truncated = stack->truncated;
        out.stack = build_stack(model, site.about.stack);
    }
    return out;
}

} // namespace

void build_sites(const Model& model, const Process& process, Report& report) {
    std::vector<const Site*> sites;
    for (const auto id : process.sites) {
        const auto* site = model.site(id);
        if (site->sample.allocs == 0) {
            continue;
        }
        auto built = build_site(model, process, *site);
        auto& totals = report.totals;
        totals.grown_bytes += built.grown_bytes;
        totals.live_bytes += built.live_bytes;
        totals.live_objects += built.live_objects;
        totals.unverified_bytes += built.unverified_bytes;
        totals.unverified_objects += built.unverified_objects;
        totals.allocs += built.allocs;
        totals.frees += built.frees;
        totals.allocated_bytes += built.allocated_bytes;
        totals.freed_bytes += built.freed_bytes;
        sites.push_back(site);
        report.sites.push_back(std::move(built));
    }
    judge_sites(process, sites, report.sites);
    std::sort(report.sites.begin(), report.sites.end(), [](const ReportSite& a, const ReportSite& b) {
        return a.live_bytes != b.live_bytes ? a.live_bytes > b.live_bytes : a.id < b.id;
    });
}

} // namespace memtrace
