// What has been read of the call sites of one process, and what was told of them. A tick costs next to nothing for a site at which nothing
// happens: it is found by the order in which the kernel half's map gave it the time before, and compared with what it was then.
//
//   kernel half   key -> totals      stacks that differ only in what was cut off are several entries ...
//   here          Told               ... and one site for the model
//
// About 300 bytes for a site, and 200 more while ages are read. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/ids.hpp"
#include "bpf/sampling.h"
#include "bpf/types.h"
#include "model/events.hpp"
#include "model/survival_table.hpp"

namespace memtrace {

/// Finds small numbers by keys that are hashes already. Nothing is ever taken out.
class KeyIndex {
public:
    static constexpr std::uint32_t kNone = ~std::uint32_t{0};
    [[nodiscard]] std::uint32_t find(std::uint64_t key) const;
    void add(std::uint64_t key, std::uint32_t value); ///< a key that is not there

private:
    struct Entry {
        std::uint64_t key = 0;
        std::uint32_t value = kNone; ///< none: free
    };
    void grow();
    std::vector<Entry> entries_; ///< a power of two of them, at most half in use
    std::size_t size_ = 0;
};

class SiteBook {
public:
    using Sink = std::function<void(const Event&)>;

    /// Sites: for every entry once. False: it is new, and must be defined first.
    void begin_sites() { last_ = kNone; }
    bool see(std::uint64_t key, const mt_site& site);
    /// `id` is the model's; another entry may have it too.
    void define(std::uint64_t key, SiteId id);

    /// Ages: for every live block once, then tell_ages(). `starts`: the process's cohorts.
    void begin_ages(std::span<const std::uint64_t> starts);
    void see_block(const mt_live_block& block, const mt_weight& weight, std::uint64_t aged_before_ns, std::uint64_t unwatched_ns);

    /// Tells what has changed of the sites, by reading sites or ages. Returns by how many bytes allocated.
    std::uint64_t tell(const Sink& sink);
    [[nodiscard]] std::size_t sites() const { return told_.size(); }

private:
    static constexpr std::uint32_t kNone = KeyIndex::kNone;
    struct Seen {
        std::uint64_t key = 0;
        std::uint32_t next = kNone; ///< the entry that came after this one
        std::uint32_t told = 0;
        std::uint64_t allocs = 0;
        std::uint64_t frees = 0;
        std::uint64_t allocated_bytes = 0;
        std::uint64_t freed_bytes = 0;
        std::uint64_t bytes_variance = 0;
        std::uint64_t objects_variance = 0;
    };
    struct Told {
        SiteSample sample; ///< births are left out
        std::uint64_t births_hash = 0;
        bool had_births = false;
        bool changed = false;
    };
    struct Ages {
        std::array<std::uint64_t, kMaxCohorts> births{}; ///< in the kernel half's units
        std::uint64_t aged_objects = 0;                  ///< likewise
        std::uint64_t aged_bytes = 0;
        std::uint64_t oldest_ns = 0;
        std::uint64_t unverified_objects = 0;
        std::uint64_t unverified_bytes = 0;
    };
    [[nodiscard]] std::uint32_t find(std::uint64_t key) const;
    void change(std::uint32_t told);
    static void add(const Seen& before, const mt_site& now, SiteSample& sample);
    std::vector<std::uint64_t> take_ages(std::uint32_t told);

    KeyIndex index_; ///< of seen_
    std::vector<Seen> seen_;
    std::uint32_t last_ = kNone;
    std::vector<Told> told_;
    std::vector<std::uint32_t> changed_; ///< of told_
    KeyIndex by_id_;                     ///< of told_
    std::vector<Ages> ages_;             ///< parallel to told_; empty where they are not being read
    std::vector<std::uint64_t> starts_;
    std::uint64_t allocated_bytes_ = 0; ///< since tell()
};

} // namespace memtrace
