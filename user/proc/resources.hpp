// What /proc says of the descriptors, threads and timers that a process holds, and what kinds of descriptors there are. All calls read
// afresh.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace memtrace {

/// Numbers; nothing where they cannot be read. A process at its end may have none any more.
using HeldNumbers = std::optional<std::vector<std::uint32_t>>;

HeldNumbers list_descriptors(std::int32_t pid);
HeldNumbers list_threads(std::int32_t pid);
/// The kernel shows POSIX timers with CONFIG_CHECKPOINT_RESTORE only.
HeldNumbers list_timers(std::int32_t pid);

/// How many descriptors it has, without listing them; nothing where the kernel does not say (before 6.2).
std::optional<std::uint64_t> count_descriptors(std::int32_t pid);
/// How many it may have (RLIMIT_NOFILE); 0 = not known, or no end.
std::uint64_t descriptor_limit(std::int32_t pid);

struct DescriptorInfo {
    std::string kind; ///< as descriptor_kind
    std::string name; ///< a path, or what the kernel calls it
};

/// Nothing where it is no descriptor any more.
std::optional<DescriptorInfo> describe_descriptor(std::int32_t pid, std::uint32_t descriptor);

/// "fd:file", "fd:socket", "fd:epoll", ... `mode` as in stat(2), `magic` that of the file system (statfs(2)), `name` what the kernel calls
/// the file there.
std::string descriptor_kind(std::uint32_t mode, std::uint64_t magic, std::string_view name);

} // namespace memtrace
