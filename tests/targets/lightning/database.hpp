// Storage and cache as one: writes go through, reads fill the cache. Thread-safe.
//
// The cache must not end up with an older value than the storage, so whoever changes either for a key holds that key's stripe.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "base/result.hpp"
#include "cache.hpp"
#include "statistics.hpp"
#include "storage.hpp"

namespace lightning {

class Database {
public:
    /// All three have to outlive the database.
    Database(Storage& storage, Cache& cache, Statistics& statistics)
        : storage_(storage), cache_(cache), statistics_(statistics) {}

    memtrace::Status put(std::string_view key, std::string_view value);
    /// Calls `use` with the value and yields true, or yields false where the key is not there. `use` must not call back.
    memtrace::Result<bool> get(std::string_view key, const std::function<void(std::string_view)>& use);
    memtrace::Status remove(std::string_view key);
    std::unique_ptr<leveldb::Iterator> scan(std::string_view start) { return storage_.scan(start); }
    [[nodiscard]] CacheFigures cache_figures() const { return cache_.figures(); }

private:
    std::mutex& stripe(std::string_view key) { return stripes_[std::hash<std::string_view>{}(key) % stripes_.size()]; }

    Storage& storage_;
    Cache& cache_;
    Statistics& statistics_;
    std::array<std::mutex, 64> stripes_;
};

} // namespace lightning
