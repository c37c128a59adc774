// The placements of all probes of one file: reads the functions' code and asks placement.hpp for each. Files are looked at once;
// what was found is kept for the next process that maps the same file. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "kernel/placement.hpp"
#include "proc/allocators.hpp"

namespace memtrace {

struct FunctionToPlace {
    std::uint64_t file_offset = 0;
    std::uint64_t size = 0;     ///< by its symbol; 0 = unknown
    std::uint8_t arguments = 0; ///< bit n set: argument n is read at the probe
};

/// Where to probe functions of one open file, whose executable segments are `code`; parallel to `wanted`. Reads all of its code. What
/// cannot be read is probed at the entries.
std::vector<Placement> place_functions(int fd, const std::vector<ElfSegment>& code, const std::vector<FunctionToPlace>& wanted,
                                       LongNops long_nops);

struct ProbePlan {
    std::vector<Placement> points; ///< parallel to ProbeObject::points
    std::vector<Placement> hooks;  ///< parallel to ProbeObject::hooks
};

class ProbePlanner {
public:
    explicit ProbePlanner(LongNops long_nops) : long_nops_(long_nops) {}

    /// Where to probe the functions of `object`. A file that cannot be read is probed at the entries. The reference holds until the
    /// next call.
    const ProbePlan& plan(const ProbeObject& object);

private:
    /// device, inode, and what changes when the file does: size, time of the last change (ns), number of points and hooks wanted
    using Key = std::tuple<FileIdentity, std::int64_t, std::int64_t, std::size_t, std::size_t>;
    static constexpr std::size_t kMaxPlans = 256;

    LongNops long_nops_;
    std::map<Key, ProbePlan> plans_;
};

/// The cookie's view of a signature: each argument by the number of the register that holds it at the probe.
FunctionSignature relocated(const FunctionSignature& signature, const Placement& placement);

} // namespace memtrace
