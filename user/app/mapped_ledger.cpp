#include "app/mapped_ledger.hpp"

#include <algorithm>
#include <cstring>

namespace memtrace {

const std::vector<RecipeSignature>& signatures_of(const ResourceRecipe& recipe, MappedAction action) {
    switch (action) {
    case MappedAction::acquire:
        return recipe.acquire;
    case MappedAction::share:
        return recipe.share;
    case MappedAction::touch:
        return recipe.touch;
    case MappedAction::release:
        break;
    }
    return recipe.release;
}

std::uint16_t mapped_number(const std::vector<ResourceRecipe>& recipes, std::size_t recipe, MappedAction action,
                            std::size_t signature) {
    for (const auto before : kMappedActions) {
        if (before == action) {
            break;
        }
        signature += signatures_of(recipes[recipe], before).size();
    }
    static_assert(kMaxRecipes <= 0x100 && kMaxRecipeSignatures <= 0x100, "both fit into a number");
    return static_cast<std::uint16_t>(MT_MAPPED_NUMBER(recipe, signature));
}

namespace {

std::optional<MappedAction> action_of(const ResourceRecipe& recipe, std::size_t signature) {
    for (const auto action : kMappedActions) {
        const auto count = signatures_of(recipe, action).size();
        if (signature < count) {
            return action;
        }
        signature -= count;
    }
    return std::nullopt;
}

} // namespace

std::optional<MappedTold> decode_mapped(std::span<const std::byte> record) {
    std::uint64_t fields[MT_MAPPED_FIELDS];
    if (record.size() < sizeof(mt_contract_record) + sizeof(fields)) {
        return std::nullopt;
    }
    record = record.subspan(sizeof(mt_contract_record));
    std::memcpy(fields, record.data(), sizeof(fields));
    record = record.subspan(sizeof(fields));
    const auto* const text = reinterpret_cast<const char*>(record.data());
    return MappedTold{fields[MT_MAPPED_BEGAN_NS], fields[MT_MAPPED_ID], fields[MT_MAPPED_PARENT], fields[MT_MAPPED_BYTES],
                      std::string(text, strnlen(text, record.size()))};
}

/// True where another thread than `tid` gave it back while the function that acquires it had yet to return.
bool MappedLedger::was_released_early(const Key& key, std::uint64_t began_ns, std::int32_t tid) {
    const auto found = std::find_if(early_.begin(), early_.end(), [&](const Early& early) {
        return early.key == key && early.mono_ns >= began_ns && early.tid != tid;
    });
    if (found == early_.end()) {
        return false;
    }
    early_.erase(found);
    return true;
}

std::optional<Event> MappedLedger::on(const std::vector<ResourceRecipe>& recipes, std::uint32_t object, const MappedTold& told,
                                      const ContractOrigin& origin) {
    const std::size_t index = MT_MAPPED_RESOURCE(object);
    const auto action = index < recipes.size() ? action_of(recipes[index], MT_MAPPED_SIGNATURE(object)) : std::nullopt;
    if (!action) {
        return std::nullopt;
    }
    const auto& kind = recipes[index].kind;
    const Key key{index, told.id};
    const auto held = held_.find(key);
    switch (*action) {
    case MappedAction::acquire:
        if (was_released_early(key, told.began_ns, origin.tid)) {
            return std::nullopt;
        }
        if (held != held_.end() || held_.size() < kMaxHeld) {
            held_[key] = 0;
        }
        return ResourceTold{origin, ResourceAction::acquired, kind, told.id, told.parent, told.bytes, told.name, 0, 0};
    case MappedAction::share:
        if (held != held_.end()) {
            ++held->second;
        }
        return std::nullopt; // no use: it stays whose it is
    case MappedAction::touch:
        return ResourceTold{origin, ResourceAction::touched, kind, told.id, 0, 0, "", 0, 0};
    case MappedAction::release:
        break;
    }
    if (held == held_.end()) {
        early_.push_back({key, origin.mono_ns, origin.tid});
        if (early_.size() > kMaxEarly) {
            early_.pop_front();
        }
    } else if (held->second-- != 0) { // others hold it still
        return std::nullopt;
    } else {
        held_.erase(held);
    }
    return ResourceTold{origin, ResourceAction::released, kind, told.id, 0, 0, "", 0, 0};
}

} // namespace memtrace
