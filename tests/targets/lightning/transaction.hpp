// A write in progress. It has a connection to the storage for as long as it lasts, of a pool that all sessions share.
#pragma once

#include <leveldb/write_batch.h>

#include <memory>
#include <utility>

#include "memtrace/memtrace.hpp"

namespace lightning {

/// Costly enough to be kept: its batch has grown to the size of what is written.
struct StorageConnection {
    std::unique_ptr<leveldb::WriteBatch> batch = std::make_unique<leveldb::WriteBatch>();
};

class Transaction {
public:
    using Pool = memtrace::resource_pool<StorageConnection>;

    /// Empty: there was no connection to be had.
    Transaction() = default;
    Transaction(Pool::lease connection, memtrace::resource_info info) : connection_(std::move(connection), std::move(info)) {}

    explicit operator bool() const { return static_cast<bool>(connection_); }
    /// Empty at first. Not of an empty transaction.
    [[nodiscard]] leveldb::WriteBatch& batch() const { return *(*connection_)->batch; }

private:
    memtrace::resource_handle<Pool::lease> connection_;
};

} // namespace lightning
