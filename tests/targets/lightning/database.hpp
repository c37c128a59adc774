// Storage and cache as one: writes go through, reads fill the cache. Thread-safe.
//
// The cache must not end up with an older value than the storage, so whoever changes either for a key holds that key's stripe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "base/result.hpp"
#include "cache.hpp"
#include "statistics.hpp"
#include "storage.hpp"
#include "transaction.hpp"

namespace lightning {

class Database {
public:
    /// All three have to outlive the database. One database at a time: it is announced to tracers that come late.
    Database(Storage& storage, Cache& cache, Statistics& statistics);
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database();

    /// A write. Empty where no connection to the storage came free in time. `session`: the id of its resource.
    Transaction begin(std::string_view key, std::uint64_t session);
    memtrace::Status put(const Transaction& transaction, std::string_view key, std::string_view value);
    memtrace::Status remove(const Transaction& transaction, std::string_view key);
    /// Calls `use` with the value and yields true, or yields false where the key is not there. `use` must not call back.
    memtrace::Result<bool> get(std::string_view key, const std::function<void(std::string_view)>& use);
    std::unique_ptr<leveldb::Iterator> scan(std::string_view start) { return storage_.scan(start); }
    [[nodiscard]] CacheFigures cache_figures() const { return cache_.figures(); }

    /// How many use it: a count by hand, as in C, that only informs. `user` is the pointer that refers to the database.
    void acquire(Database* const* user);
    void release(Database* const* user);
    [[nodiscard]] std::uint64_t users() const { return users_; }

private:
    std::mutex& stripe(std::string_view key) { return stripes_[std::hash<std::string_view>{}(key) % stripes_.size()]; }

    Storage& storage_;
    Cache& cache_;
    Statistics& statistics_;
    std::array<std::mutex, 64> stripes_;
    std::atomic<std::uint64_t> users_{0};
    Transaction::Pool connections_;
};

} // namespace lightning
