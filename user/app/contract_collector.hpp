// What programs tell of themselves by probes, turned into events: the part of the collector that looks at the contract tier. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "app/contract_sampling.hpp"
#include "app/image_change.hpp"
#include "app/mapped_collector.hpp"
#include "app/record_stacks.hpp"
#include "base/result.hpp"
#include "kernel/contract_tracer.hpp"
#include "model/events.hpp"
#include "proc/maps.hpp"
#include "proc/usdt.hpp"

namespace memtrace {

class ContractCollector {
public:
    using Sink = std::function<void(const Event&)>;
    /// Makes a stack of a process known to the model.
    using InternStack = std::function<StackId(std::int32_t pid, const mt_stack&)>;
    /// A line for people.
    using Say = std::function<void(const std::string&)>;
    /// The kernel half is loaded for the first process that has probes: that takes some 0.4 s, which nobody else is to wait for.
    using Load = std::function<Result<ContractTracer>()>;

    ContractCollector(Load load, Sink sink, InternStack intern, Say say)
        : load_(std::move(load)), sink_(std::move(sink)), intern_(std::move(intern)), say_(std::move(say)) {}

    /// Recipes are followed too, in the same processes and by the same records.
    void follow_recipes(MappedCollector mapped) { mapped_ = std::move(mapped); }

    /// Looks for probes in what the process, which the model knows as `id`, has mapped by now and was not looked at before, and attaches to
    /// them. Then asks what is alive. A process is followed from its first probe on; without any this costs a look at its files.
    void look(std::int32_t pid, ProcessId id, const std::vector<Mapping>& mappings);
    /// The process has execed, and goes on as `id`.
    void follow_image(std::int32_t pid, ProcessId id, const std::vector<Mapping>& mappings);
    void deactivate(std::int32_t pid);
    void end(std::int32_t pid);

    /// Takes the records that wait, and tells what they say.
    void read_records();
    /// Objects are sampled from now on where that is needed: where records are lost, and where hearing them takes more than `budget` (a share of the
    /// program's CPU time; 0 = whatever it takes). None: every object is heard of.
    void keep_to(std::optional<double> budget);
    /// What the process has done since the last call, by the clock of `now_ns`, and what hearing of it took. To be called on every tick.
    void note_load(std::int32_t pid, std::uint64_t now_ns, double cpu_ns, double told_ns);

    /// Takes `kept_bytes` of our memory for what is known of its objects; `most_kept_bytes`: as in ContractLoad. Sampled for that even where
    /// every object is to be heard of.
    void note_memory(std::int32_t pid, std::uint64_t kept_bytes, std::uint64_t most_kept_bytes);

    /// Adds this tier's counters to those of the heap.
    void add_counters(std::int32_t pid, mt_counters& counters);

    /// As the tracer's; nothing, and 0, where nobody has probes.
    void update_costs(std::uint64_t now_ns) {
        if (tracer_) {
            tracer_->update_costs(now_ns);
        }
        if (mapped_) {
            mapped_->update_costs(now_ns);
        }
    }
    [[nodiscard]] double program_ns() const { return tracer_ ? tracer_->program_ns() : 0; }
    [[nodiscard]] double mapped_program_ns() const { return mapped_ ? mapped_->program_ns() : 0; }

    /// -1: nobody has probes.
    [[nodiscard]] int records_fd() const { return tracer_ ? tracer_->records_fd() : -1; }

private:
    /// An object with probes that can be asked what is alive.
    struct Announcer {
        UniqueFd file;
        std::uint32_t number = 0;
        bool asked = false; ///< and has not answered yet
    };
    struct Followed {
        ProcessId id;
        mt_process_key key = 0; ///< 0: it has no probes, so far
        std::set<FileIdentity> seen;
        std::uint32_t next_object = 1;
        std::set<std::string> sources; ///< names of the probes attached to
        RecordStacks::Known stacks;
        EarlyRecords<std::vector<std::byte>> early;
        ImageCounters counters;
        MappedCollector::State mapped;
        std::vector<Announcer> announcers;
        std::set<std::uint32_t> misunderstood; ///< numbers of objects that tell by another contract
        ContractSampling sampling;
        ContractLoad load; ///< since the last decision
        std::uint64_t load_ns = 0;
        std::uint64_t lost_before = 0;
        std::uint64_t kept_bytes = 0;
        std::uint64_t most_kept_bytes = 0;
    };

    bool has_tracer();
    bool attach(std::int32_t pid, Followed& process, const UsdtObject& object);
    void attach_announced(std::int32_t pid, Followed& process, UsdtObject& object);
    void ask(std::int32_t pid, Announcer& announcer);
    /// Another sample than before, which `reason` is said for.
    void apply_sampling(std::int32_t pid, Followed& process, const ContractSampling& sampling, const std::string& reason);
    std::uint64_t count_lost(const Followed& process) const;
    /// A record of before the sample was cut down: of an object that is not in it any more.
    static bool is_left_out(const Followed& process, std::span<const std::byte> record, const mt_contract_record& head);
    void tell_started(const Followed& process);
    void apply(std::int32_t pid, Followed& process, std::span<const std::byte> record, const mt_contract_record& head);
    StackId stack_of(std::int32_t pid, Followed& process, const mt_contract_record& head);

    Load load_; ///< none any more: it was tried
    std::optional<ContractTracer> tracer_;
    std::optional<MappedCollector> mapped_;
    Sink sink_;
    InternStack intern_;
    Say say_;
    std::map<std::int32_t, Followed> followed_;
    RecordStacks stacks_{ContractLimits{}.max_stacks};
    std::optional<double> budget_; ///< none: objects are not sampled
};

} // namespace memtrace
