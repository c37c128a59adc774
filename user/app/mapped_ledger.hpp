// Records of the mapped tier (bpf/mapped.h) as what they tell of a process's resources, by the recipes that they are of. Pure: the bytes come
// from the ring buffer, or from a test. One thread.
//
// What recipes know more than the records: that an object may be shared, so that only the last of several releases is one; and that what a
// function acquired may be given back before it has returned and could tell, as a thread that detaches itself first of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bpf/mapped.h"
#include "config/recipes.hpp"
#include "model/events.hpp"

namespace memtrace {

enum class MappedAction : std::uint8_t { acquire, share, touch, release };
constexpr MappedAction kMappedActions[] = {MappedAction::acquire, MappedAction::share, MappedAction::touch,
                                           MappedAction::release};

const std::vector<RecipeSignature>& signatures_of(const ResourceRecipe& recipe, MappedAction action);

/// The collector's number of a recipe's signature: those of its actions in the order of kMappedActions.
std::uint16_t mapped_number(const std::vector<ResourceRecipe>& recipes, std::size_t recipe, MappedAction action,
                            std::size_t signature);

/// A record's body.
struct MappedTold {
    std::uint64_t began_ns = 0;
    std::uint64_t id = 0;
    std::uint64_t parent = 0;
    std::uint64_t bytes = 0;
    std::string name;
};
/// Nothing where the bytes are cut short.
std::optional<MappedTold> decode_mapped(std::span<const std::byte> record);

/// What is held in one process.
class MappedLedger {
public:
    /// What the record tells the model, at `origin`; `object` is its head's. Nothing: nothing, or no recipe has that number.
    std::optional<Event> on(const std::vector<ResourceRecipe>& recipes, std::uint32_t object, const MappedTold& told,
                            const ContractOrigin& origin);

private:
    struct Key {
        std::size_t recipe;
        std::uint64_t id;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept { return (key.id ^ (key.recipe << 48)) * 0x9e37'79b9'7f4a'7c15ull; }
    };
    struct Early {
        Key key;
        std::uint64_t mono_ns;
        std::int32_t tid;
    };
    /// As many as the model keeps resources of: of those beyond, sharing is not known.
    static constexpr std::size_t kMaxHeld = std::size_t{1} << 18;
    static constexpr std::size_t kMaxEarly = 64;

    bool was_released_early(const Key& key, std::uint64_t began_ns, std::int32_t tid);

    std::unordered_map<Key, std::uint64_t, KeyHash> held_; ///< -> releases to come before the last
    std::deque<Early> early_;                              ///< releases of what was not held, the newest
};

} // namespace memtrace
