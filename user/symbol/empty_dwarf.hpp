// A DWARF file with nothing in it.
#pragma once

#include <elfutils/libdw.h>

namespace memtrace {

/// Made once, lives until the program ends; never null but for want of memory. One thread.
Dwarf* empty_dwarf();

} // namespace memtrace
