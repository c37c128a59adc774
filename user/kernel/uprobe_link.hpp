// Attaching one BPF program to functions of a file, in one process: the ways that kernels offer, behind one call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "kernel/features.hpp"

namespace memtrace {

struct UprobeTarget {
    std::int32_t pid = 0;
    std::string path; ///< opens the file that the process has mapped
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint64_t> cookies; ///< one for each offset
    bool is_return = false;
    bool is_session = false; ///< entry and return, by one program
};

/// The value of enum bpf_attach_type that a program must be loaded with to be attached by multi links; Debian 12's headers do not
/// know it.
constexpr int kAttachTypeUprobeMulti = 48;
constexpr int kAttachTypeUprobeSession = 57;

/// Attaches `program_fd` to all of `target`. The descriptors own the probes: closing them detaches.
Result<std::vector<UniqueFd>> attach_uprobes(int program_fd, AttachMethod method, const UprobeTarget& target);

/// One multi link by the raw system call, of the given attach type.
Result<UniqueFd> create_uprobe_multi_link(int program_fd, int attach_type, const UprobeTarget& target);

} // namespace memtrace
