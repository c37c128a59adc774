#include "report/top_sites.hpp"

#include <algorithm>

namespace memtrace {

namespace {

using Sites = std::vector<const ReportSite*>;

template <typename Key>
void sort_by(Sites& sites, Key key) {
    std::sort(sites.begin(), sites.end(),
              [key](const ReportSite* a, const ReportSite* b) { return key(*a) != key(*b) ? key(*a) > key(*b) : a->id < b->id; });
}

/// Moves the first of `from` to `to`, at most `count`; the rest goes to `rest`.
void take(Sites& from, std::size_t count, Sites& to, Sites& rest) {
    const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(from.size(), count));
    to.insert(to.end(), from.begin(), end);
    rest.insert(rest.end(), end, from.end());
}

} // namespace

bool is_leak(const ReportSite& site) {
    return site.verdict == "definite" || site.verdict == "probable";
}

double leak_rate(const Report& report) {
    double rate = 0;
    for (const auto& site : report.sites) {
        rate += is_leak(site) ? site.growth_bytes_per_s : 0;
    }
    return rate;
}

std::vector<const ReportSite*> top_sites(const Report& report, std::size_t count) {
    Sites leaks;
    Sites suspects;
    Sites rest;
    for (const auto& site : report.sites) {
        (is_leak(site) ? leaks : site.verdict == "suspect" ? suspects : rest).push_back(&site);
    }
    const auto growth = [](const ReportSite& site) { return site.growth_bytes_per_s; };
    sort_by(leaks, growth);
    sort_by(suspects, growth);
    Sites chosen;
    take(leaks, count, chosen, rest);
    take(suspects, (count - chosen.size() + 1) / 2, chosen, rest);
    sort_by(rest, [](const ReportSite& site) { return site.live_bytes; });
    Sites unused;
    take(rest, count - chosen.size(), chosen, unused);
    return chosen;
}

} // namespace memtrace
