#include "kernel/uprobe_link.hpp"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include <bpf/bpf.h>

namespace memtrace {

namespace {

/// union bpf_attr as BPF_LINK_CREATE reads it for uprobe_multi links (kernel include/uapi/linux/bpf.h, since 6.6).
struct LinkCreateUprobeMulti {
    std::uint32_t prog_fd;
    std::uint32_t target_fd;
    std::uint32_t attach_type;
    std::uint32_t flags;
    std::uint64_t path;
    std::uint64_t offsets;
    std::uint64_t ref_ctr_offsets;
    std::uint64_t cookies;
    std::uint32_t cnt;
    std::uint32_t multi_flags;
    std::uint32_t pid;
    std::uint32_t zero;
};
static_assert(sizeof(LinkCreateUprobeMulti) == 64);

constexpr std::uint32_t kMultiReturn = 1; // BPF_F_UPROBE_MULTI_RETURN

/// The number that perf knows uprobes by, and the config bit of return probes.
Result<std::uint32_t> read_pmu_number(const char* name, const char* prefix) {
    std::ifstream file(std::string("/sys/bus/event_source/devices/uprobe/") + name);
    std::string text;
    if (!std::getline(file, text) || text.rfind(prefix, 0) != 0) {
        return fail("this kernel offers no uprobes (CONFIG_UPROBE_EVENTS)");
    }
    return static_cast<std::uint32_t>(std::strtoul(text.c_str() + std::strlen(prefix), nullptr, 10));
}

Result<UniqueFd> open_perf_uprobe(const UprobeTarget& target, std::uint64_t offset) {
    const auto type = read_pmu_number("type", "");
    const auto return_bit = read_pmu_number("format/retprobe", "config:");
    if (!type || !return_bit) {
        return tl::unexpected(type ? return_bit.error() : type.error());
    }
    perf_event_attr attr{};
    attr.size = sizeof(attr);
    attr.type = *type;
    attr.config = target.is_return ? 1ull << *return_bit : 0;
    attr.config1 = reinterpret_cast<std::uint64_t>(target.path.c_str()); // uprobe_path
    attr.config2 = offset;                                               // probe_offset
    UniqueFd event(static_cast<int>(::syscall(SYS_perf_event_open, &attr, target.pid, -1, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!event) {
        return fail_errno("cannot place a probe in " + target.path, errno);
    }
    return event;
}

Status attach_perf_event(int program_fd, const UprobeTarget& target, std::size_t index, std::vector<UniqueFd>& links) {
    auto event = open_perf_uprobe(target, target.offsets[index]);
    if (!event) {
        return tl::unexpected(event.error());
    }
    LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event = {.bpf_cookie = target.cookies[index]});
    UniqueFd link(bpf_link_create(program_fd, event->get(), BPF_PERF_EVENT, &options));
    if (!link) {
        return fail_errno("cannot attach to a probe in " + target.path, errno);
    }
    if (::ioctl(event->get(), PERF_EVENT_IOC_ENABLE, 0) != 0) {
        return fail_errno("cannot enable a probe in " + target.path, errno);
    }
    links.push_back(std::move(link));
    links.push_back(std::move(*event));
    return {};
}

} // namespace

Result<UniqueFd> create_uprobe_multi_link(int program_fd, int attach_type, const UprobeTarget& target) {
    LinkCreateUprobeMulti attr{};
    attr.prog_fd = static_cast<std::uint32_t>(program_fd);
    attr.attach_type = static_cast<std::uint32_t>(attach_type);
    attr.path = reinterpret_cast<std::uint64_t>(target.path.c_str());
    attr.offsets = reinterpret_cast<std::uint64_t>(target.offsets.data());
    attr.cookies = reinterpret_cast<std::uint64_t>(target.cookies.data());
    attr.cnt = static_cast<std::uint32_t>(target.offsets.size());
    attr.multi_flags = target.is_return ? kMultiReturn : 0;
    attr.pid = static_cast<std::uint32_t>(target.pid);
    UniqueFd link(static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr))));
    if (!link) {
        return fail_errno("cannot attach to " + target.path, errno);
    }
    return link;
}

Result<std::vector<UniqueFd>> attach_uprobes(int program_fd, AttachMethod method, const UprobeTarget& target) {
    std::vector<UniqueFd> links;
    if (target.offsets.empty()) {
        return links;
    }
    if (method != AttachMethod::perf_event) {
        const int type = target.is_session ? kAttachTypeUprobeSession : kAttachTypeUprobeMulti;
        auto link = create_uprobe_multi_link(program_fd, type, target);
        if (!link) {
            return tl::unexpected(link.error());
        }
        links.push_back(std::move(*link));
        return links;
    }
    for (std::size_t i = 0; i < target.offsets.size(); ++i) {
        if (auto status = attach_perf_event(program_fd, target, i, links); !status) {
            return tl::unexpected(status.error());
        }
    }
    return links;
}

} // namespace memtrace
