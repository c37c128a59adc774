#include "kernel/features.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <thread>

#include "bpf/probe_test.skel.h"
#include "kernel/calibration.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/uprobe_link.hpp"

namespace memtrace {

namespace {

struct Capability {
    int number;
    const char* name;
};
constexpr Capability kNeeded[] = {
    {CAP_BPF, "CAP_BPF"},
    {CAP_PERFMON, "CAP_PERFMON"},
    {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
    {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
};

std::uint64_t effective_capabilities() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("CapEff:", 0) == 0) {
            return std::strtoull(line.c_str() + 7, nullptr, 16);
        }
    }
    return 0;
}

struct SkeletonCloser {
    void operator()(probe_test_bpf* skeleton) const { probe_test_bpf__destroy(skeleton); }
};
using ProbeTest = std::unique_ptr<probe_test_bpf, SkeletonCloser>;

ProbeTest load_probe_test(const char* name, int attach_type) {
    ProbeTest skeleton(probe_test_bpf__open());
    auto* const program = skeleton != nullptr ? bpf_object__find_program_by_name(skeleton->obj, name) : nullptr;
    if (program == nullptr) {
        return nullptr;
    }
    bpf_program__set_autoload(program, true);
    if (attach_type != 0) {
        bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(attach_type));
    }
    return probe_test_bpf__load(skeleton.get()) == 0 ? std::move(skeleton) : nullptr;
}

/// A kernel in lockdown has no such helper: "bpf: Add lockdown check for probe_write_user helper" (5.14).
bool may_write_user() {
    return load_probe_test("probe_write", 0) != nullptr;
}

/// Kernels of 6.6 to 6.9 filtered by thread, not by process (fixed by "bpf: Fix uprobe multi pid filter check", 6.10): so call it
/// from another thread.
bool seen_from_other_thread(const ProbeTest& test) {
    const auto before = test->bss->hits;
    std::thread(call_probe_target).join();
    return test->bss->hits == before + 1;
}

/// Probes on our own functions stay until the process ends: taking one away makes the kernel wait for some 50 ms.
std::vector<UniqueFd>& kept_links() {
    static std::vector<UniqueFd> links;
    return links;
}

/// Also measures: the first probes on our functions tell what a hit costs.
void try_uprobe_multi(KernelFeatures& features) {
    const auto test = load_probe_test("probe_test", kAttachTypeUprobeMulti);
    if (test == nullptr) {
        features.uprobe_multi_reason = "the kernel does not know multi links";
        return;
    }
    const auto costs = measure_hit_costs(bpf_program__fd(test->progs.probe_test), AttachMethod::uprobe_multi, kept_links());
    if (!costs) {
        features.uprobe_multi_reason = costs.error().message;
        return;
    }
    features.costs = *costs;
    features.attach_cookie = true;
    features.uprobe_multi = seen_from_other_thread(test);
    if (!features.uprobe_multi) {
        features.uprobe_multi_reason = "multi links of this kernel see only one thread of a process";
        kept_links().clear(); // or the next measurement would find two probes on each function
    }
}

void try_perf_event(KernelFeatures& features) {
    const auto test = load_probe_test("probe_test", 0);
    if (test == nullptr) {
        return;
    }
    const auto costs = measure_hit_costs(bpf_program__fd(test->progs.probe_test), AttachMethod::perf_event, kept_links());
    if (costs) {
        features.costs = *costs;
        features.attach_cookie = true;
    }
}

/// Measures too: where there are sessions, they are what probes are placed with.
void try_uprobe_session(KernelFeatures& features) {
    const auto test = load_probe_test("probe_session", kAttachTypeUprobeSession);
    if (test == nullptr || !features.uprobe_multi) {
        return;
    }
    features.uprobe_session =
        measure_session_costs(bpf_program__fd(test->progs.probe_session), &test->bss->wants_return, kept_links(), features.costs)
            .has_value();
}

} // namespace

std::vector<std::string> missing_capabilities() {
    const auto effective = effective_capabilities();
    std::vector<std::string> missing;
    for (const auto& capability : kNeeded) {
        if ((effective >> capability.number & 1) == 0) {
            missing.emplace_back(capability.name);
        }
    }
    return missing;
}

Error privileges_error(const std::vector<std::string>& missing) {
    std::string list;
    for (const auto& name : missing) {
        list += (list.empty() ? "" : ", ") + name;
    }
    return {"tracing needs " + list + ", which this user lacks: run it with sudo", EPERM};
}

const char* attach_method_name(AttachMethod method) {
    return method == AttachMethod::uprobe_session ? "uprobe_session"
           : method == AttachMethod::uprobe_multi ? "uprobe_multi"
                                                  : "perf_event";
}

KernelFeatures detect_features() {
    capture_libbpf_log();
    KernelFeatures features;
    features.btf = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
    features.ring_buffer = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, nullptr) == 1;
    features.task_storage = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_TASK_STORAGE, nullptr) == 1;
    try_uprobe_multi(features);
    if (!features.uprobe_multi) {
        try_perf_event(features);
    }
    try_uprobe_session(features);
    features.writes_user = may_write_user();
    return features;
}

} // namespace memtrace
