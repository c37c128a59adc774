// Names of types for people, without RTTI: what the compiler itself calls them. gcc and clang differ in details ("{anonymous}::" and
// "(anonymous namespace)::").
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace memtrace {
namespace detail {

/// Says "... [with T = NAME]" (gcc) or "... [T = NAME]" (clang). A typedef in this signature would add more to gcc's text.
template <class T>
constexpr const char* pretty_type() noexcept {
    return __PRETTY_FUNCTION__;
}

constexpr std::string_view find_type_name(std::string_view pretty) noexcept {
    constexpr std::string_view kBefore = "T = ";
    const auto begin = pretty.find(kBefore) + kBefore.size();
    return pretty.substr(begin, pretty.rfind(']') - begin);
}

/// The name alone, with a NUL: tracers read it as a string. In the program only where something refers to it.
template <class T>
struct type_name_text {
    static constexpr std::string_view kName = find_type_name(pretty_type<T>());

    static constexpr std::array<char, kName.size() + 1> copy() noexcept {
        std::array<char, kName.size() + 1> text{};
        for (std::size_t i = 0; i < kName.size(); ++i) {
            text[i] = kName[i];
        }
        return text;
    }

    static constexpr std::array<char, kName.size() + 1> kText = copy();
};

} // namespace detail

/// Lives as long as the program.
template <class T>
constexpr const char* type_name() noexcept {
    return detail::type_name_text<T>::kText.data();
}

} // namespace memtrace
