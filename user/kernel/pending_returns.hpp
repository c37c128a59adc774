// Calls that were probed and have not returned. When probes go, these still have the kernel's trampoline for a return address. That is
// no harm to a call that returns; one that an exception passes through needs the hooks that put the address back (bpf/returns.h),
// so those stay until no such call is left.
#pragma once

#include <cstdint>
#include <set>

struct bpf_program;

namespace memtrace {

/// Whether any thread of `tgids`, which are among the kernel half's `slots`, has one. `list_returns` is the loaded program of that name;
/// false where the list cannot be had.
bool any_pending_return(const bpf_program* list_returns, const std::set<std::uint32_t>& tgids);

} // namespace memtrace
