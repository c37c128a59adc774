// Measures what one probe hit costs on this machine, on functions of our own.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "kernel/hit_cost_model.hpp"
#include "kernel/uprobe_link.hpp"

namespace memtrace {

/// The function of our own that the first probe of measure_hit_costs is on.
void call_probe_target();

/// Attaches `program_fd` to our own functions and calls them, for some 20 ms: in a tight loop, then with own work of several lengths
/// between calls (HitCosts::gaps). What work and hits take from each other's caches and branch predictors counts for the hit. `links` takes the probes, which the caller keeps: taking
/// one away makes the kernel wait for some 50 ms.
Result<HitCosts> measure_hit_costs(int program_fd, AttachMethod method, std::vector<UniqueFd>& links);

/// The same for a session program that declines every return unless `*wants_return`: sets declined_ns and return_ns of `costs`.
Status measure_session_costs(int program_fd, std::uint32_t* wants_return, std::vector<UniqueFd>& links, HitCosts& costs);

} // namespace memtrace
