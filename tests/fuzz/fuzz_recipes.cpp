// Recipes are files that people write and pass on. What is no recipe is told in one line; what is one keeps to the bounds that the kernel
// half's cookie has.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/recipes.hpp"

namespace {

using namespace memtrace;

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

void check(const RecipeSignature& signature) {
    for (const unsigned number :
         {signature.id_argument, signature.parent, signature.bytes, signature.name_argument, signature.unless}) {
        require(number <= 12);
    }
    require((signature.id == RecipeId::argument || signature.id == RecipeId::out) == (signature.id_argument != 0));
    require(!signature.name.empty() && (signature.unless == 0) == (signature.unless_mask == 0));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto signature = parse_recipe_signature(text)) {
        check(*signature);
    }
    const auto recipes = parse_recipes(text, "fuzz.toml");
    if (!recipes) {
        require(!recipes.error().message.empty() && recipes.error().message.find('\n') == std::string::npos);
        return 0;
    }
    require(recipes->size() <= kMaxRecipes);
    for (const auto& recipe : *recipes) {
        require(!recipe.kind.empty() && recipe.acquire.empty() == recipe.release.empty());
        require(recipe.has_functions() ? !recipe.objects.empty()
                                       : recipe.objects.empty() && recipe.max_age_ns + recipe.max_idle_ns != 0);
        for (const auto* signatures : {&recipe.acquire, &recipe.share, &recipe.touch, &recipe.release}) {
            for (const auto& signature : *signatures) {
                check(signature);
            }
        }
    }
    return 0;
}
