// The resources of a process (cursors, connections, files, locks, ...), its pools and its emergency cleanups, as its program tells of them
// (model/contract_events.hpp). Passive, no I/O; one thread owns it.
//
//   acquired, announced --> held --------------------- released --> remembered for a while: a second release, a late use
//                            |  ^ used by another thread
//          its thread ends,  v  |
//          its parent goes   orphaned ---------------- released: so in this kind that is usual
//
// A resource belongs to the thread that used it last; one whose parent is a pool (its address) to the pool. Threads tell of what they did
// a little later (see model/references.hpp): an id that is acquired while it is held was given back by a thread that has yet to say so,
// for kSettleNs.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/references.hpp"
#include "model/timeline.hpp"

namespace memtrace {

/// Durations by magnitude: four steps for each power of two, so a quantile is at most a fifth too long.
class DurationHistogram {
public:
    void add(std::uint64_t nanoseconds);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// An upper bound of what the share `q` (0 to 1) of them did not exceed; 0 where there are none.
    [[nodiscard]] std::uint64_t quantile(double q) const;

private:
    static constexpr std::size_t kSteps = 4;
    std::array<std::uint32_t, 64 * kSteps> counts_{};
    std::uint64_t count_ = 0;
};

struct ResourceKind {
    std::string name;
    std::uint64_t live = 0;
    std::uint64_t bytes = 0; ///< of the live ones
    std::uint64_t acquired = 0;
    std::uint64_t released = 0;
    std::uint64_t handed_over = 0;     ///< released by a thread that never used them
    std::uint64_t outlived_thread = 0; ///< released after the thread that used them last had ended
    std::uint64_t outlived_parent = 0; ///< released after their parent
    DurationHistogram lifetimes;       ///< of those released
    DurationHistogram idle;            ///< the longest time between two uses of each
    bool touched = false;              ///< the program tells of uses, so idle means idle
    bool of_kernel = false;            ///< they belong to the process, no thread of it; nobody tells of uses
    std::uint64_t max_age_ns = 0;      ///< as ResourceKindDefined, as all that follows
    std::uint64_t max_idle_ns = 0;
    bool complete = true;
    bool acquirer_owns = true;
    Timeline live_history; ///< by the process's ticks; empty: there was none at one
};

/// Resources of one kind that were acquired at one place.
struct ResourceSite {
    std::uint32_t kind = 0;
    StackId stack; ///< none: those whose stack is not known, as what was announced
    std::uint64_t held = 0;
    std::uint64_t acquired = 0;
    std::uint64_t released = 0;
    Timeline held_history; ///< by the process's ticks; empty: never held anything at one
};

struct Resource {
    std::uint32_t kind = 0;
    std::uint32_t site = kNoIndex; ///< none: there was no room for it
    bool held = false;             ///< false: the entry is free
    bool announced = false;
    std::uint64_t id = 0;
    std::uint64_t parent = 0; ///< id as told, 0 = none
    std::uint32_t parent_index = kNoIndex;
    std::uint64_t bytes = 0;
    std::string name;
    ToldAt acquired; ///< announced: stack none
    std::uint64_t born_ns = 0;
    std::uint64_t used_ns = 0;
    std::uint64_t longest_idle_ns = 0;
    std::int32_t tid = 0;              ///< of the thread that used it last; 0 = unknown
    std::uint64_t thread_ended_ns = 0; ///< that thread has ended; 0 = no
    std::uint64_t parent_gone_ns = 0;  ///< 0 = no
    ToldAt parent_released;
};

struct ResourceError {
    bool double_release = false; ///< else used after it had been released
    std::uint32_t kind = 0;
    std::uint64_t id = 0;
    ToldAt acquired;
    ToldAt released;
    ToldAt used;
    std::uint64_t count = 1;
    std::uint64_t found_ns = 0;
    bool certain = true;
};

struct Pool {
    std::uint64_t address = 0;
    std::string name;
    std::uint64_t in_use = 0;
    std::uint64_t limit = 0; ///< 0 = none
    std::uint64_t peak = 0;
    std::uint64_t waits = 0;
    std::uint64_t waits_at_report = 0;  ///< at the report before
    std::uint64_t starved_since_ns = 0; ///< somebody waits since, and nothing was put back; 0 = no
    ToldAt waited;                      ///< the last time
};

struct Cleanup {
    std::uint32_t level = 0;
    bool ended = false;
    std::uint64_t wanted_bytes = 0;
    std::uint64_t freed_bytes = 0;
    std::uint64_t released = 0;
    std::uint64_t began_ns = 0;
    std::uint64_t ended_ns = 0;
};

struct ResourceCounters {
    std::uint64_t unknown_resources = 0; ///< uses and releases of what was never told of: older than the tracing
    std::uint64_t resources_refused = 0; ///< no room
    std::uint64_t kinds_refused = 0;     ///< no room: events of more kinds than that
    std::uint64_t sites_refused = 0;     ///< no room: resources whose site is not followed
    std::uint64_t pools_refused = 0;     ///< no room
    std::uint64_t errors_refused = 0;    ///< no room
    std::uint64_t missed_releases = 0;   ///< acquired again while it was held, and no release followed
};

class ResourceTable {
public:
    static constexpr std::uint64_t kSettleNs = ReferenceLedger::kSettleNs;

