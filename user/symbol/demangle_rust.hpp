// Rust's names, of both schemes: legacy ("_ZN...17h<hash>E") and v0 ("_R..."). Foreign bytes: output and time are bounded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace memtrace {

/// The path that `name` stands for, without hashes; nothing where it is no Rust name, is longer than kMaxMangled, or its path would be longer
/// than kMaxDemangled. One thread at a time.
std::optional<std::string> demangle_rust(std::string_view name);

} // namespace memtrace
