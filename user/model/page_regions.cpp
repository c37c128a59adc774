#include "model/page_regions.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

namespace memtrace {

void PageRegions::map(std::uint64_t start, std::uint64_t end, PageSiteId site, std::uint64_t now_ns) {
    if (start >= end) {
        return;
    }
    unmap(start, end, std::numeric_limits<std::uint64_t>::max());
    regions_[start] = {end, now_ns, site};
    for (auto* usage : {&usage_[site], &total_}) {
        usage->mapped_bytes += end - start;
        usage->events += 1;
    }
}

void PageRegions::unmap(std::uint64_t start, std::uint64_t end, std::uint64_t before_ns) {
    if (start >= end) {
        return;
    }
    auto at = regions_.upper_bound(start);
    if (at != regions_.begin() && std::prev(at)->second.end > start) {
        --at;
    }
    while (at != regions_.end() && at->first < end) {
        const auto from = at->first;
        const Region region = at->second;
        if (region.born_ns >= before_ns) {
            ++at;
            continue;
        }
        at = regions_.erase(at);
        if (from < start) {
            regions_[from] = {start, region.born_ns, region.site};
        }
        if (region.end > end) {
            regions_[end] = {region.end, region.born_ns, region.site};
        }
        const auto gone = std::min(end, region.end) - std::max(start, from);
        usage_[region.site].unmapped_bytes += gone;
        total_.unmapped_bytes += gone;
    }
}

} // namespace memtrace
