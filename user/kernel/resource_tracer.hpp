// The resources tier's kernel half (bpf/resources.bpf.c) as the collector sees it: descriptors, threads and timers of the processes that
// are added, as the kernel gives them out and takes them back. Nothing of it stays when memtrace ends however it ends. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "base/result.hpp"
#include "bpf/resources.h"
#include "kernel/stack_maps.hpp"

namespace memtrace {

/// Families of resources, as a set: bit mt_resource_family each.
using ResourceFamilies = std::uint32_t;
constexpr ResourceFamilies family_bit(mt_resource_family family) {
    return 1u << family;
}
constexpr ResourceFamilies kAllResourceFamilies = (1u << MT_RESOURCE_FAMILIES) - 1;

struct ResourceLimits {
    std::uint32_t max_processes = 4'096;
    std::uint32_t max_stacks = 16'384;
    std::uint32_t max_frames = 64;
    std::uint32_t ring_bytes = 2u << 20; ///< a power of two
};

class ResourceTracer {
public:
    /// Loads and attaches what these families need, at least one; nothing is told of any process yet. Stacks are unwound by `maps`, of
    /// the processes that these know; without, they follow frame pointers.
    static Result<ResourceTracer> load(ResourceFamilies families, const ResourceLimits& limits,
                                       const std::optional<StackMaps>& maps);
    ~ResourceTracer();
    ResourceTracer(ResourceTracer&&) noexcept;
    ResourceTracer& operator=(ResourceTracer&&) noexcept;

    /// What is told from now on. The key of the address space that the process has now; exec advances it in the kernel.
    Result<mt_process_key> add_process(std::int32_t pid);
    /// Ends it: nothing is told any more.
    void deactivate(std::int32_t pid);
    void remove_process(std::int32_t pid);
    /// After an exec: the new key.
    std::optional<mt_process_key> adopt_image(std::int32_t pid);

    /// Of a record, which says both; without its stack where none was stored.
    [[nodiscard]] mt_stack read_stack(std::uint64_t key, std::uint64_t code) const;
    /// Makes room for others: whoever has these read knows them. The kernel half keeps one again when it comes again.
    void forget_stacks(const std::set<std::uint64_t>& keys);
    /// Those of this tier; the rest is zero.
    [[nodiscard]] mt_counters read_counters(mt_process_key process) const;

    /// A descriptor that becomes readable when records should be taken before the next tick, and the call that takes all of them, in the
    /// order in which they came about.
    [[nodiscard]] int records_fd() const;
    void read_records(const std::function<void(std::span<const std::byte>)>& visit);

private:
    struct Impl;
    explicit ResourceTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
