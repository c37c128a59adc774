#include "app/mapped_collector.hpp"

#include <utility>

namespace memtrace {

void MappedCollector::complain(const std::string& text) {
    if (said_.insert(text).second) {
        say_(text);
    }
}

bool MappedCollector::has_tracer(const ContractMaps& maps) {
    if (const auto load = std::exchange(load_, nullptr)) {
        auto tracer = load(maps);
        if (tracer) {
            tracer_ = std::move(*tracer);
        } else {
            say_("the recipes are not followed: " + tracer.error().message);
        }
    }
    return tracer_.has_value();
}

std::vector<MappedObject> MappedCollector::find(std::int32_t pid, const std::vector<Mapping>& mappings, State& state) {
    return match_recipes(pid, mappings, recipes_, state.seen, [this](const std::string& text) { complain(text); });
}

void MappedCollector::attach(std::int32_t pid, const MappedObject& object, const ContractMaps& maps, State& state) {
    if (!has_tracer(maps)) {
        return;
    }
    if (auto status = tracer_->attach(pid, object.targets); !status) {
        say_(status.error().message);
        return;
    }
    state.recipes.insert(object.recipes.begin(), object.recipes.end());
    state.sources.insert(state.sources.end(), object.sources.begin(), object.sources.end());
}

void MappedCollector::end(std::int32_t pid) {
    if (tracer_) {
        tracer_->remove_process(pid);
    }
}

std::vector<Event> MappedCollector::kinds(ProcessId process, const State& state) const {
    std::vector<Event> events;
    for (std::size_t i = 0; i < recipes_.size(); ++i) {
        const auto& recipe = recipes_[i];
        if (recipe.has_functions() && !state.recipes.contains(i)) {
            continue;
        }
        events.emplace_back(ResourceKindDefined{process, recipe.kind, recipe.max_age_ns, recipe.max_idle_ns, recipe.complete,
                                                !recipe.owned_by_user});
    }
    return events;
}

std::optional<Event> MappedCollector::decode(std::span<const std::byte> record, std::uint32_t object,
                                             const ContractOrigin& origin, State& state) const {
    const auto told = decode_mapped(record);
    return told ? state.ledger.on(recipes_, object, *told, origin) : std::nullopt;
}

} // namespace memtrace
