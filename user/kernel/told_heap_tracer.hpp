// The kernel half of the heaps that programs tell of themselves (bpf/told_heap.h), as the collector sees it: the probes otel_memory:alloc and
// otel_memory:free of processes that the heap tracer follows. What they tell goes into its maps, and is read there. While a probe is held its
// semaphore is raised; the kernel lowers it when memtrace ends however it ends. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "bpf/types.h"

namespace memtrace {

/// What the tracer works in, by name: the heap tracer's maps (bpf/maps.h, bpf/process_maps.h, bpf/unwind_maps.h).
inline constexpr std::array kHeapMaps = {"slots",    "processes", "unwind_shards", "known_walks",
                                         "counters", "live",      "sites",         "stacks"};
/// Descriptors in the order of kHeapMaps. They belong to the HeapTracer, and need to be open only while an object is loaded.
using HeapMaps = std::array<int, kHeapMaps.size()>;

inline constexpr const char* kToldHeapProvider = "otel_memory";
inline constexpr std::array kToldHeapProbes = {
    "free", "alloc"}; ///< in the order of attaching: what is allocated must not be freed unheard

class ToldHeapTracer {
public:
    static Result<ToldHeapTracer> load(const HeapMaps& maps, std::uint32_t max_frames);
    ~ToldHeapTracer();
    ToldHeapTracer(ToldHeapTracer&&) noexcept;
    ToldHeapTracer& operator=(ToldHeapTracer&&) noexcept;

    /// Attaches to both probes of the file that `path` opens, at all their places, or to none. `process`: its key in the heap tracer;
    /// `function`: of the sites, as pack_function().
    Status attach(mt_process_key process, std::int32_t pid, const std::string& path, std::uint16_t function);
    void remove_process(std::int32_t pid);

    /// Times the programs. To be called often; `now_ns` is monotonic.
    void update_costs(std::uint64_t now_ns);
    /// Mean time that one hit runs a program, nanoseconds, the trap not counted; 0: none has been seen.
    [[nodiscard]] double program_ns() const;

private:
    struct Impl;
    explicit ToldHeapTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
