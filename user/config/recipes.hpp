// Recipes: by which functions and USDT probes, that it has anyway, a program tells of its resources. From TOML; the language is described in
// scripts/recipes/README.md. Plain structs; foreign bytes: what makes no sense is an error of one line that says where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

/// What says which resource a call is about.
enum class RecipeId : std::uint8_t {
    thread,   ///< nothing: the thread that calls
    self,     ///< the same, as what pthread_self() returns in it
    argument, ///< one of the arguments
    out,      ///< what lies where an argument points, when the function has returned
    returned  ///< what it returns
};

/// What a function returns where it has done its work; of an int.
enum class RecipeSuccess : std::uint8_t { always, zero, not_zero, not_negative, positive };

/// One function or probe. Arguments are numbered from 1; 0 = there is none of that role.
struct RecipeSignature {
    std::string provider; ///< of a USDT probe; empty: a function
    std::string name;
    RecipeId id = RecipeId::thread;
    std::uint8_t id_argument = 0; ///< where `id` is argument or out
    std::uint8_t parent = 0;
    std::uint8_t bytes = 0;
    std::uint8_t name_argument = 0;
    RecipeSuccess success = RecipeSuccess::always;
    std::uint8_t unless = 0; ///< points to a word: a call where it has any of these bits says nothing
    std::uint8_t unless_at = 0;
    std::uint8_t unless_mask = 0;
    bool operator==(const RecipeSignature&) const = default;
};

/// A kind of resources. Without functions: one that the program tells of itself, or that another file describes, and its limits.
struct ResourceRecipe {
    std::string kind;
    std::vector<std::string> objects; ///< globs of the base names of mapped files
    std::vector<RecipeSignature> acquire;
    std::vector<RecipeSignature> share; ///< one more release is to come
    std::vector<RecipeSignature> touch;
    std::vector<RecipeSignature> release;
    std::uint64_t max_age_ns = 0;  ///< held for longer is reported; 0 = no limit
    std::uint64_t max_idle_ns = 0; ///< unused for longer is reported; 0 = no limit
    bool complete = false;         ///< nothing is acquired or released otherwise: a second release is an error
    bool owned_by_user = false;    ///< belongs to the thread that touches it, not to the one that acquires it
    std::string where;             ///< "file:line", for messages
    bool operator==(const ResourceRecipe&) const = default;
    [[nodiscard]] bool has_functions() const { return !acquire.empty(); }
};

/// Bounds on what one run takes.
constexpr std::size_t kMaxRecipes = 128;
constexpr std::size_t kMaxRecipeSignatures = 64; ///< of one recipe, all actions together

/// "sqlite3_prepare_v2(parent, name, _, *id)", "usdt:postgresql:sort__done(_, bytes)".
Result<RecipeSignature> parse_recipe_signature(std::string_view text);

/// The recipes of a configuration file's `text`, none where it is about other things (alerts); `name` is what messages call the file.
Result<std::vector<ResourceRecipe>> parse_recipes(std::string_view text, const std::string& name);

/// Those of all files. A path, or the bare name of a recipe that came with memtrace: "sqlite". Kinds must differ, but limits alone go to what
/// another file describes.
Result<std::vector<ResourceRecipe>> read_recipes(const std::vector<std::string>& files);

} // namespace memtrace
