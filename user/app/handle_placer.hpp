// Where handles lie that lie in no object: before a report it is looked who leads to their memory (analyze/block_holders), and told where two
// looks one after the other say the same. Nothing is done where no handle lies in such memory. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "analyze/block_holders.hpp"
#include "kernel/heap_tracer.hpp"
#include "model/events.hpp"

namespace memtrace {

class HandlePlacer {
public:
    using Sink = std::function<void(const Event&)>;

    struct Target {
        std::int32_t pid = 0;
        ProcessId id;
        mt_process_key key = 0;
        bool blocks_known = false;     ///< of the allocations since it was attached to, all that are live
        bool all_blocks_known = false; ///< of those before as well
    };

    /// What is not known any more is taken back.
    void look(const HeapTracer& tracer, const Target& target, const ReferenceLedger& ledger, const Sink& sink);

private:
    /// What a look has found of a handle.
    struct Placed {
        std::uint64_t target = 0; ///< address of the object that it refers to
        std::uint32_t target_serial = 0;
        std::uint64_t owner = 0;
        std::uint32_t owner_serial = 0;
        friend bool operator==(const Placed&, const Placed&) = default;
    };
    using Found = std::map<std::uint64_t, Placed>; ///< by the handle's address

    static std::optional<Found> find(const HeapTracer& tracer, const Target& target, const ReferenceLedger& ledger);

    Found before_;
};

} // namespace memtrace
