// The mapped tier's kernel half (bpf/mapped.bpf.c) as the collector sees it: functions and USDT probes that programs have anyway, in the
// processes that the contract tier's tracer follows. Their records come with that one's. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bpf/mapped.h"
#include "kernel/contract_tracer.hpp"
#include "kernel/features.hpp"
#include "kernel/stack_maps.hpp"
#include "proc/elf_file.hpp"

namespace memtrace {

/// A function to probe.
struct MappedFunction {
    std::uint64_t file_offset = 0;
    std::uint64_t size = 0; ///< by its symbol; 0 = unknown
    mt_mapped_signature signature{};
};

/// A USDT probe, at all its places.
struct MappedProbe {
    std::string provider;
    std::string name;
    mt_mapped_signature signature{};
};

/// What is to be attached to in a mapped file.
struct MappedTargets {
    int fd = -1;                  ///< of the very file, open during attach()
    std::vector<ElfSegment> code; ///< its executable segments
    std::vector<MappedFunction> functions;
    std::vector<MappedProbe> probes;
};

struct MappedSettings {
    AttachMethod method = AttachMethod::perf_event;
    LongNops long_nops = LongNops::stepped;
    std::uint32_t max_frames = 64;
    std::uint32_t ring_bytes = 0; ///< of the contract tier's ring
};

class MappedTracer {
public:
    /// `contract`: the maps of the tracer that reads the records. `maps`: as ContractTracer::load.
    static Result<MappedTracer> load(const MappedSettings& settings, const ContractMaps& contract,
                                     const std::optional<StackMaps>& maps);
    ~MappedTracer();
    MappedTracer(MappedTracer&&) noexcept;
    MappedTracer& operator=(MappedTracer&&) noexcept;

    /// Attaches to all of a file's, or to none of it. What releases is attached first: what is acquired must not be released unseen.
    Status attach(std::int32_t pid, const MappedTargets& targets);
    /// Detaches from all of the process.
    void remove_process(std::int32_t pid);

    /// As ContractTracer's; the dearest of the programs counts for all.
    void update_costs(std::uint64_t now_ns);
    [[nodiscard]] double program_ns() const;

private:
    struct Impl;
    explicit MappedTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
