#include "symbol/dwarf_scope.hpp"

#include <dwarf.h>

#include <cstring>

namespace memtrace {
namespace {

constexpr int kMaxNesting = 64; // of scopes: libdw's own search has no limit, and recurses
constexpr int kMaxOrigins = 8;  // from an instance to what it is one of, from a definition to its declaration
constexpr int kMaxOutside = 4;  // members defined outside of their class, each local to another
constexpr std::size_t kMaxScope = 4096;

bool has_scopes(int language) {
    switch (language) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
    case DW_LANG_Rust:
    case DW_LANG_D:
        return true;
    default:
        return false;
    }
}

/// The entry that stands where the function was declared.
Dwarf_Die declaration_of(Dwarf_Die function) {
    for (int i = 0; i < kMaxOrigins; ++i) {
        Dwarf_Attribute value;
        Dwarf_Die next;
        if ((dwarf_attr(&function, DW_AT_abstract_origin, &value) == nullptr &&
             dwarf_attr(&function, DW_AT_specification, &value) == nullptr) ||
            dwarf_formref_die(&value, &next) == nullptr) {
            break;
        }
        function = next;
    }
    return function;
}

/// The child of `parent` that `target` is, or lies in: entries are in the order of their offsets, children right behind a parent.
bool child_towards(Dwarf_Die parent, Dwarf_Off target, Dwarf_Die& found) { // `found` may be the parent
    Dwarf_Die child;
    bool any = false;
    for (int status = dwarf_child(&parent, &child); status == 0 && dwarf_dieoffset(&child) <= target;
         status = dwarf_siblingof(&child, &child)) {
        found = child;
        any = true;
    }
    return any;
}

/// How `scope` is written before "::"; empty for what is no scope of names.
std::string scope_name(Dwarf_Die scope, bool of_call_operator) {
    const char* name = dwarf_diename(&scope);
    switch (dwarf_tag(&scope)) {
    case DW_TAG_namespace:
        return name != nullptr ? name : "(anonymous namespace)";
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
        return name != nullptr ? name : of_call_operator ? "{lambda}" : "{unnamed type}";
    case DW_TAG_subprogram:
        return name != nullptr ? name : "";
    default:
        return "";
    }
}

std::string scope_within(Dwarf_Die function, int budget) {
    Dwarf_Die declaration = declaration_of(function);
    Dwarf_Die scope;
    if (budget == 0 || dwarf_diecu(&declaration, &scope, nullptr, nullptr) == nullptr || !has_scopes(dwarf_srclang(&scope))) {
        return "";
    }
    const char* own_name = dwarf_diename(&declaration);
    const bool call_operator = own_name != nullptr && std::strcmp(own_name, "operator()") == 0;
    const Dwarf_Off target = dwarf_dieoffset(&declaration);
    std::string text;
    for (int i = 0; i < kMaxNesting && text.size() <= kMaxScope && child_towards(scope, target, scope); ++i) {
        if (dwarf_dieoffset(&scope) == target) {
            return text;
        }
        Dwarf_Die named = declaration_of(scope);
        if (dwarf_tag(&scope) == DW_TAG_subprogram && named.addr != scope.addr) { // a member, defined outside of its class
            text = scope_within(scope, budget - 1);
        }
        const auto name = scope_name(named, call_operator);
        text += name.empty() ? "" : name + "::";
    }
    return "";
}

} // namespace

std::string dwarf_scope(Dwarf_Die function) {
    return scope_within(function, kMaxOutside);
}

} // namespace memtrace
