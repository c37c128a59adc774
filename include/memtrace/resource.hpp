// Resources that tell memtrace of themselves: cursors, connections, files, locks. Header-only; C++17 and newer; needs <sys/sdt.h>.
//
//     resource_handle<T>    owns one (memtrace/resource_handle.hpp)
//     resource_pool<T>      lends some of a kind, again and again (memtrace/resource_pool.hpp)
//     resource_manager      knows all that is held, ends it in order, and frees memory when a tracer asks (memtrace/resource_manager.hpp)
//
// Figures and the whole of the semantics: memtrace/RESOURCES.md.
#pragma once

#include "memtrace/resource_handle.hpp"
#include "memtrace/resource_manager.hpp"
#include "memtrace/resource_pool.hpp"
