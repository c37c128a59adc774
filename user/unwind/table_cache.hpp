// Unwind tables on disk, for the next run: of large objects, by build-id. A cached table is foreign bytes too: its directory and file
// must be this user's alone, its checksum and the object that it was made of must fit, and its words are checked as any table's. Whatever
// goes wrong, the table is built anew. May be used by several processes at once: files appear whole, by rename.
//
//   "mUTc", version u32, address u64 and size u64 of .eh_frame, the same of .debug_frame, crc32 u32 of the address and words that follow,
//   zero u32, address of the table's first byte u64, number of words u64, words u32...
#pragma once

#include <optional>
#include <string>

#include "unwind/object_table.hpp"

namespace memtrace {

class TableCache {
public:
    /// Sections below this compile in less time than a file takes.
    static constexpr std::uint64_t kSmallest = std::uint64_t{256} << 10;
    /// Files kept; the oldest go.
    static constexpr std::size_t kMostFiles = 128;

    /// `directory` is made when there is something to keep; empty: nothing is kept.
    explicit TableCache(std::string directory) : directory_(std::move(directory)) {}

    [[nodiscard]] std::optional<UnwindTable> load(const ObjectIdentity& identity) const;
    /// Does nothing where it cannot.
    void store(const ObjectIdentity& identity, const UnwindTable& table) const;

    /// The place for this user: /var/cache/memtrace for root, else below $XDG_CACHE_HOME or ~/.cache; empty: there is none.
    static std::string default_directory();

private:
    [[nodiscard]] bool is_worth_it(const ObjectIdentity& identity) const;
    std::string directory_;
};

} // namespace memtrace
