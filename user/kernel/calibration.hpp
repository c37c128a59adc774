// Measures what one probe hit costs on this machine, on functions of our own.
#pragma once

#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "kernel/features.hpp"
#include "kernel/uprobe_link.hpp"

namespace memtrace {

/// Where the function that try-outs may probe (call_probe_target) lies in our own program file.
Result<UprobeTarget> own_probe_target();
void call_probe_target();

/// Attaches `program_fd` to our own functions and calls them, for some 10 ms. `links` takes the probes, which the caller keeps: taking
/// one away makes the kernel wait for some 50 ms.
Result<HitCosts> measure_hit_costs(int program_fd, AttachMethod method, std::vector<UniqueFd>& links);

} // namespace memtrace
