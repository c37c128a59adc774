// What a process's memory is of, and what bounds it. All calls read afresh.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace memtrace {

/// Resident memory by kind, as the kernel counts it anyway: costs as little as any read of /proc/PID/status.
struct MemoryUse {
    std::uint64_t anon_bytes = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t shmem_bytes = 0;
    std::uint64_t swap_bytes = 0;
};

/// The tightest bound: that of which the least is left.
struct MemoryLimit {
    bool cgroup = false;           ///< of the process's cgroup or one above; else of the machine
    std::uint64_t limit_bytes = 0; ///< 0 = unknown
    std::uint64_t used_bytes = 0;  ///< of it, by all that share it, but for file pages that nobody used lately
};

Result<MemoryUse> read_memory_use(std::int32_t pid);
MemoryLimit read_memory_limit(std::int32_t pid);
/// The directory of the process's cgroup in the one hierarchy of version 2.
Result<std::string> read_cgroup_directory(std::int32_t pid);
/// Of the stacks of all threads: the kernel names the first, those of others are known by the guard below them. Makes the kernel walk all
/// page tables of the process (some ms a GiB): for now and then.
Result<std::uint64_t> read_stack_bytes(std::int32_t pid);

/// Parts of the above, on text as the kernel writes it. What is not there is 0.
MemoryUse parse_memory_use(std::string_view status);
std::uint64_t parse_stack_bytes(std::string_view smaps);

} // namespace memtrace
