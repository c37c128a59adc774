// What this kernel and this user may do, found by trying. Nothing here looks at a version number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "kernel/hit_cost_model.hpp"

namespace memtrace {

/// The capabilities that tracing needs, and that this process lacks: "CAP_BPF", ... Empty: all there.
std::vector<std::string> missing_capabilities();

/// How probes reach user space functions.
enum class AttachMethod : std::uint8_t {
    uprobe_session, ///< one link for many functions; the program at an entry can decline the return (BPF_TRACE_UPROBE_SESSION)
    uprobe_multi,   ///< one link for many functions (BPF_TRACE_UPROBE_MULTI)
    perf_event      ///< one perf event for each function
};
const char* attach_method_name(AttachMethod method);

struct KernelFeatures {
    bool btf = false;
    bool ring_buffer = false;
    bool task_storage = false;
    bool attach_cookie = false;
    bool uprobe_multi = false;       ///< links can be made and see every thread of the process they are for
    bool uprobe_session = false;     ///< an entry program can decline the return probe
    std::string uprobe_multi_reason; ///< why not, where not
    bool writes_user = false;        ///< programs may write to the memory of the process that they run in: not in lockdown
    HitCosts costs;                  ///< measured here and now
    [[nodiscard]] AttachMethod best_method() const {
        return uprobe_session ? AttachMethod::uprobe_session
               : uprobe_multi ? AttachMethod::uprobe_multi
                              : AttachMethod::perf_event;
    }
};

/// Tries each of them, in this process. Takes some 40 milliseconds. Needs the capabilities.
KernelFeatures detect_features();

/// The one line for somebody who lacks `missing`.
Error privileges_error(const std::vector<std::string>& missing);

} // namespace memtrace
