// How many of a program's objects the contract tier hears of (contract_samples in bpf/contract.bpf.c): all, or by their addresses one in 2, 4, 8, ...
//
//   all --> 1 in 2 --> ... --> 1 in 1024          up when records were lost, when hearing them costs more than the budget, or when what is
//    ^---------<----------------------            kept of them is much and memtrace short of memory; down one step when none has been so
//                                               for some time
//
// A pure function: no clock, no I/O. The caller counts, and calls it about once a second. An object that is left out saves its record, but not
// the trap of its probes: so cost alone goes no further than 1 in 64, beyond which there is nothing to gain.
#pragma once

#include <cstdint>
#include <string>

namespace memtrace {

struct ContractLoad {
    double seconds = 0; ///< that have passed since the last call
    double cpu_ns = 0;  ///< CPU time of the program in them
    double told_ns = 0; ///< of it: what its contract probes took
    std::uint64_t lost = 0;
    std::uint64_t kept_bytes = 0;      ///< of our memory, for what is known of its objects now
    std::uint64_t most_kept_bytes = 0; ///< memtrace is short of memory, and that is what it may take; 0: it is not
};

struct ContractSampling {
    unsigned shift = 0; ///< one object in 1 << shift
    double calm_s = 0;  ///< for so long a smaller one would have done
    double patience_s = 10;
    double now_s = 0;
    double lowered_at_s = -1; ///< last time, while it is not known whether that was right; < 0: it is
};

struct ContractDecision {
    ContractSampling state; ///< for the next call
    bool changed = false;
    std::string reason; ///< a sentence, where changed
};

/// `budget`: share of the CPU time that tracing may take; 0 = whatever it costs.
ContractDecision sample_contract(const ContractSampling& before, double budget, const ContractLoad& load);

} // namespace memtrace
