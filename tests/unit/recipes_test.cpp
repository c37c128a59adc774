// Recipes as they are written: what is understood, and that what is not is told in one line that says where it is.
#include "config/recipes.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace memtrace {
namespace {

RecipeSignature signature(std::string_view text) {
    const auto parsed = parse_recipe_signature(text);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
    return parsed.value_or(RecipeSignature{});
}

/// Behind the signature, which each complaint begins with.
std::string problem(const std::string& text) {
    const auto parsed = parse_recipe_signature(text);
    const auto begin = "\"" + text + "\": ";
    EXPECT_TRUE(!parsed && parsed.error().message.starts_with(begin)) << text;
    return parsed ? "none" : parsed.error().message.substr(begin.size());
}

std::string complaint(const std::string& text) {
    const auto parsed = parse_recipes(text, "a.toml");
    return parsed ? "none" : parsed.error().message;
}

constexpr const char* kHead = "[[resource]]\nkind = \"a\"\nacquire = \"f() -> id\"\nrelease = \"g(id)\"\n";

TEST(RecipeSignature, RolesAreArgumentsByNumber) {
    const auto prepare = signature("sqlite3_prepare_v2(parent, name, _, *id)");
    EXPECT_EQ(prepare.name, "sqlite3_prepare_v2");
    EXPECT_EQ(prepare.provider, "");
    EXPECT_EQ(prepare.parent, 1);
    EXPECT_EQ(prepare.name_argument, 2);
    EXPECT_EQ(prepare.id, RecipeId::out);
    EXPECT_EQ(prepare.id_argument, 4);
    EXPECT_EQ(prepare.success, RecipeSuccess::always);
    EXPECT_EQ(signature("f(_,_,_,_,_,_,_,_,_,_,_,bytes)").bytes, 12);
}

TEST(RecipeSignature, WhatIsReturnedMayBeTheIdOrSayWhetherThereIsOne) {
    EXPECT_EQ(signature("SSL_new(parent)->id").id, RecipeId::returned);
    EXPECT_EQ(signature("open(name, _) -> id >= 0").success, RecipeSuccess::not_negative);
    EXPECT_EQ(signature("pthread_create(*id, _, _, _) == 0").success, RecipeSuccess::zero);
    EXPECT_EQ(signature("trylock(id) != 0").success, RecipeSuccess::not_zero);
    EXPECT_EQ(signature("take(id) > 0").success, RecipeSuccess::positive);
}

TEST(RecipeSignature, WithoutAnIdItIsTheThread) {
    EXPECT_EQ(signature("usdt:postgresql:sort__done(_, bytes)").id, RecipeId::thread);
    EXPECT_EQ(signature("usdt:postgresql:sort__done(_, bytes)").provider, "postgresql");
    EXPECT_EQ(signature("__call_tls_dtors() for self").id, RecipeId::self);
}

TEST(RecipeSignature, ACallMayBeLeftOutByAFlag) {
    const auto create = signature("pthread_create(*id, unless(8 & 0x81), _, _) == 0");
    EXPECT_EQ(create.unless, 2);
    EXPECT_EQ(create.unless_at, 8);
    EXPECT_EQ(create.unless_mask, 0x81);
}

TEST(RecipeSignature, NonsenseIsSaid) {
    const std::string form = "expected NAME(ROLE, ...), or usdt:PROVIDER:NAME(ROLE, ...)";
    const std::string roles = " (known: id *id parent bytes name unless(OFFSET & MASK) _)";
    const std::string flag = " is not unless(OFFSET & MASK), with numbers up to 255";
    for (const auto* text : {"", "f", "f)id(", "usdt:b(id)"}) {
        EXPECT_EQ(problem(text), form);
    }
    EXPECT_EQ(problem("(id)"), "\"\" cannot be the name of a function or probe");
    EXPECT_EQ(problem("a b(id)"), "\"a b\" cannot be the name of a function or probe");
    for (const auto* text : {"f(id, id)", "f(id, *id)", "f(id) -> id", "f(id) for self", "f() -> id for self"}) {
        EXPECT_EQ(problem(text), "role \"id\" twice");
    }
    EXPECT_EQ(problem("f(name, name)"), "role \"name\" twice");
    EXPECT_EQ(problem("f(unless(1 & 1), unless(1 & 1))"), "role \"unless\" twice");
    EXPECT_EQ(problem("f(size)"), "unknown role \"size\"" + roles);
    EXPECT_EQ(problem("f(id,)"), "unknown role \"\"" + roles);
    EXPECT_EQ(problem("f(_,_,_,_,_,_,_,_,_,_,_,_,id)"), "more than 12 arguments");
    EXPECT_EQ(problem("f() -> name"), "\"->\" leads to id");
    EXPECT_EQ(problem("f() -> id == 0"), "an id that is 0 is none");
    EXPECT_EQ(problem("f(id) == 1"), "\"== 1\" is none of \"-> id\", \"for self\", \"== 0\", \"!= 0\", \">= 0\" and \"> 0\"");
    for (const std::string role : {"unless(8)", "unless(256 & 1)", "unless(8 & 0)", "unless(8 & x)", "unless(-1 & 1)"}) {
        EXPECT_EQ(problem("f(" + role + ")"), "\"" + role + "\"" + flag);
    }
}

TEST(RecipeSignature, AProbeReturnsNothing) {
    for (const auto* text : {"usdt:a:b(*id)", "usdt:a:b() -> id", "usdt:a:b(id) == 0", "usdt:a:b(unless(1 & 1), id)"}) {
        EXPECT_EQ(problem(text), "a probe has no return: neither *id, -> id, unless nor a condition");
    }
}

TEST(Recipes, AResourceHasWhatItSays) {
    const auto parsed =
        parse_recipes(std::string(kHead) + "object = [\"liba.so*\", \"a\"]\ntouch = [\"t(id)\"]\nshare = \"s(id)\"\n"
                                           "max_age = \"30s\"\nmax_idle = \"2m\"\ncomplete = true\nowned_by = \"user\"\n",
                      "dir/a.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    ASSERT_EQ(parsed->size(), 1U);
    const auto& recipe = parsed->front();
    EXPECT_EQ(recipe.kind, "a");
    EXPECT_EQ(recipe.objects, (std::vector<std::string>{"liba.so*", "a"}));
    EXPECT_EQ(recipe.acquire.front().name, "f");
    EXPECT_EQ(recipe.release.front().name, "g");
    EXPECT_EQ(recipe.touch.front().name, "t");
    EXPECT_EQ(recipe.share.front().name, "s");
    EXPECT_EQ(recipe.max_age_ns, 30'000'000'000U);
    EXPECT_EQ(recipe.max_idle_ns, 120'000'000'000U);
    EXPECT_TRUE(recipe.complete);
    EXPECT_TRUE(recipe.owned_by_user);
    EXPECT_EQ(recipe.where, "dir/a.toml:1");
}

TEST(Recipes, WhatIsNotSaidIsHarmless) {
    const auto parsed = parse_recipes(kHead, "a.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->front().objects, std::vector<std::string>{"*"});
    EXPECT_EQ(parsed->front().max_age_ns + parsed->front().max_idle_ns, 0U);
    EXPECT_FALSE(parsed->front().complete);
    EXPECT_FALSE(parsed->front().owned_by_user);
}

TEST(Recipes, WhatAProgramTellsOfItselfMayHaveLimits) {
    const auto parsed = parse_recipes("[[resource]]\nkind = \"cursor\"\nmax_age = \"2s\"\n", "a.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_FALSE(parsed->front().has_functions());
    EXPECT_EQ(parsed->front().max_age_ns, 2'000'000'000U);
    EXPECT_TRUE(parsed->front().complete);
    EXPECT_TRUE(parsed->front().objects.empty()) << "nothing is looked at for it";
    const auto more = [](const std::string& line) { return complaint("[[resource]]\nkind = \"a\"\nmax_idle = \"2s\"\n" + line); };
    for (const auto* line : {"object = \"b\"\n", "owned_by = \"user\"\n", "complete = true\n"}) {
        EXPECT_EQ(more(line), "a.toml:1: a has no functions: max_age and max_idle are all that it takes");
    }
    EXPECT_EQ(more("touch = \"t(id)\"\n"), "a.toml:1: a needs acquire and release");
    EXPECT_EQ(complaint("[[resource]]\nkind = \"a\"\n"), "a.toml:1: a needs acquire and release, or max_age or max_idle alone");
}

TEST(Recipes, ComplaintsSayWhere) {
    EXPECT_EQ(complaint(""), "a.toml: no [[resource]]");
    EXPECT_EQ(complaint("x = 1\n"), "a.toml:1: expected [[resource]], not x");
    EXPECT_EQ(complaint("\n[resource]\nkind = \"a\"\n"), "a.toml:2: expected [[resource]], not resource");
    EXPECT_EQ(complaint("resource = [1]\n"), "a.toml:1: expected [[resource]], not resource");
    EXPECT_EQ(complaint("[[resource]]\n"), "a.toml:1: a resource needs a kind");
    EXPECT_EQ(complaint("[[resource]]\nkind = \"a\"\nacquire = \"f() -> id\"\n"), "a.toml:1: a needs acquire and release");
    EXPECT_EQ(complaint("[[resource]]\nkind = \"a b\"\n"), "a.toml:1: a kind has letters, digits, - _ and ., at most 63");
    const auto behind = [](const std::string& line) { return complaint(kHead + line + "\n"); };
    EXPECT_EQ(behind("colour = 1"), "a.toml:5: unknown key \"colour\" (known: kind object acquire share touch release max_age "
                                    "max_idle complete owned_by)");
    EXPECT_EQ(behind("touch = 1"), "a.toml:5: touch is a text, or an array of texts");
    EXPECT_EQ(behind("touch = [1]"), "a.toml:5: touch is a text, or an array of texts");
    EXPECT_EQ(behind("touch = \"t(idd)\""),
              "a.toml:5: \"t(idd)\": unknown role \"idd\" (known: id *id parent bytes name unless(OFFSET & MASK) _)");
    EXPECT_EQ(behind("touch = \"t(*id)\""), "a.toml:5: \"t(*id)\": only acquire has *id, -> id, parent, bytes and name");
    EXPECT_EQ(behind("max_age = 30"), "a.toml:5: max_age is a text");
    EXPECT_EQ(behind("max_age = \"soon\""), "a.toml:5: max_age: \"soon\" is no duration: write 500ms, 5s, 10m, 2h or 1d");
    EXPECT_EQ(behind("max_idle = \"0s\""), "a.toml:5: max_idle is longer than nothing");
    EXPECT_EQ(behind("complete = \"yes\""), "a.toml:5: complete is true or false");
    EXPECT_EQ(behind("owned_by = \"me\""), "a.toml:5: owned_by is \"acquirer\" or \"user\"");
    EXPECT_EQ(behind("kind = \"b\"").substr(0, 9), "a.toml:5:"); // twice: toml++ has words for it
    EXPECT_EQ(behind("\"a\\nb\" = 1").find('\n'), std::string::npos);
}

/// Found by fuzzing, as what follows.
TEST(Recipes, LettersWhereNoneBelongAreSaid) {
    for (const auto& text : {std::string("p\xC4\xB8T"), std::string("\xC3\xA9 = 1"), std::string("a = 1e\"\xCF\x97s"),
                             std::string("a = 1 \x01"), std::string("a = \"\\\xC3\xA9\"")}) {
        const auto parsed = parse_recipes("# \xC3\xA9\nb = '\xC3\xA9'\n\n" + text, "a.toml");
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().message.rfind("a.toml:4: ", 0), 0U) << parsed.error().message;
        EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos);
    }
    EXPECT_TRUE(parse_recipes("[alerts]\n# \xC3\xA9\n[[alert]]\nname = \"\"\"\\\n\xC3\xA9\"\"\"\n", "a.toml"));
}

/// Found by fuzzing: the library asserted what the file is to decide.
TEST(Recipes, AHeaderThatBeginsWithNoKeyIsSaid) {
    for (const auto& text :
         {std::string("[\0esource]]\n", 12), std::string("[[\x01]]"), std::string("[+]"), std::string("[ =")}) {
        const auto parsed = parse_recipes(text, "a.toml");
        ASSERT_FALSE(parsed);
        EXPECT_EQ(parsed.error().message.rfind("a.toml:1", 0), 0U) << parsed.error().message;
    }
}

TEST(Recipes, MayStandBesideOtherThings) {
    const auto parsed = parse_recipes("[alerts]\ndefaults = true\n[[alert]]\nname = \"a\"\n" + std::string(kHead), "a.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->front().where, "a.toml:5");
    EXPECT_EQ(parse_recipes("[alerts]\ndefaults = true\n", "a.toml")->size(), 0U);
}

TEST(Recipes, WhatIsTooMuchIsRefused) {
    std::string many = "[[resource]]\nkind = \"a\"\nrelease = \"g(id)\"\nacquire = [";
    for (std::size_t i = 0; i < kMaxRecipeSignatures; ++i) {
        many += "\"f" + std::to_string(i) + "(id)\",";
    }
    EXPECT_EQ(complaint(many + "]\n"), "a.toml:3: more than 64 signatures");
    std::string resources;
    for (std::size_t i = 0; i <= kMaxRecipes; ++i) {
        resources += kHead;
    }
    EXPECT_EQ(complaint(resources), "a.toml: more than 128 resources");
}

TEST(Recipes, KindsOfSeveralFilesDiffer) {
    const auto directory = std::filesystem::temp_directory_path() / ("memtrace-recipes-" + std::to_string(::getpid()));
    std::filesystem::create_directory(directory);
    const auto path = (directory / "a.toml").string();
    std::ofstream(path) << kHead;
    const auto twice = read_recipes({path, path});
    std::filesystem::remove_all(directory);
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, path + ":1: a is described in " + path + ":1 already");
}

TEST(Recipes, LimitsAloneGoToTheRecipeOfTheKind) {
    const auto directory = std::filesystem::temp_directory_path() / ("memtrace-limits-" + std::to_string(::getpid()));
    std::filesystem::create_directory(directory);
    const auto recipe = (directory / "recipe.toml").string();
    const auto limits = (directory / "limits.toml").string();
    std::ofstream(recipe) << kHead << "max_age = \"5s\"\nmax_idle = \"5s\"\n";
    std::ofstream(limits) << "[[resource]]\nkind = \"a\"\nmax_age = \"2s\"\n[[resource]]\nkind = \"b\"\nmax_age = \"3s\"\n";
    const auto read = read_recipes({limits, recipe});
    const auto twice = read_recipes({limits, limits});
    std::filesystem::remove_all(directory);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->size(), 2U);
    EXPECT_EQ(read->at(0).kind, "b");
    EXPECT_EQ(read->at(1).acquire.front().name, "f");
    EXPECT_EQ(read->at(1).max_age_ns, 2'000'000'000U);
    EXPECT_EQ(read->at(1).max_idle_ns, 5'000'000'000U);
    EXPECT_FALSE(read->at(1).complete);
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, limits + ":1: a is described in " + limits + ":1 already");
}

TEST(Recipes, AFileThatIsNotThereIsSaid) {
    const auto none = read_recipes({"./no-such-recipe.toml"});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message, "cannot open the configuration ./no-such-recipe.toml: No such file or directory");
}

TEST(Recipes, ThoseThatComeWithMemtraceAreUnderstood) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator("scripts/recipes")) {
        if (entry.path().extension() == ".toml") {
            files.push_back(entry.path().string());
        }
    }
    EXPECT_GE(files.size(), 6U);
    const auto recipes = read_recipes(files);
    EXPECT_TRUE(recipes) << recipes.error().message;
}

} // namespace
} // namespace memtrace
