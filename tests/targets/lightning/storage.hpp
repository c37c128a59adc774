// The storage engine: LevelDB, with small buffers so that its own memory settles within seconds. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/iterator.h>
#include <leveldb/write_batch.h>

#include "base/result.hpp"

namespace lightning {

class Storage {
public:
    /// Opens the database in `directory`, creates it where there is none.
    static memtrace::Result<Storage> open(const std::string& directory);

    memtrace::Status write(leveldb::WriteBatch& batch);
    /// Nothing where the key is not there.
    memtrace::Result<std::optional<std::string>> get(std::string_view key);
    /// A view of the moment of the call. Has to be destroyed before the storage.
    std::unique_ptr<leveldb::Iterator> scan(std::string_view start);

private:
    std::unique_ptr<leveldb::Cache> block_cache_; ///< used by db_ until its last moment: declared first
    std::unique_ptr<leveldb::DB> db_;
};

} // namespace lightning
