#include "app/site_book.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "bpf/stack_hash.h"

namespace memtrace {

namespace {

/// The kernel half counts objects in units of 2^-16, because a sampled one may stand for 7.3 others.
std::uint64_t whole_objects(std::uint64_t scaled) {
    return (scaled + MT_OBJECT_ONE / 2) >> MT_OBJECT_SHIFT;
}

/// A sum of variances; read while others add and take off, it may be below zero for a moment.
double variance(std::uint64_t sum, int shift) {
    const auto value = static_cast<std::int64_t>(sum);
    return value > 0 ? std::ldexp(static_cast<double>(value), shift) : 0;
}

std::uint64_t hash_of(std::span<const std::uint64_t> values) {
    return std::accumulate(values.begin(), values.end(), __u64{values.size() + 1}, mt_hash_step);
}

constexpr std::size_t kFirstEntries = 64;

} // namespace

std::uint32_t KeyIndex::find(std::uint64_t key) const {
    if (entries_.empty()) {
        return kNone;
    }
    const auto mask = entries_.size() - 1;
    for (auto at = (key ^ key >> 32) & mask;; at = (at + 1) & mask) {
        if (entries_[at].value == kNone || entries_[at].key == key) {
            return entries_[at].value;
        }
    }
}

void KeyIndex::add(std::uint64_t key, std::uint32_t value) {
    if (2 * (size_ + 1) > entries_.size()) {
        grow();
    }
    const auto mask = entries_.size() - 1;
    auto at = (key ^ key >> 32) & mask;
    while (entries_[at].value != kNone) {
        at = (at + 1) & mask;
    }
    entries_[at] = {key, value};
    ++size_;
}

void KeyIndex::grow() {
    std::vector<Entry> old(std::max(kFirstEntries, 2 * entries_.size()));
    old.swap(entries_);
    size_ = 0;
    for (const auto& entry : old) {
        if (entry.value != kNone) {
            add(entry.key, entry.value);
        }
    }
}

std::uint32_t SiteBook::find(std::uint64_t key) const {
    const auto guess = last_ == kNone ? 0 : seen_[last_].next;
    return guess < seen_.size() && seen_[guess].key == key ? guess : index_.find(key);
}

void SiteBook::change(std::uint32_t told) {
    if (!told_[told].changed) {
        told_[told].changed = true;
        changed_.push_back(told);
    }
}

void SiteBook::add(const Seen& before, const mt_site& now, SiteSample& sample) {
    sample.allocs += whole_objects(now.allocs) - whole_objects(before.allocs);
    sample.frees += whole_objects(now.frees) - whole_objects(before.frees);
    sample.allocated_bytes += now.allocated_bytes - before.allocated_bytes;
    sample.freed_bytes += now.freed_bytes - before.freed_bytes;
    sample.live_bytes_variance = std::max(sample.live_bytes_variance + variance(now.bytes_variance, MT_BYTES_VARIANCE_SHIFT) -
                                              variance(before.bytes_variance, MT_BYTES_VARIANCE_SHIFT),
                                          0.0);
    sample.live_objects_variance =
        std::max(sample.live_objects_variance + variance(now.objects_variance, -MT_OBJECTS_VARIANCE_SHIFT) -
                     variance(before.objects_variance, -MT_OBJECTS_VARIANCE_SHIFT),
                 0.0);
}

void SiteBook::define(std::uint64_t key, SiteId id) {
    auto told = by_id_.find(id.value);
    if (told == kNone) {
        told = static_cast<std::uint32_t>(told_.size());
        by_id_.add(id.value, told);
        told_.emplace_back().sample.site = id;
    }
    index_.add(key, static_cast<std::uint32_t>(seen_.size()));
    seen_.push_back({.key = key, .told = told});
}

bool SiteBook::see(std::uint64_t key, const mt_site& site) {
    const auto at = find(key);
    if (at == kNone) {
        return false;
    }
    if (last_ != kNone) {
        seen_[last_].next = at;
    }
    last_ = at;
    auto& seen = seen_[at];
    if (seen.allocs == site.allocs && seen.frees == site.frees && seen.bytes_variance == site.bytes_variance &&
        seen.allocated_bytes == site.allocated_bytes && seen.freed_bytes == site.freed_bytes) {
        return true;
    }
    allocated_bytes_ += site.allocated_bytes - seen.allocated_bytes;
    add(seen, site, told_[seen.told].sample);
    seen.allocs = site.allocs;
    seen.frees = site.frees;
    seen.allocated_bytes = site.allocated_bytes;
    seen.freed_bytes = site.freed_bytes;
    seen.bytes_variance = site.bytes_variance;
    seen.objects_variance = site.objects_variance;
    change(seen.told);
    return true;
}

void SiteBook::begin_ages(std::span<const std::uint64_t> starts) {
    starts_.assign(starts.begin(), starts.end());
    ages_.assign(told_.size(), {});
}

void SiteBook::see_block(const mt_live_block& block, const mt_weight& weight, std::uint64_t aged_before_ns,
                         std::uint64_t unwatched_ns) {
    const auto at = index_.find(block.site);
    if (at == kNone) {
        return; // its site was made after the sites were read
    }
    auto& ages = ages_[seen_[at].told];
    if (ages.oldest_ns == 0 || block.born_ns < ages.oldest_ns) {
        ages.oldest_ns = block.born_ns;
    }
    const auto next = std::upper_bound(starts_.begin() + 1, starts_.end(), block.born_ns); // none is older than the first
    ages.births[static_cast<std::size_t>(next - starts_.begin() - 1)] += weight.objects;
    if (block.born_ns <= aged_before_ns) {
        ages.aged_objects += weight.objects;
        ages.aged_bytes += weight.bytes;
    }
    if (block.born_ns < unwatched_ns) {
        ages.unverified_objects += whole_objects(weight.objects);
        ages.unverified_bytes += weight.bytes;
    }
}

/// Takes them into the sample; returns the births where they are news.
std::vector<std::uint64_t> SiteBook::take_ages(std::uint32_t told) {
    const auto& ages = ages_[told];
    auto& site = told_[told];
    auto& sample = site.sample;
    const auto aged_objects = whole_objects(ages.aged_objects);
    if (sample.aged_objects != aged_objects || sample.aged_bytes != ages.aged_bytes || sample.oldest_ns != ages.oldest_ns ||
        sample.unverified_objects != ages.unverified_objects) {
        change(told);
    }
    sample.aged_objects = aged_objects;
    sample.aged_bytes = ages.aged_bytes;
    sample.oldest_ns = ages.oldest_ns;
    sample.unverified_objects = ages.unverified_objects;
    sample.unverified_bytes = ages.unverified_bytes;
    std::vector<std::uint64_t> births;
    if (ages.oldest_ns == 0 && !site.had_births) {
        return births; // nothing of it is live, nor was it
    }
    births.reserve(starts_.size());
    std::transform(ages.births.begin(), ages.births.begin() + static_cast<std::ptrdiff_t>(starts_.size()),
                   std::back_inserter(births), whole_objects);
    const auto hash = hash_of(births);
    if (!site.had_births || site.births_hash != hash) {
        change(told);
    }
    site.had_births = true;
    site.births_hash = hash;
    return births;
}

std::uint64_t SiteBook::tell(const Sink& sink) {
    if (!ages_.empty()) {
        for (std::uint32_t i = 0; i < ages_.size(); ++i) {
            auto births = take_ages(i);
            if (auto& site = told_[i]; site.changed) {
                SiteSample sample = site.sample;
                sample.births = std::move(births);
                sink(sample);
                site.changed = false;
            }
        }
        ages_ = {};
    }
    for (const auto told : changed_) {
        if (auto& site = told_[told]; site.changed) {
            sink(site.sample);
            site.changed = false;
        }
    }
    changed_.clear();
    return std::exchange(allocated_bytes_, 0);
}

} // namespace memtrace
