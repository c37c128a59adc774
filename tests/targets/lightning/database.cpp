#include "database.hpp"

#include <chrono>

namespace lightning {
namespace {

constexpr std::size_t kConnections = 8;
constexpr std::chrono::milliseconds kPatience(500);
constexpr const char* kType = "lightning::Database";

std::atomic<Database*> current = nullptr; ///< for tracers that ask what is alive

void announce(void*) {
    if (const auto* database = current.load()) {
        memtrace_object_alive(database, sizeof *database, kType, database->users(), 0);
    }
}

void add_announcer() {
    static memtrace_announcer announcer{announce, nullptr, nullptr};
    static const bool added = (memtrace_add_announcer(&announcer), true);
    (void)added;
}

leveldb::Slice slice(std::string_view text) {
    return {text.data(), text.size()};
}

} // namespace

Database::Database(Storage& storage, Cache& cache, Statistics& statistics)
    : storage_(storage), cache_(cache), statistics_(statistics),
      connections_({"connection", "storage", kConnections}, [] { return StorageConnection(); }) {
    add_announcer();
    memtrace_object_create(this, sizeof *this, kType);
    current = this;
}

Database::~Database() {
    current = nullptr;
    memtrace_object_destroy(this);
}

Transaction Database::begin(std::string_view key, std::uint64_t session) {
    auto connection = connections_.acquire(kPatience); // BUG pool-exhaustion waited
    if (!connection) {
        return {};
    }
    connection->batch->Clear();
    return {std::move(connection), {"transaction", std::string(key), 0, session}};
}

memtrace::Status Database::put(const Transaction& transaction, std::string_view key, std::string_view value) {
    const std::lock_guard lock(stripe(key));
    transaction.batch().Put(slice(key), slice(value));
    auto status = storage_.write(transaction.batch());
    if (status) {
        cache_.put(key, value);
    }
    return status;
}

memtrace::Result<bool> Database::get(std::string_view key, const std::function<void(std::string_view)>& use) {
    if (cache_.get(key, use)) {
        ++statistics_.cache_hits;
        return true;
    }
    ++statistics_.cache_misses;
    const std::lock_guard lock(stripe(key));
    auto value = storage_.get(key);
    if (!value) {
        return tl::unexpected(value.error());
    }
    if (!*value) {
        return false;
    }
    cache_.put(key, **value);
    use(**value);
    return true;
}

memtrace::Status Database::remove(const Transaction& transaction, std::string_view key) {
    const std::lock_guard lock(stripe(key));
    transaction.batch().Delete(slice(key));
    auto status = storage_.write(transaction.batch());
    if (status) {
        cache_.erase(key);
    }
    return status;
}

void Database::acquire(Database* const* user) {
    memtrace_ref_acquire(this, user, 1, ++users_);
}

void Database::release(Database* const* user) {
    memtrace_ref_release(this, user, 1, --users_);
}

} // namespace lightning
