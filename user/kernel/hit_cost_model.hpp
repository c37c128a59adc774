// How long probes keep a process from running: counted hits times what each costs. Pure.
//
// A hit costs the less the sooner it follows the one before. In a tight loop the kernel's trap path and its data are still in the
// CPU's nearest caches; where the target runs much of its own between two hits they have been pushed out, and, which is the larger part,
// so has what the target needs next been by the hit. Both are in GapCost, which kernel/calibration.hpp measures with work of our own
// between hits (kernel/working_set.hpp). The programs' own time is taken as the kernel times it in the target itself.
//
// The gap is own CPU time for each call, and own CPU time is CPU time less what probes took, which depends on the gap: solved for
// the one gap at which both agree. Not in it: that hits come in clusters (a mean gap stands for all), what a target loses that sleeps
// longer or wakes others later, and that CPU time in which nothing was attached (windows) makes gaps look longer than they were.
#pragma once

#include <vector>

#include "kernel/placement.hpp"

namespace memtrace {

/// What an entry probe costs more than in a tight loop, where the caller runs `gap_ns` of its own between two calls.
struct GapCost {
    double gap_ns = 0;
    double more_ns = 0;
};

/// What one probe hit costs: user space calls, the kernel traps, an empty program runs. In a tight loop but for `gaps`.
struct HitCosts {
    double emulated_ns = 0; ///< an entry probe on an instruction that the kernel emulates; 0 = not measured
    double stepped_ns = 0;  ///< on one that it single-steps
    double return_ns = 0;   ///< what a return probe costs beside the entry probe: setting it up, and its own trap
    double declined_ns = 0; ///< an entry probe of a session (emulated) that declines the return; 0 = there are no sessions
    LongNops long_nops = LongNops::stepped;
    std::vector<GapCost> gaps; ///< by rising gap, all above zero; empty: not measured
};

/// Hits of one interval. A return belongs to its entry, so calls are enters and frees.
struct HitCounts {
    double enters = 0;
    double returns = 0;
    double frees = 0;
    double stepped = 0;        ///< of these, on instructions that the kernel single-steps
    double told = 0;           ///< of probes by which a program tells of itself (contract tier): on nops, which are emulated
    double told_heap = 0;      ///< the same, of its heap (otel_memory)
    double mapped = 0;         ///< of functions and probes of recipes; taken as emulated
    double mapped_returns = 0; ///< of these functions
};

/// What the programs themselves run for, nanoseconds each.
struct ProgramCosts {
    double enter_ns = 0;
    double return_ns = 0;
    double free_ns = 0;
    bool sessions = false; ///< an entry declines its return unless it is wanted
    double told_ns = 0;    ///< of the contract tier
    double told_heap_ns = 0;
    double mapped_ns = 0;
};

/// Trap and program together, in nanoseconds for each hit.
struct ProbeCosts {
    double enter_ns = 0;
    double return_ns = 0;
    double free_ns = 0;
    bool return_declinable = false; ///< the entry program can decline the return (session links)
};

/// What a hit costs more at this gap, nanoseconds: straight lines between what was measured, from nothing at gap 0; beyond the last
/// gap as there.
double more_at_gap(const std::vector<GapCost>& gaps, double gap_ns);

/// What `hits` took of `cpu_ns`, the CPU time of the threads that had them (probes included), nanoseconds. More than `cpu_ns` where
/// the costs say so; hits then come as in a tight loop.
double probe_time_ns(const HitCosts& costs, const ProgramCosts& programs, const HitCounts& hits, double cpu_ns);

} // namespace memtrace
