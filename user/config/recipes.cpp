#include "config/recipes.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>

#include "config/config_file.hpp"
#include "config/options.hpp"
#include "config/toml_table.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxKindBytes = 63; // what a record of the contract tier has room for
constexpr std::size_t kMaxObjects = 16;
/// What else may stand in a configuration file, for other readers.
constexpr std::string_view kOthers[] = {"alerts", "alert", "silence", "sink", "action", "trace", "target", "resources"};

/// The file's own texts may have anything in them.
Error on_one_line(Error error) {
    std::replace_if(error.message.begin(), error.message.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
    return error;
}

bool is_kind(const std::string& text) {
    return text.size() <= kMaxKindBytes && std::all_of(text.begin(), text.end(), [](char c) {
               return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                      std::string_view("-_.").find(c) != std::string_view::npos;
           });
}

/// One [[resource]] of a file.
class RecipeReader {
public:
    RecipeReader(const std::string& file, const toml::table& table) : file_(file), table_(table) {
        recipe_.where = toml_place(file, table.source());
    }

    Result<ResourceRecipe> read() {
        for (const auto& [key, value] : table_) {
            if (auto status = take(std::string(key.str()), value); !status) {
                return fail(toml_place(file_, value.source()) + ": " + status.error().message);
            }
        }
        if (auto problem = check(); !problem.empty()) {
            return fail(recipe_.where + ": " + problem);
        }
        if (!recipe_.has_functions()) { // the program tells of all of them
            recipe_.complete = true;
        } else if (recipe_.objects.empty()) {
            recipe_.objects = {"*"};
        }
        return std::move(recipe_);
    }

private:
    Status take(const std::string& key, const toml::node& value) {
        if (key == "kind") {
            return take_text(key, value, recipe_.kind);
        }
        if (key == "object") {
            return take_texts(key, value, [&](const std::string& text) -> Status {
                recipe_.objects.push_back(text);
                return recipe_.objects.size() <= kMaxObjects ? Status() : fail("more than 16 objects");
            });
        }
        if (key == "max_age" || key == "max_idle") {
            std::string text;
            if (auto status = take_text(key, value, text); !status) {
                return status;
            }
            const auto duration = parse_duration(text);
            if (!duration || *duration == 0) {
                return duration ? fail(key + " is longer than nothing") : tl::unexpected(duration.error().in(key));
            }
            (key == "max_age" ? recipe_.max_age_ns : recipe_.max_idle_ns) = *duration;
            return {};
        }
        if (key == "complete") {
            const auto flag = value.value_exact<bool>();
            recipe_.complete = flag.value_or(false);
            return flag ? Status() : fail("complete is true or false");
        }
        if (key == "owned_by") {
            std::string text;
            auto status = take_text(key, value, text);
            recipe_.owned_by_user = text == "user";
            return !status || recipe_.owned_by_user || text == "acquirer" ? status : fail("owned_by is \"acquirer\" or \"user\"");
        }
        auto* const action = key == "acquire"   ? &recipe_.acquire
                             : key == "share"   ? &recipe_.share
                             : key == "touch"   ? &recipe_.touch
                             : key == "release" ? &recipe_.release
                                                : nullptr;
        if (action == nullptr) {
            return fail("unknown key \"" + key +
                        "\" (known: kind object acquire share touch release max_age max_idle complete owned_by)");
        }
        return take_texts(key, value, [&](const std::string& text) { return take_signature(key, text, *action); });
    }

    Status take_signature(const std::string& key, const std::string& text, std::vector<RecipeSignature>& action) {
        auto signature = parse_recipe_signature(text);
        if (!signature) {
            return tl::unexpected(signature.error());
        }
        const bool yields = signature->id == RecipeId::out || signature->id == RecipeId::returned;
        const bool describes = signature->parent != 0 || signature->bytes != 0 || signature->name_argument != 0;
        if (key != "acquire" && (yields || describes)) {
            return fail("\"" + text + "\": only acquire has *id, -> id, parent, bytes and name");
        }
        if (++signatures_ > kMaxRecipeSignatures) {
            return fail("more than " + std::to_string(kMaxRecipeSignatures) + " signatures");
        }
        action.push_back(std::move(*signature));
        return {};
    }

    static Status take_text(const std::string& key, const toml::node& value, std::string& to) {
        const auto text = value.value_exact<std::string>();
        to = text.value_or("");
        return text && !text->empty() ? Status() : fail(key + " is a text");
    }

    /// One text, or an array of them.
    template <typename Take>
    static Status take_texts(const std::string& key, const toml::node& value, const Take& take) {
        std::string text;
        const auto* const array = value.as_array();
        if (array == nullptr) {
            auto status = take_text(key, value, text);
            return status ? take(text) : fail(key + " is a text, or an array of texts");
        }
        for (const auto& element : *array) {
            if (!take_text(key, element, text)) {
                return fail(key + " is a text, or an array of texts");
            }
            if (auto status = take(text); !status) {
                return status;
            }
        }
        return {};
    }

    [[nodiscard]] std::string check() const {
        if (recipe_.kind.empty()) {
            return "a resource needs a kind";
        }
        if (!is_kind(recipe_.kind)) {
            return "a kind has letters, digits, - _ and ., at most " + std::to_string(kMaxKindBytes);
        }
        const bool limited = recipe_.max_age_ns != 0 || recipe_.max_idle_ns != 0;
        if (signatures_ == 0 && limited) {
            return recipe_.objects.empty() && !recipe_.complete && !recipe_.owned_by_user
                       ? ""
                       : recipe_.kind + " has no functions: max_age and max_idle are all that it takes";
        }
        if (recipe_.acquire.empty() || recipe_.release.empty()) {
            return recipe_.kind + " needs acquire and release" + (signatures_ == 0 ? ", or max_age or max_idle alone" : "");
        }
        return "";
    }

    const std::string& file_;
    const toml::table& table_;
    ResourceRecipe recipe_;
    std::size_t signatures_ = 0;
};

Result<std::vector<ResourceRecipe>> read_table(std::string_view text, const std::string& name) {
    const auto parsed = parse_toml(text, name);
    if (!parsed) {
        return tl::unexpected(parsed.error());
    }
    std::vector<ResourceRecipe> recipes;
    for (const auto& [key, value] : *parsed) {
        if (std::find(std::begin(kOthers), std::end(kOthers), key.str()) != std::end(kOthers)) {
            continue;
        }
        const auto* const resources = value.as_array();
        if (key.str() != "resource" || resources == nullptr || !resources->is_homogeneous<toml::table>()) {
            return fail(toml_place(name, value.source()) + ": expected [[resource]], not " + std::string(key.str()));
        }
        for (const auto& resource : *resources) {
            auto recipe = RecipeReader(name, *resource.as_table()).read();
            if (!recipe) {
                return tl::unexpected(recipe.error());
            }
            recipes.push_back(std::move(*recipe));
            if (recipes.size() > kMaxRecipes) {
                return fail(name + ": more than " + std::to_string(kMaxRecipes) + " resources");
            }
        }
    }
    return parsed->empty() ? fail(name + ": no [[resource]]") : Result<std::vector<ResourceRecipe>>(std::move(recipes));
}

/// Limits alone go to the recipe of the same kind that has functions, where there is one.
void merge_limits(std::vector<ResourceRecipe>& recipes) {
    std::map<std::string, ResourceRecipe*> described;
    for (auto& recipe : recipes) {
        if (recipe.has_functions()) {
            described.emplace(recipe.kind, &recipe);
        }
    }
    for (const auto& recipe : recipes) {
        const auto to = described.find(recipe.kind);
        if (recipe.has_functions() || to == described.end()) {
            continue;
        }
        to->second->max_age_ns = recipe.max_age_ns != 0 ? recipe.max_age_ns : to->second->max_age_ns;
        to->second->max_idle_ns = recipe.max_idle_ns != 0 ? recipe.max_idle_ns : to->second->max_idle_ns;
    }
    std::erase_if(recipes,
                  [&](const ResourceRecipe& recipe) { return !recipe.has_functions() && described.contains(recipe.kind); });
}

} // namespace

Result<std::vector<ResourceRecipe>> parse_recipes(std::string_view text, const std::string& name) {
    return read_table(text, name).map_error(on_one_line);
}

Result<std::vector<ResourceRecipe>> read_recipes(const std::vector<std::string>& files) {
    std::vector<ResourceRecipe> all;
    std::map<std::pair<std::string, bool>, std::string> known; // kind, with functions -> where
    for (const auto& file : files) {
        const auto text = read_config_file(file);
        auto recipes = text ? parse_recipes(*text, file) : Result<std::vector<ResourceRecipe>>(tl::unexpected(text.error()));
        if (!recipes) {
            return recipes;
        }
        for (auto& recipe : *recipes) {
            const auto [there, fresh] = known.emplace(std::pair(recipe.kind, recipe.has_functions()), recipe.where);
            if (!fresh) {
                return fail(recipe.where + ": " + recipe.kind + " is described in " + there->second + " already");
            }
            all.push_back(std::move(recipe));
        }
    }
    merge_limits(all);
    return all.size() <= kMaxRecipes ? Result<std::vector<ResourceRecipe>>(std::move(all))
                                     : fail("more than " + std::to_string(kMaxRecipes) + " resources");
}

} // namespace memtrace
