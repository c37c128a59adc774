#include "proc/memory.hpp"

#include <algorithm>
#include <charconv>

#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr const char* kCgroups = "/sys/fs/cgroup"; ///< of version 2
constexpr std::string_view kCgroupLine = "0::";    ///< of a process's cgroup there

/// The next line of `text`, which loses it.
std::string_view take_line(std::string_view& text) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
}

std::uint64_t number(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t:"), text.size()));
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

/// The number in the line that begins with `name`; 0 where there is none.
std::uint64_t field(std::string_view text, std::string_view name) {
    while (!text.empty()) {
        if (const auto line = take_line(text); line.starts_with(name)) {
            return number(line.substr(name.size()));
        }
    }
    return 0;
}

/// Takes a bound where less of it is left.
void tighten(MemoryLimit& limit, bool cgroup, std::uint64_t bytes, std::uint64_t used) {
    const auto left = [](std::uint64_t of, std::uint64_t taken) { return of - std::min(of, taken); };
    if (bytes != 0 && (limit.limit_bytes == 0 || left(bytes, used) < left(limit.limit_bytes, limit.used_bytes))) {
        limit = {cgroup, bytes, used};
    }
}

/// A cgroup and those above it. Version 1 says "no limit" by a number beyond all memory.
void look_at_cgroups(MemoryLimit& limit, const std::string& root, std::string path, const char* max_file, const char* used_file,
                     const char* inactive) {
    constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;
    for (;;) {
        const auto max = read_file(root + path + "/" + max_file);
        const auto used = read_file(root + path + "/" + used_file);
        if (const auto bytes = max ? number(*max) : 0; used && bytes != 0 && bytes < kNoLimit) {
            const auto stat = read_file(root + path + "/memory.stat");
            const auto idle = stat ? field(*stat, inactive) : 0;
            tighten(limit, true, bytes, number(*used) - std::min(number(*used), idle));
        }
        if (path.empty() || path == "/") {
            return;
        }
        path.resize(path.rfind('/'));
    }
}

} // namespace

MemoryUse parse_memory_use(std::string_view status) {
    return {field(status, "RssAnon:") * kKiB, field(status, "RssFile:") * kKiB, field(status, "RssShmem:") * kKiB,
            field(status, "VmSwap:") * kKiB};
}

std::uint64_t parse_stack_bytes(std::string_view smaps) {
    std::uint64_t sum = 0;
    std::string_view guard_end; // of the mapping before, where nothing may be read there
    bool stack = false;
    while (!smaps.empty()) {
        const auto line = take_line(smaps);
        if (stack && line.starts_with("Rss:")) {
            sum += number(line.substr(4)) * kKiB;
        }
        const auto dash = line.find('-');
        const auto blank = line.find(' ');
        if (dash == std::string_view::npos || blank == std::string_view::npos || dash > blank || line.size() < blank + 6) {
            continue; // no head of a mapping: "7f00-7f10 rw-p 00000000 00:00 0   [stack]"
        }
        const auto access = line.substr(blank + 1, 4);
        const bool nameless = line.find_first_of("/[") == std::string_view::npos;
        stack = line.ends_with("[stack]") ||
                (access == "rw-p" && nameless && !guard_end.empty() && line.substr(0, dash) == guard_end);
        guard_end = access == "---p" && nameless ? line.substr(dash + 1, blank - dash - 1) : std::string_view();
    }
    return sum;
}

Result<MemoryUse> read_memory_use(std::int32_t pid) {
    const auto status = read_file("/proc/" + std::to_string(pid) + "/status");
    return status ? Result<MemoryUse>(parse_memory_use(*status)) : tl::unexpected(status.error());
}

Result<std::uint64_t> read_stack_bytes(std::int32_t pid) {
    const auto smaps = read_file("/proc/" + std::to_string(pid) + "/smaps");
    return smaps ? Result<std::uint64_t>(parse_stack_bytes(*smaps)) : tl::unexpected(smaps.error());
}

Result<std::string> read_cgroup_directory(std::int32_t pid) {
    const auto groups = read_file("/proc/" + std::to_string(pid) + "/cgroup");
    if (!groups) {
        return tl::unexpected(groups.error());
    }
    for (std::string_view lines = *groups; !lines.empty();) {
        if (const auto line = take_line(lines); line.starts_with(kCgroupLine)) {
            return kCgroups + std::string(line.substr(kCgroupLine.size()));
        }
    }
    return fail("process " + std::to_string(pid) + " is in no cgroup of version 2");
}

MemoryLimit read_memory_limit(std::int32_t pid) {
    MemoryLimit limit;
    if (const auto machine = read_file("/proc/meminfo")) {
        const auto total = field(*machine, "MemTotal:") * kKiB;
        tighten(limit, false, total, total - std::min(total, field(*machine, "MemAvailable:") * kKiB));
    }
    const auto groups = read_file("/proc/" + std::to_string(pid) + "/cgroup");
    std::string_view lines = groups ? std::string_view(*groups) : std::string_view();
    while (!lines.empty()) { // "0::/path", or "7:memory:/path" in version 1
        const auto line = take_line(lines);
        const auto path = line.substr(std::min(line.find('/'), line.size()));
        if (line.starts_with(kCgroupLine)) {
            look_at_cgroups(limit, kCgroups, std::string(path), "memory.max", "memory.current", "inactive_file");
        } else if (line.find(":memory:") != std::string_view::npos) {
            look_at_cgroups(limit, "/sys/fs/cgroup/memory", std::string(path), "memory.limit_in_bytes", "memory.usage_in_bytes",
                            "total_inactive_file");
        }
    }
    return limit;
}

} // namespace memtrace
