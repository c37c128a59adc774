// The contract tier's kernel half (bpf/contract.bpf.c) as the collector sees it: what programs tell of themselves by their USDT probes,
// of the processes that are added. libbpf finds the places, the arguments and the semaphores; whoever holds the probes is known to the
// kernel, which lowers the semaphores when memtrace ends however it ends. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "base/result.hpp"
#include "bpf/contract.h"
#include "kernel/stack_maps.hpp"

namespace memtrace {

struct ContractLimits {
    std::uint32_t max_processes = 4'096;
    std::uint32_t max_stacks = 16'384;
    std::uint32_t max_frames = 64;
    std::uint32_t ring_bytes = 8u << 20; ///< a power of two
};

/// What other BPF objects that tell the same records share with this one, by name: descriptors, which belong to the tracer.
constexpr std::array kContractMaps = {"contract_processes", "contract_counters", "contract_stacks", "contract_threads",
                                      "contract_records"};
using ContractMaps = std::array<int, kContractMaps.size()>;

class ContractTracer {
public:
    /// Loads; nothing is attached to yet but the ends of threads, and exec.
    /// Stacks are unwound by `maps`, of the processes that these know; without, they follow frame pointers.
    static Result<ContractTracer> load(const ContractLimits& limits, const std::optional<StackMaps>& maps);
    ~ContractTracer();
    ContractTracer(ContractTracer&&) noexcept;
    ContractTracer& operator=(ContractTracer&&) noexcept;

    /// What is told from now on. The key of the address space that the process has now; exec advances it in the kernel.
    Result<mt_process_key> add_process(std::int32_t pid);
    /// Ends it: nothing is told any more, though the probes stay until remove_process.
    void deactivate(std::int32_t pid);
    /// Detaches; its semaphores fall.
    void remove_process(std::int32_t pid);
    /// After an exec: the new key. Probes belong to files, those that the new image has too hold on.
    std::optional<mt_process_key> adopt_image(std::int32_t pid);

    /// Attaches to a probe of an object of an added process, at all its places. `kind`: an mt_contract_kind that names one of the
    /// provider's probes. `path` opens the file that is mapped, `object` is the caller's number for it, and comes in the records.
    Status attach(std::int32_t pid, std::uint16_t kind, const std::string& path, std::uint32_t object);
    void detach(std::int32_t pid, std::uint16_t kind, std::uint32_t object);

    /// From here on only objects of that sample are told of (mt_in_sample), 0: all. Resources and pools always are.
    void set_sample(std::int32_t pid, std::uint32_t mask);

    /// Asks for an emergency cleanup, by holding memtrace:emergency_low, _high or _critical (level 1 to 3) of that file. Held until the
    /// process is removed, or end_cleanup.
    Status request_cleanup(std::int32_t pid, unsigned level, const std::string& path);
    void end_cleanup(std::int32_t pid);

    /// Times the program. To be called often; `now_ns` is monotonic.
    void update_costs(std::uint64_t now_ns);
    /// Mean time that one hit runs the program, nanoseconds, the trap not counted; 0: none has been seen.
    [[nodiscard]] double program_ns() const;
    [[nodiscard]] ContractMaps maps() const;

    /// Of a record, which says both; without its stack where none was stored.
    [[nodiscard]] mt_stack read_stack(std::uint64_t key, std::uint64_t code) const;
    /// Makes room for others: whoever has these read knows them. The kernel half keeps one again when it comes again.
    void forget_stacks(const std::set<std::uint64_t>& keys);
    /// Those of this tier; the rest is zero.
    [[nodiscard]] mt_counters read_counters(mt_process_key process) const;

    /// A descriptor that becomes readable when records should be taken before the next tick, and the call that takes all of them, in the order
    /// in which they came about.
    [[nodiscard]] int records_fd() const;
    void read_records(const std::function<void(std::span<const std::byte>)>& visit);

private:
    struct Impl;
    explicit ContractTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

/// Whether records of that kind belong to an object, by their first argument, and so are in the sample or not.
bool is_of_object(std::uint16_t kind);

/// The probe's name within the provider `memtrace`, "ref_acquire"; nullptr: no probe is of that kind.
const char* contract_probe_name(std::uint16_t kind);

/// The name of the probe whose semaphore asks for a cleanup of that level; 1 to 3.
const char* emergency_probe_name(unsigned level);

} // namespace memtrace
