#include "app/privileges.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "base/listen_address.hpp"
#include "base/path.hpp"

namespace memtrace {

namespace {

struct Capability {
    unsigned number;
    const char* name;
};

/// As tried on Linux 6.18, one by one; 6.1 asks for the same by its rules.
constexpr Capability kKept[] = {
    {CAP_BPF, "CAP_BPF"},         // programs, maps and links: also of what comes later
    {CAP_PERFMON, "CAP_PERFMON"}, // programs that look at others' memory; uprobes and tracepoints
    {CAP_SYS_ADMIN,
     "CAP_SYS_ADMIN"}, // the time that programs take, which is switched on now and then (BPF_ENABLE_STATS); files by
                       // /proc/PID/map_files, which 5.9 and newer give for CAP_CHECKPOINT_RESTORE as well
    {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},           // /proc of other users' processes: maps, exe, root; return addresses of theirs
    {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"}, // their programs, libraries and pid files, wherever they lie
};
constexpr Capability kOverride{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"};
constexpr Capability kKill{CAP_KILL, "CAP_KILL"};
constexpr Capability kBind{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"};
constexpr std::uint16_t kFirstFreePort = 1024;

std::uint64_t bit(const Capability& capability) {
    return std::uint64_t{1} << capability.number;
}

struct Sets {
    std::uint64_t effective = 0;
    std::uint64_t permitted = 0;
    std::uint64_t inheritable = 0;
};

Result<Sets> read_sets() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) {
        return fail_errno("cannot read our capabilities", errno);
    }
    const auto whole = [](std::uint32_t low, std::uint32_t high) { return low | std::uint64_t{high} << 32; };
    return Sets{whole(data[0].effective, data[1].effective), whole(data[0].permitted, data[1].permitted),
                whole(data[0].inheritable, data[1].inheritable)};
}

Status write_sets(const Sets& sets) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const auto half = [&](int shift) {
        return __user_cap_data_struct{static_cast<std::uint32_t>(sets.effective >> shift),
                                      static_cast<std::uint32_t>(sets.permitted >> shift),
                                      static_cast<std::uint32_t>(sets.inheritable >> shift)};
    };
    const std::array<__user_cap_data_struct, 2> data{half(0), half(32)};
    return ::syscall(SYS_capset, &header, data.data()) == 0 ? Status() : fail_errno("cannot drop capabilities", errno);
}

/// The directory, or the one nearest above it that there is: where the first file will be made.
std::string existing(std::string path) {
    while (!path.empty() && ::access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
        const auto slash = path.rfind('/');
        path = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    }
    return path;
}

/// What is written to while tracing.
std::vector<std::string> written_paths(const Options& options, const AlertConfig& alerts) {
    std::vector<std::string> paths;
    for (const auto& file : {options.out, options.record, options.history}) {
        if (!file.empty()) {
            struct stat info{};
            const bool special = ::stat(file.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
            paths.push_back(special ? file : directory_of(file));
        }
    }
    for (const auto& directory : {options.snapshot_dir, alerts.spool}) {
        if (!directory.empty()) {
            paths.push_back(directory);
        }
    }
    return paths;
}

/// With the effective set as it is.
bool may_write(const std::string& path) {
    return path.empty() || ::faccessat(AT_FDCWD, existing(path).c_str(), W_OK, AT_EACCESS) == 0 || errno != EACCES;
}

/// What it takes beyond the list.
std::vector<Capability> extras(const Options& options, const AlertConfig& alerts) {
    std::vector<Capability> needed;
    const auto paths = written_paths(options, alerts);
    if (!std::all_of(paths.begin(), paths.end(), may_write)) {
        needed.push_back(kOverride);
    }
    if (std::any_of(alerts.actions.begin(), alerts.actions.end(),
                    [](const ActionConfig& action) { return action.type == ActionType::signal; })) {
        needed.push_back(kKill);
    }
    if (const auto address = parse_listen_address(options.listen);
        !options.listen.empty() && address && address->port != 0 && address->port < kFirstFreePort) {
        needed.push_back(kBind);
    }
    return needed;
}

/// Needs CAP_SETPCAP; where that is missing, as in a container, those who gave us the set have chosen it.
void bound(std::uint64_t kept) {
    for (unsigned number = 0; ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number) {
        if ((kept >> number & 1) == 0) {
            (void)::prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
        }
    }
}

} // namespace

std::string kept_capabilities_text() {
    std::string text;
    for (const auto& capability : kKept) {
        text += (text.empty() ? "" : ", ") + std::string(capability.name);
    }
    return text;
}

Result<std::string> drop_privileges(const Options& options, const AlertConfig& alerts) {
    const auto before = read_sets();
    if (!before) {
        return tl::unexpected(before.error());
    }
    std::uint64_t kept = 0;
    for (const auto& capability : kKept) {
        kept |= bit(capability);
    }
    // What can be written to without is found out without.
    if (auto status = write_sets({before->effective & kept, before->permitted, before->inheritable}); !status) {
        return tl::unexpected(status.error());
    }
    std::string names;
    for (const auto& capability : extras(options, alerts)) {
        if ((before->effective & bit(capability)) != 0) {
            kept |= bit(capability);
            names += (names.empty() ? "" : ", ") + std::string(capability.name);
        }
    }
    // Dropping from the bounding set takes CAP_SETPCAP, and goes before that.
    if (auto status = write_sets(*before); !status) {
        return tl::unexpected(status.error());
    }
    bound(kept);
    if (auto status = write_sets({before->effective & kept, before->permitted & kept, before->inheritable & kept}); !status) {
        return tl::unexpected(status.error());
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail_errno("cannot give up new privileges", errno);
    }
    return names;
}

} // namespace memtrace
