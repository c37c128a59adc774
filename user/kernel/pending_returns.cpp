#include "kernel/pending_returns.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "base/fd.hpp"
#include "bpf/types.h"

namespace memtrace {

namespace {

/// An entry of the kernel's list stays after its call was left by a jump: what counts is what lies on the stack.
bool is_in_flight(const mt_pending_return& pending) {
    std::uint64_t word = 0;
    const iovec there{reinterpret_cast<void*>(pending.address), sizeof(word)}; // NOLINT(performance-no-int-to-ptr)
    const iovec here{&word, sizeof(word)};
    return process_vm_readv(static_cast<pid_t>(pending.tgid), &here, 1, &there, 1, 0) == sizeof(word) &&
           word == pending.trampoline;
}

} // namespace

bool any_pending_return(const bpf_program* list_returns, const std::set<std::uint32_t>& tgids) {
    const std::unique_ptr<bpf_link, int (*)(bpf_link*)> link(bpf_program__attach_iter(list_returns, nullptr), bpf_link__destroy);
    const UniqueFd list(link == nullptr ? -1 : bpf_iter_create(bpf_link__fd(link.get())));
    std::array<mt_pending_return, 128> some{};
    while (list) {
        const auto bytes =
            ::read(list.get(), some.data(), sizeof(some)); // whole records: what does not fit comes with the next read
        if (bytes <= 0) {
            return false;
        }
        const auto end = some.begin() + bytes / static_cast<std::ptrdiff_t>(sizeof(some[0]));
        if (std::any_of(some.begin(), end, [&](const auto& one) { return tgids.contains(one.tgid) && is_in_flight(one); })) {
            return true;
        }
    }
    return false;
}

} // namespace memtrace
