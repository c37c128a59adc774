// Names as people write them. The names come from the traced program's files, so hostile ones are bounded: see demangle.cpp.
#pragma once

#include <string>
#include <string_view>

namespace memtrace {

/// Longest mangled name that is tried; a longer one is shown as it is. (The library itself may give up earlier: GCC 12's at 1 KiB.)
constexpr std::size_t kMaxMangled = 4096;

/// Longest demangled name; what would be longer is shown mangled.
constexpr std::size_t kMaxDemangled = 32768;

/// The demangled form of an Itanium C++ name ("_Z..."), clones included ("f() [clone .isra.0]"), or of a Rust name, legacy or v0 ("_R..."),
/// without its hash. Any other name, or one that goes beyond the limits, comes back unchanged. One thread at a time.
std::string demangle(std::string_view name);

/// True for names that demangle() would try.
inline bool is_mangled(std::string_view name) {
    return name.starts_with("_Z") || name.starts_with("_R");
}

} // namespace memtrace
