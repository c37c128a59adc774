// Which object's table is in which shard of the kernel half, and which process uses it. One thread: the unwind loader's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "kernel/heap_tracer.hpp"
#include "proc/maps.hpp"
#include "unwind/object_table.hpp"
#include "unwind/table_cache.hpp"

namespace memtrace {

class UnwindRegistry {
public:
    UnwindRegistry(HeapTracer& tracer, std::string cache_directory) : tracer_(tracer), cache_(std::move(cache_directory)) {}

    /// Makes the kernel half unwind the process's stacks by `mappings`, executable ones.
    Status map(mt_process_key process, std::int32_t pid, const std::vector<Mapping>& mappings);
    void forget(mt_process_key process);

private:
    struct Object {
        std::optional<UnwindObject> code; ///< none: nothing to unwind by
        std::uint64_t first = 0;          ///< of the table
        std::uint32_t shard = 0;
        std::uint32_t block = 0;
    };
    struct Space {
        std::uint32_t shard = 0;
        std::vector<Mapping> mappings;
        std::set<std::uint32_t> tables; ///< shards
    };
    /// What is about to become a shard.
    struct Batch {
        std::vector<std::uint32_t> words;
        std::vector<FileIdentity> objects;
    };

    [[nodiscard]] std::optional<UnwindTable> table_of(const UnwindObject& code) const;
    void learn(std::int32_t pid, const Mapping& mapping, Batch& batch);
    [[nodiscard]] mt_unwind_range range_of(const Mapping& mapping) const;
    void release(const Space& space);

    HeapTracer& tracer_;
    TableCache cache_;
    std::map<FileIdentity, Object> objects_;
    std::map<mt_process_key, Space> spaces_;
    std::map<std::uint32_t, std::uint32_t> users_; ///< of a shard with tables: how many spaces
};

} // namespace memtrace
