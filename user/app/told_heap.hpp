// Processes that tell of a sample of their heaps by the OpenTelemetry memory contract's probes, otel_memory:alloc and otel_memory:free: which do,
// and which are listened to. What they tell comes out of the heap tracer, as sites of the allocator "otel_memory". One thread.
//
// A process is followed either by this or by probes on its allocator, never by both: its allocations would count twice.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "kernel/told_heap_tracer.hpp"
#include "proc/maps.hpp"
#include "proc/usdt.hpp"

namespace memtrace {

constexpr const char* kToldAllocator = "otel_memory";
constexpr const char* kToldFunction = "alloc";

/// In words, which probe the file lacks, of both that following its heap takes; the contract makes `free` optional. Empty: none.
std::string missing_told_probe(const UsdtObject& object);

class ToldHeap {
public:
    /// The kernel half is loaded for the first process that is listened to.
    using Load = std::function<Result<ToldHeapTracer>()>;

    /// `function`: of the sites, as pack_function().
    ToldHeap(Load load, std::uint16_t function) : load_(std::move(load)), function_(function) {}

    /// Looks for the probes in what the process has mapped by now and was not looked at before; attaches to them where it is listened to.
    /// Costs a look at its files.
    Status look(std::int32_t pid, mt_process_key key, const std::vector<Mapping>& mappings);
    /// As missing_told_probe(), where the process has no file with both probes and one with one. Empty: otherwise.
    [[nodiscard]] std::string one_sided(std::int32_t pid) const;
    /// It has the probes, and nobody has tried to listen to it.
    [[nodiscard]] bool can_listen(std::int32_t pid) const;
    /// Attaches to all there are, and from now on to those that come. The process must have been looked at. A failure is for good.
    Status listen(std::int32_t pid, mt_process_key key);
    [[nodiscard]] bool listens(std::int32_t pid) const;
    /// Detaches for good. Its figures are those of one that was listened to.
    void silence(std::int32_t pid);
    void forget(std::int32_t pid);
    /// For people: "otel_memory: alloc, free (libmemtrace_alloc.so)"; of those attached to.
    [[nodiscard]] std::vector<std::string> sources(std::int32_t pid) const;

    /// As the tracer's; nothing, and 0, where nobody is listened to.
    void update_costs(std::uint64_t now_ns) {
        if (tracer_) {
            tracer_->update_costs(now_ns);
        }
    }
    [[nodiscard]] double program_ns() const { return tracer_ ? tracer_->program_ns() : 0; }

private:
    struct Process {
        std::set<FileIdentity> seen;
        std::vector<UsdtObject> objects; ///< that have both probes
        std::string one_sided;           ///< of one that has one of them
        std::size_t attached = 0;        ///< so many of them, from the first on
        bool listens = false;
        bool tried = false; ///< to listen
    };

    Status attach(std::int32_t pid, mt_process_key key, Process& process);

    Load load_; ///< none any more: it was tried
    std::uint16_t function_;
    std::optional<ToldHeapTracer> tracer_;
    std::map<std::int32_t, Process> processes_;
};

} // namespace memtrace
