// Exceptions that pass through a probed call. The kernel half has stopped the process where unwinding begins (unwind_enter in
// bpf/memtrace.bpf.c); here the return addresses are put back that the kernel replaced, and the process goes on.
//
// A stop belongs to all who trace the process: each is told of the same unwinding, the first one serves it and sends SIGCONT. What
// another one then does with its own copy must not touch what the thread has gone on to, above all must not end a later stop
// before it was served. So a stop is told from others by the thread's count of voluntary context switches, and tracers take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bpf/types.h"

namespace memtrace {

/// What becomes of the stop that `event` asked for.
enum class UnwindStop : std::uint8_t {
    coming, ///< the thread still runs towards it
    here,   ///< the thread stands in it
    over,   ///< the thread was continued, or has ended
};

/// `state` and `switches` as /proc shows them now; `event_switches` as of the unwinding. Pure.
UnwindStop judge_unwind_stop(char state, std::uint64_t switches, std::uint64_t event_switches);

/// Waits until all threads of process `pid` that are about to unwind stand still, restores their return addresses, lets the process
/// go on. `threads` hands out the events of the process known by now, those that came since included. Takes some 100 us, 1 s at most.
void serve_unwinding(std::int32_t pid, const std::function<std::vector<mt_unwind_event>()>& threads);

} // namespace memtrace
