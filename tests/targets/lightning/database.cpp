#include "database.hpp"

namespace lightning {

memtrace::Status Database::put(std::string_view key, std::string_view value) {
    const std::lock_guard lock(stripe(key));
    auto status = storage_.put(key, value);
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

memtrace::Status Database::remove(std::string_view key) {
    const std::lock_guard lock(stripe(key));
    auto status = storage_.remove(key);
    if (status) {
        cache_.erase(key);
    }
    return status;
}

} // namespace lightning
