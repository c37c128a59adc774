// The language of single signatures: NAME(ROLE, ...) [-> id] [for self] [CONDITION].
#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>
#include <optional>

#include "config/recipes.hpp"

namespace memtrace {

namespace {

constexpr std::uint8_t kMaxArguments = 12; // what the kernel half's cookie can number
constexpr std::string_view kUsdt = "usdt:";

struct Condition {
    std::string_view text;
    RecipeSuccess success;
};
constexpr Condition kConditions[] = {{"== 0", RecipeSuccess::zero},
                                     {"!= 0", RecipeSuccess::not_zero},
                                     {">= 0", RecipeSuccess::not_negative},
                                     {"> 0", RecipeSuccess::positive}};

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    const auto last = text.find_last_not_of(" \t");
    return first == std::string_view::npos ? std::string_view() : text.substr(first, last - first + 1);
}

/// Names of functions may be mangled, or of Rust or Objective-C: whatever a symbol table holds but what this language uses.
bool is_name(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("_$.").find(c) != std::string_view::npos;
    });
}

/// Up to `end`, which is taken too; everything where it does not occur.
std::string_view take_until(std::string_view& text, char end) {
    const auto at = text.find(end);
    const auto taken = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return taken;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) {
        return false;
    }
    text = trimmed(text.substr(prefix.size()));
    return true;
}

std::optional<std::uint8_t> small_number(std::string_view text) {
    text = trimmed(text);
    const bool is_hex = text.starts_with("0x");
    text.remove_prefix(is_hex ? 2 : 0);
    std::uint8_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, is_hex ? 16 : 10);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

/// What is wrong; empty: nothing.
using Problem = std::string;

/// unless(OFFSET & MASK)
Problem take_unless(std::string_view role, std::uint8_t number, RecipeSignature& signature) {
    auto rest = role.substr(role.find('(') + 1);
    rest = rest.substr(0, rest.find(')'));
    const auto offset = small_number(take_until(rest, '&'));
    const auto mask = small_number(rest);
    if (!role.ends_with(')') || !offset || !mask || *mask == 0) {
        return "\"" + std::string(role) + "\" is not unless(OFFSET & MASK), with numbers up to 255";
    }
    if (signature.unless != 0) {
        return "role \"unless\" twice";
    }
    signature.unless = number;
    signature.unless_at = *offset;
    signature.unless_mask = *mask;
    return "";
}

Problem take_role(std::string_view role, std::uint8_t number, RecipeSignature& signature) {
    if (role == "_") {
        return "";
    }
    if (role.starts_with("unless(")) {
        return take_unless(role, number, signature);
    }
    if (role == "id" || role == "*id") {
        if (signature.id != RecipeId::thread) {
            return "role \"id\" twice";
        }
        signature.id = role == "id" ? RecipeId::argument : RecipeId::out;
        signature.id_argument = number;
        return "";
    }
    auto* const place = role == "parent"  ? &signature.parent
                        : role == "bytes" ? &signature.bytes
                        : role == "name"  ? &signature.name_argument
                                          : nullptr;
    if (place == nullptr) {
        return "unknown role \"" + std::string(role) + "\" (known: id *id parent bytes name unless(OFFSET & MASK) _)";
    }
    if (*place != 0) {
        return "role \"" + std::string(role) + "\" twice";
    }
    *place = number;
    return "";
}

/// "id, _, name"
Problem take_arguments(std::string_view text, RecipeSignature& signature) {
    std::uint8_t number = 0;
    for (bool more = !trimmed(text).empty(); more;) {
        more = text.find(',') != std::string_view::npos;
        const auto role = trimmed(take_until(text, ','));
        if (++number > kMaxArguments) {
            return "more than " + std::to_string(kMaxArguments) + " arguments";
        }
        if (auto problem = take_role(role, number, signature); !problem.empty()) {
            return problem;
        }
    }
    return "";
}

/// What stands behind the arguments.
Problem take_rest(std::string_view rest, RecipeSignature& signature) {
    if (take_prefix(rest, "->")) {
        if (!take_prefix(rest, "id")) {
            return "\"->\" leads to id";
        }
        if (signature.id != RecipeId::thread) {
            return "role \"id\" twice";
        }
        signature.id = RecipeId::returned;
    }
    if (take_prefix(rest, "for self")) {
        if (signature.id != RecipeId::thread) {
            return "role \"id\" twice";
        }
        signature.id = RecipeId::self;
    }
    const auto* const condition =
        std::find_if(std::begin(kConditions), std::end(kConditions), [&](const auto& known) { return known.text == rest; });
    if (condition != std::end(kConditions)) {
        signature.success = condition->success;
    } else if (!rest.empty()) {
        return "\"" + std::string(rest) + "\" is none of \"-> id\", \"for self\", \"== 0\", \"!= 0\", \">= 0\" and \"> 0\"";
    }
    return signature.id == RecipeId::returned && signature.success == RecipeSuccess::zero ? "an id that is 0 is none" : "";
}

/// A probe is a point, not a call: nothing returns.
Problem check_probe(const RecipeSignature& signature) {
    const bool returns = signature.id == RecipeId::out || signature.id == RecipeId::returned;
    if (returns || signature.success != RecipeSuccess::always || signature.unless != 0) {
        return "a probe has no return: neither *id, -> id, unless nor a condition";
    }
    return "";
}

} // namespace

Result<RecipeSignature> parse_recipe_signature(std::string_view text) {
    const auto complain = [&](const Problem& problem) { return fail("\"" + std::string(text) + "\": " + problem); };
    RecipeSignature signature;
    auto rest = trimmed(text);
    const bool is_probe = take_prefix(rest, kUsdt);
    if (is_probe) {
        signature.provider = take_until(rest, ':');
    }
    const auto open = rest.find('(');
    // The last one: unless(...) has its own.
    const auto close = rest.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
        return complain(R"(expected NAME(ROLE, ...), or usdt:PROVIDER:NAME(ROLE, ...))");
    }
    signature.name = trimmed(rest.substr(0, open));
    if (!is_name(signature.name) || (is_probe && !is_name(signature.provider))) {
        return complain("\"" + signature.name + "\" cannot be the name of a function or probe");
    }
    auto problem = take_arguments(rest.substr(open + 1, close - open - 1), signature);
    problem = problem.empty() ? take_rest(trimmed(rest.substr(close + 1)), signature) : problem;
    problem = problem.empty() && is_probe ? check_probe(signature) : problem;
    if (!problem.empty()) {
        return complain(problem);
    }
    return signature;
}

} // namespace memtrace
