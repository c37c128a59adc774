// The value cache: least recently used goes first, bounded in bytes. Thread-safe.
//
// One entry is one malloc block of cache_entry_create: links, key and value together; lists and hash chains run through the
// entries, so a growing cache grows at this one call site only.
//
//   buckets_[hash] -> entry -> entry            chains of equal hash; a fixed number of buckets
//   resident_  newest <-> ... <-> oldest        within the capacity
//   overdue_   newest <-> ... <-> oldest        what bug cache-unbounded did not evict: beyond the capacity, still found by get
//
// Without the bug overdue_ is empty. An overdue entry is counted as lost until it is used, replaced, erased or evicted.
//
// Tracers are told of each entry as an object, which the pointer of the chain that leads to it holds; and of the cache as a resource
// that gives back memory where that is short. Entries from before the tracing stay unknown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <vector>

#include "bugs.hpp"
#include "memtrace/memtrace.hpp"

namespace lightning {

struct CacheFigures {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0; ///< of all entries, headers included
    std::uint64_t evictions = 0;
};

class Cache {
public:
    /// `board` has to outlive the cache.
    Cache(BugBoard& board, std::size_t capacity_bytes);
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;
    ~Cache() { close(); }

    /// Calls `use` with the value, under the cache's lock; false where the key is not cached.
    bool get(std::string_view key, const std::function<void(std::string_view)>& use);
    /// Adds or replaces. A value that exceeds the capacity, or that there is no memory for, is not cached.
    void put(std::string_view key, std::string_view value);
    void erase(std::string_view key);
    [[nodiscard]] CacheFigures figures() const;
    /// Evicts everything; with cache-unbounded on, overdue entries are not evicted here either and stay reachable from the cache.
    void close();

private:
    /// Evicts what is within the capacity; the bytes of that.
    std::uint64_t shrink();

    struct Entry;
    struct List {
        Entry* newest = nullptr;
        Entry* oldest = nullptr;
        std::uint64_t bytes = 0;
        std::uint64_t entries = 0;
        void push(Entry* entry);
        void unlink(Entry* entry);
    };

    Entry** slot(std::string_view key);
    void drop(Entry** place);
    void drop_oldest(List& list);
    void make_resident(Entry* entry);
    void trim();

    BugBoard& board_;
    const std::size_t capacity_;
    mutable std::mutex mutex_;
    std::vector<Entry*> buckets_; ///< this and all below: guarded by mutex_
    List resident_;
    List overdue_;
    std::uint64_t evictions_ = 0;
    memtrace::resource_handle<Cache*> told_;
};

} // namespace lightning
