#include "kernel/bpf_link.hpp"

#include <cerrno>

#include "kernel/libbpf_log.hpp"

namespace memtrace {

Result<BpfLink> attach_usdt(const bpf_program* program, std::int32_t pid, const std::string& path, const std::string& provider,
                            const std::string& name, std::uint64_t cookie) {
    LIBBPF_OPTS(bpf_usdt_opts, options, .usdt_cookie = cookie);
    BpfLink link(bpf_program__attach_usdt(program, pid, path.c_str(), provider.c_str(), name.c_str(), &options));
    if (link == nullptr) {
        const int error = errno;
        return fail_errno("cannot attach to the probe " + provider + ":" + name + " of process " + std::to_string(pid) + " (" +
                              libbpf_log_tail() + ")",
                          error);
    }
    return link;
}

} // namespace memtrace
