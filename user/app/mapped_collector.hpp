// The mapped tier of a run: recipes, and what they are attached to in the processes that the contract tier follows (app/contract_collector.hpp,
// which owns it and hands it its records). One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "app/mapped_ledger.hpp"
#include "app/mapped_match.hpp"
#include "kernel/mapped_tracer.hpp"
#include "model/events.hpp"

namespace memtrace {

class MappedCollector {
public:
    /// The kernel half is loaded for the first process that has something of a recipe.
    using Load = std::function<Result<MappedTracer>(const ContractMaps&)>;
    using Say = std::function<void(const std::string&)>;

    MappedCollector(std::vector<ResourceRecipe> recipes, Load load, Say say)
        : recipes_(std::move(recipes)), load_(std::move(load)), say_(std::move(say)) {}

    /// What it knows of a process.
    struct State {
        std::set<FileIdentity> seen;
        std::set<std::size_t> recipes; ///< that are attached
        std::vector<std::string> sources;
        MappedLedger ledger;
    };

    /// What the process has of the recipes in files that were not looked at before.
    [[nodiscard]] std::vector<MappedObject> find(std::int32_t pid, const std::vector<Mapping>& mappings, State& state);
    /// `maps`: of the tracer that follows the process.
    void attach(std::int32_t pid, const MappedObject& object, const ContractMaps& maps, State& state);
    void end(std::int32_t pid);
    /// As the tracer's; nothing, and 0, where nothing is attached to.
    void update_costs(std::uint64_t now_ns) {
        if (tracer_) {
            tracer_->update_costs(now_ns);
        }
    }
    [[nodiscard]] double program_ns() const { return tracer_ ? tracer_->program_ns() : 0; }

    /// What the model is told of the kinds before anything of them; as ResourceKindDefined.
    [[nodiscard]] std::vector<Event> kinds(ProcessId process, const State& state) const;
    [[nodiscard]] std::optional<Event> decode(std::span<const std::byte> record, std::uint32_t object,
                                              const ContractOrigin& origin, State& state) const;

private:
    bool has_tracer(const ContractMaps& maps);
    void complain(const std::string& text);

    std::vector<ResourceRecipe> recipes_;
    Load load_; ///< none any more: it was tried
    std::optional<MappedTracer> tracer_;
    Say say_;
    std::set<std::string> said_; ///< once, however many processes it is true of
};

} // namespace memtrace
