#include "storage.hpp"

#include <leveldb/options.h>
#include <leveldb/slice.h>
#include <leveldb/status.h>

namespace lightning {
namespace {

constexpr std::size_t kWriteBufferBytes = std::size_t{256} * 1024;
constexpr std::size_t kBlockCacheBytes = std::size_t{512} * 1024;
constexpr int kOpenFiles = 64;

leveldb::Slice slice(std::string_view text) {
    return {text.data(), text.size()};
}

memtrace::Status checked(const char* what, const leveldb::Status& status) {
    if (!status.ok()) {
        return memtrace::fail(std::string(what) + ": " + status.ToString());
    }
    return {};
}

} // namespace

memtrace::Result<Storage> Storage::open(const std::string& directory) {
    Storage storage;
    storage.block_cache_.reset(leveldb::NewLRUCache(kBlockCacheBytes));
    leveldb::Options options;
    options.create_if_missing = true;
    options.write_buffer_size = kWriteBufferBytes;
    options.max_open_files = kOpenFiles;
    options.block_cache = storage.block_cache_.get();
    leveldb::DB* db = nullptr;
    auto status = leveldb::DB::Open(options, directory, &db);
    if (!status.ok()) {
        return memtrace::fail("cannot open the database in " + directory + ": " + status.ToString());
    }
    storage.db_.reset(db);
    return storage;
}

memtrace::Status Storage::write(leveldb::WriteBatch& batch) {
    return checked("write", db_->Write(leveldb::WriteOptions(), &batch));
}

memtrace::Result<std::optional<std::string>> Storage::get(std::string_view key) {
    std::string value;
    auto status = db_->Get(leveldb::ReadOptions(), slice(key), &value);
    if (status.IsNotFound()) {
        return std::nullopt;
    }
    if (!status.ok()) {
        return memtrace::fail("get: " + status.ToString());
    }
    return value;
}

std::unique_ptr<leveldb::Iterator> Storage::scan(std::string_view start) {
    std::unique_ptr<leveldb::Iterator> rows(db_->NewIterator(leveldb::ReadOptions()));
    if (start.empty()) {
        rows->SeekToFirst();
    } else {
        rows->Seek(slice(start));
    }
    return rows;
}

} // namespace lightning
