// The scope that a function was declared in, from the DWARF: for those that have no linkage name to tell it (lambdas, members of types
// that are local to a function).
#pragma once

#include <elfutils/libdw.h>

#include <string>

namespace memtrace {

/// "namespace::Type::" or "outer_function::<lambda(int)>::"; empty at the top of a unit, and where the language has no scopes. Walks the
/// entries of the unit on the way to the function, but not what lies within others: the caller keeps the answer.
std::string dwarf_scope(Dwarf_Die function);

} // namespace memtrace
