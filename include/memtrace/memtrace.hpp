// Everything that an application can tell memtrace with. Header-only; needs C++17 and <sys/sdt.h>. README.md beside it.
#pragma once

#include "memtrace/allocator.hpp"
#include "memtrace/probes.h"
#include "memtrace/resource.hpp"
#include "memtrace/tracked_ptr.hpp"
#include "memtrace/tracked_vector.hpp"
