#include "app/mapped_match.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include "app/mapped_ledger.hpp"
#include "kernel/placement.hpp"
#include "proc/usdt.hpp"

namespace memtrace {

namespace {

std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

bool is_of(const ResourceRecipe& recipe, const std::string& file) {
    return std::any_of(recipe.objects.begin(), recipe.objects.end(),
                       [&](const std::string& glob) { return ::fnmatch(glob.c_str(), file.c_str(), 0) == 0; });
}

/// What a file has by name.
struct Inventory {
    std::multimap<std::string, ElfFunction, std::less<>> functions;
    std::set<std::pair<std::string, std::string>> probes; ///< provider, name
    std::vector<ElfSegment> code;
};

std::optional<Inventory> take_stock(const std::string& open_path, const std::vector<const ResourceRecipe*>& recipes) {
    std::set<std::string, std::less<>> wanted;
    bool wants_probes = false;
    for (const auto* recipe : recipes) {
        for (const auto action : kMappedActions) {
            for (const auto& signature : signatures_of(*recipe, action)) {
                wants_probes = wants_probes || !signature.provider.empty();
                if (signature.provider.empty()) {
                    wanted.insert(signature.name);
                }
            }
        }
    }
    auto elf = read_elf(open_path, [&](std::string_view name) { return wanted.contains(name); }, true);
    if (!elf || !elf->is_native) {
        return std::nullopt;
    }
    Inventory inventory;
    for (auto& function : elf->functions) {
        const auto [first, last] = inventory.functions.equal_range(function.name);
        const bool known =
            std::any_of(first, last, [&](const auto& it) { return it.second.file_offset == function.file_offset; });
        if (!known) { // once, though it stands in both symbol tables, or under several versions
            inventory.functions.emplace(function.name, std::move(function));
        }
    }
    std::copy_if(elf->segments.begin(), elf->segments.end(), std::back_inserter(inventory.code),
                 [](const ElfSegment& segment) { return segment.executable; });
    if (const auto probes = wants_probes ? read_usdt_probes(open_path) : Result<std::vector<UsdtProbe>>()) {
        for (const auto& probe : *probes) {
            inventory.probes.emplace(probe.provider, probe.name);
        }
    }
    return inventory;
}

/// An argument's number as the kernel half has it: a function's 7th and later lie on the stack.
std::uint8_t place_of(const RecipeSignature& signature, std::uint8_t argument) {
    return static_cast<std::uint8_t>(signature.provider.empty() && argument > kArgumentRegisters ? argument + 1 : argument);
}

mt_mapped_signature packed(const RecipeSignature& signature, MappedAction action, std::uint16_t number) {
    mt_mapped_signature out{};
    out.id = signature.id == RecipeId::thread     ? MT_MAPPED_THREAD
             : signature.id == RecipeId::self     ? MT_MAPPED_SELF
             : signature.id == RecipeId::returned ? MT_MAPPED_RETURNED
                                                  : place_of(signature, signature.id_argument);
    out.parent = place_of(signature, signature.parent);
    out.bytes = place_of(signature, signature.bytes);
    out.name = place_of(signature, signature.name_argument);
    out.out = signature.id == RecipeId::out ? 1 : 0;
    out.success = static_cast<std::uint8_t>(signature.success);
    out.unless = place_of(signature, signature.unless);
    out.unless_at = signature.unless_at;
    out.unless_mask = signature.unless_mask;
    out.acquire = action == MappedAction::acquire ? 1 : 0;
    out.number = number;
    return out;
}
static_assert(static_cast<int>(RecipeSuccess::zero) == MT_MAPPED_ZERO &&
              static_cast<int>(RecipeSuccess::not_zero) == MT_MAPPED_NOT_ZERO &&
              static_cast<int>(RecipeSuccess::not_negative) == MT_MAPPED_NOT_NEGATIVE &&
              static_cast<int>(RecipeSuccess::positive) == MT_MAPPED_POSITIVE);

/// What a file has of one recipe.
struct Found {
    std::map<MappedAction, std::size_t> counts;
    std::vector<MappedFunction> functions;
    std::vector<MappedProbe> probes;
    std::string names;
};

Found find_recipe(const Inventory& inventory, const std::vector<ResourceRecipe>& recipes, std::size_t recipe) {
    Found found;
    // What releases first: that is the order of attaching.
    for (const auto action : {MappedAction::release, MappedAction::touch, MappedAction::share, MappedAction::acquire}) {
        const auto& signatures = signatures_of(recipes[recipe], action);
        for (std::size_t i = 0; i < signatures.size(); ++i) {
            const auto& signature = signatures[i];
            const auto mapped = packed(signature, action, mapped_number(recipes, recipe, action, i));
            const auto before = found.functions.size() + found.probes.size();
            if (!signature.provider.empty() && inventory.probes.contains({signature.provider, signature.name})) {
                found.probes.push_back({signature.provider, signature.name, mapped});
            }
            const auto [first, last] = inventory.functions.equal_range(signature.name);
            for (auto at = first; at != last && signature.provider.empty(); ++at) {
                found.functions.push_back({at->second.file_offset, at->second.size, mapped});
            }
            if (found.functions.size() + found.probes.size() != before) {
                ++found.counts[action];
                found.names += (found.names.empty() ? "" : ", ") + signature.name;
            }
        }
    }
    return found;
}

void add_recipe(const std::vector<ResourceRecipe>& recipes, std::size_t index, Found found, MappedObject& object) {
    auto& targets = object.targets;
    std::move(found.functions.begin(), found.functions.end(), std::back_inserter(targets.functions));
    std::move(found.probes.begin(), found.probes.end(), std::back_inserter(targets.probes));
    object.recipes.push_back(index);
    object.sources.push_back(base_name(object.path) + ": " + recipes[index].kind + " (" + found.names + ")");
}

} // namespace

std::vector<MappedObject> match_recipes(std::int32_t pid, const std::vector<Mapping>& mappings,
                                        const std::vector<ResourceRecipe>& recipes, std::set<FileIdentity>& seen,
                                        const std::function<void(const std::string&)>& complain) {
    std::vector<MappedObject> out;
    for (const auto& mapping : mappings) {
        if (!mapping.executable || mapping.file == FileIdentity{} || seen.contains(mapping.file)) {
            continue;
        }
        std::vector<std::size_t> indices;
        std::vector<const ResourceRecipe*> wanted;
        for (std::size_t i = 0; i < recipes.size(); ++i) {
            if (is_of(recipes[i], base_name(mapping.path))) {
                indices.push_back(i);
                wanted.push_back(&recipes[i]);
            }
        }
        auto file = wanted.empty() ? Result<UniqueFd>() : open_mapped(pid, mapping);
        if (!file) {
            continue; // unmapped by now, or not ours to read
        }
        seen.insert(mapping.file);
        MappedObject object;
        object.path = mapping.path;
        object.file = std::move(*file);
        const auto inventory = wanted.empty() ? std::nullopt : take_stock(path_of(object.file), wanted);
        if (!inventory) {
            continue;
        }
        for (const auto index : indices) {
            auto found = find_recipe(*inventory, recipes, index);
            const bool acquires = found.counts[MappedAction::acquire] != 0;
            const bool releases = found.counts[MappedAction::release] != 0;
            if (acquires && releases) {
                add_recipe(recipes, index, std::move(found), object);
            } else if (acquires || releases) {
                complain(recipes[index].where + ": " + base_name(mapping.path) + " has nothing that " +
                         (acquires ? "releases" : "acquires") + " a " + recipes[index].kind + ": it is left out");
            }
        }
        if (!object.recipes.empty()) {
            object.targets.fd = object.file.get();
            object.targets.code = inventory->code;
            out.push_back(std::move(object));
        }
    }
    return out;
}

} // namespace memtrace
