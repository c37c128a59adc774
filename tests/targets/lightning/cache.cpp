#include "cache.hpp"

#include <cstdlib>
#include <cstring>

LIGHTNING_ALLOCATES void* cache_entry_create(std::size_t bytes) {
    void* entry = std::malloc(bytes);
    return entry;
}

namespace lightning {
namespace {

constexpr std::size_t kBuckets = std::size_t{1} << 16;

} // namespace

/// Followed by the key's bytes and the value's bytes in the same block.
struct Cache::Entry {
    Entry* newer;
    Entry* older;
    Entry* chain; ///< next in the bucket
    std::uint32_t key_bytes;
    std::uint32_t value_bytes;
    bool overdue;

    char* payload() { return reinterpret_cast<char*>(this + 1); }
    std::string_view key() { return {payload(), key_bytes}; }
    std::string_view value() { return {payload() + key_bytes, value_bytes}; }
    [[nodiscard]] std::size_t bytes() const { return sizeof(Entry) + key_bytes + value_bytes; }
};

void Cache::List::push(Entry* entry) {
    entry->newer = nullptr;
    entry->older = newest;
    (newest != nullptr ? newest->newer : oldest) = entry;
    newest = entry;
    bytes += entry->bytes();
    ++entries;
}

void Cache::List::unlink(Entry* entry) {
    (entry->newer != nullptr ? entry->newer->older : newest) = entry->older;
    (entry->older != nullptr ? entry->older->newer : oldest) = entry->newer;
    bytes -= entry->bytes();
    --entries;
}

Cache::Cache(BugBoard& board, std::size_t capacity_bytes)
    : board_(board), capacity_(capacity_bytes), buckets_(kBuckets), told_(this, {"cache", "values", capacity_bytes}) {
    told_.evictable([](Cache* cache) { return cache->shrink(); });
}

std::uint64_t Cache::shrink() {
    const std::lock_guard lock(mutex_);
    const auto bytes = resident_.bytes;
    while (resident_.oldest != nullptr) {
        drop_oldest(resident_);
        ++evictions_;
    }
    return bytes;
}

void Cache::close() {
    told_.reset();
    const std::lock_guard lock(mutex_);
    while (resident_.oldest != nullptr) {
        drop_oldest(resident_);
    }
    while (overdue_.oldest != nullptr && !board_.on(Bug::cache_unbounded)) {
        drop_oldest(overdue_);
    }
}

/// The pointer to the key's entry, or the null pointer at the end of its chain.
Cache::Entry** Cache::slot(std::string_view key) {
    Entry** place = &buckets_[std::hash<std::string_view>{}(key) % kBuckets];
    while (*place != nullptr && (*place)->key() != key) {
        place = &(*place)->chain;
    }
    return place;
}

/// Takes the entry out of its chain and its list, and frees it.
void Cache::drop(Entry** place) {
    Entry* entry = *place;
    *place = entry->chain;
    memtrace_ref_release(entry, place, 1, 0);
    if (*place != nullptr) {
        memtrace_ref_move(*place, &entry->chain, place, 1);
    }
    memtrace_object_destroy(entry);
    const auto bytes = entry->bytes();
    (entry->overdue ? overdue_ : resident_).unlink(entry);
    if (entry->overdue) {
        board_.found(Bug::cache_unbounded, bytes);
    }
    std::free(entry);
    board_.freed(Bug::cache_unbounded, bytes);
}

void Cache::drop_oldest(List& list) {
    drop(slot(list.oldest->key()));
}

void Cache::make_resident(Entry* entry) {
    (entry->overdue ? overdue_ : resident_).unlink(entry);
    if (entry->overdue) {
        board_.found(Bug::cache_unbounded, entry->bytes());
        entry->overdue = false;
    }
    resident_.push(entry);
}

/// Brings resident_ back within the capacity: by eviction, or with the bug on by no more than saying that it was due.
void Cache::trim() {
    const bool skip = board_.on(Bug::cache_unbounded);
    while (resident_.bytes > capacity_) {
        if (!skip) {
            drop_oldest(resident_);
            ++evictions_;
            continue;
        }
        Entry* entry = resident_.oldest;
        resident_.unlink(entry);
        entry->overdue = true;
        overdue_.push(entry);
        board_.lost(Bug::cache_unbounded, entry->bytes());
    }
    while (!skip && overdue_.oldest != nullptr) {
        drop_oldest(overdue_);
        ++evictions_;
    }
}

bool Cache::get(std::string_view key, const std::function<void(std::string_view)>& use) {
    const std::lock_guard lock(mutex_);
    Entry* entry = *slot(key);
    if (entry == nullptr) {
        return false;
    }
    make_resident(entry);
    use(entry->value());
    trim();
    return true;
}

void Cache::put(std::string_view key, std::string_view value) {
    const std::lock_guard lock(mutex_);
    Entry** place = slot(key);
    if (*place != nullptr) {
        drop(place);
        place = slot(key);
    }
    const auto bytes = sizeof(Entry) + key.size() + value.size();
    if (bytes > capacity_) {
        return;
    }
    auto* entry = static_cast<Entry*>(info(Bug::cache_unbounded).allocate(bytes));
    if (entry == nullptr) {
        return;
    }
    *entry = {nullptr, nullptr, nullptr, static_cast<std::uint32_t>(key.size()), static_cast<std::uint32_t>(value.size()), false};
    std::memcpy(entry->payload(), key.data(), key.size());
    std::memcpy(entry->payload() + key.size(), value.data(), value.size());
    board_.allocated(Bug::cache_unbounded, bytes);
    *place = entry;
    memtrace_object_create(entry, bytes, "lightning::Cache::Entry");
    memtrace_ref_acquire(entry, place, 1, 1);
    resident_.push(entry);
    trim();
}

void Cache::erase(std::string_view key) {
    const std::lock_guard lock(mutex_);
    Entry** place = slot(key);
    if (*place != nullptr) {
        drop(place);
    }
}

CacheFigures Cache::figures() const {
    const std::lock_guard lock(mutex_);
    return {resident_.entries + overdue_.entries, resident_.bytes + overdue_.bytes, evictions_};
}

} // namespace lightning
