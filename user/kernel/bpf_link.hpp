// A program of libbpf that is attached, and its owner.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/signal_guard.hpp"

namespace memtrace {

struct BpfLinkCloser {
    /// A signal that ends us meanwhile makes the kernel leave breakpoints in the target: see HeapTracer::watch.
    void operator()(bpf_link* link) const {
        const SignalGuard guard;
        bpf_link__destroy(link);
    }
};
/// Detaches at its end.
using BpfLink = std::unique_ptr<bpf_link, BpfLinkCloser>;

/// Attaches to all places of a USDT probe of the file `path`, in that process; its semaphore is raised meanwhile.
Result<BpfLink> attach_usdt(const bpf_program* program, std::int32_t pid, const std::string& path, const std::string& provider,
                            const std::string& name, std::uint64_t cookie);

} // namespace memtrace