    /// Bounds on memory: about 500 bytes a resource, 2.2 KiB a kind.
    struct Limits {
        std::size_t resources = std::size_t{1} << 18;
        std::size_t kinds = 256;
        std::size_t sites = 1 << 14; ///< some 700 bytes each
        std::size_t errors = 256;
        std::size_t released = 1 << 14; ///< that are remembered
        std::size_t pools = 1024;
        std::size_t cleanups = 16; ///< the newest
    };

    ResourceTable() = default;
    explicit ResourceTable(const Limits& limits) : limits_(limits) {}

    void on(const ResourceTold& event);
    void on(const ResourceKindDefined& event);
    void on(const PoolTold& event);
    void on(const CleanupTold& event);
    void on(const ThreadEnded& event);
    /// As ReferenceLedger's.
    void lost(std::uint64_t from_ns);
    void settle(std::uint64_t now_ns);
    /// The process's timeline goes on.
    void tick(std::uint64_t number);
    /// A report has been made: figures since then begin anew.
    void reported();

    /// By index; entries that are free among them.
    [[nodiscard]] const std::vector<Resource>& resources() const { return resources_; }
    [[nodiscard]] const std::vector<ResourceKind>& kinds() const { return kinds_; }
    [[nodiscard]] const std::vector<ResourceSite>& sites() const { return sites_; }
    [[nodiscard]] const std::vector<ResourceError>& errors() const { return errors_; }
    [[nodiscard]] const std::vector<Pool>& pools() const { return pools_; }
    [[nodiscard]] const std::deque<Cleanup>& cleanups() const { return cleanups_; }
    [[nodiscard]] const ResourceCounters& counters() const { return counters_; }
    /// Nothing was lost since it was acquired.
    [[nodiscard]] bool certain(const Resource& resource) const { return loss_.is_before(resource.acquired.mono_ns); }

private:
    struct Key {
        std::uint32_t kind;
        std::uint64_t id;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept {
            return (key.id ^ (std::uint64_t{key.kind} << 48)) * 0x9e37'79b9'7f4a'7c15ull;
        }
    };
    struct Past {
        ToldAt acquired;
        ToldAt released;
    };
    struct Replaced { ///< its release is still to be told
        Key key;
        std::int32_t tid;
        std::uint64_t since_ns;
    };

    void acquire(const ResourceTold& event, Key key);
    void touch(const ResourceTold& event, Key key);
    void release(const ResourceTold& event, Key key);
    /// What was acquired while it was held.
    void replace(std::uint32_t index, const ResourceTold& event, Key key);
    void remove(std::uint32_t index);
    void own(std::uint32_t index, std::int32_t tid);
    void disown(std::uint32_t index);
    void bury(Key key, const Past& past);
    bool was_replaced(Key key, std::int32_t tid);
    void add_error(const ResourceTold& event, Key key, const Past& past, bool double_release);
    std::uint32_t kind_of(const std::string& name);
    std::uint32_t site_of(std::uint32_t kind, StackId stack);
    std::uint32_t find_parent(std::uint64_t id, std::uint32_t child_kind) const;

    Limits limits_;
    std::vector<Resource> resources_;
    std::vector<std::uint32_t> free_;
    std::vector<ResourceKind> kinds_{ResourceKind{}};
    std::unordered_map<std::string, std::uint32_t> kind_ids_;
    std::vector<ResourceSite> sites_;
    std::unordered_map<Key, std::uint32_t, KeyHash> site_ids_; ///< by kind and stack
    std::unordered_map<Key, std::uint32_t, KeyHash> held_;
    std::unordered_multimap<std::uint64_t, std::uint32_t> by_id_; ///< of whatever kind: for parents
    std::unordered_map<std::int32_t, std::unordered_set<std::uint32_t>> of_thread_;
    std::unordered_map<std::uint32_t, std::unordered_set<std::uint32_t>> children_;
    std::unordered_map<Key, Past, KeyHash> past_;
    std::deque<Key> past_order_;
    std::deque<Replaced> replaced_;
    std::vector<ResourceError> errors_;
    std::vector<Pool> pools_;
    std::unordered_map<std::uint64_t, std::uint32_t> pool_ids_;
    std::deque<Cleanup> cleanups_;
    ResourceCounters counters_;
    std::uint64_t now_ns_ = 0;
    LossMark loss_;
};

} // namespace memtrace
