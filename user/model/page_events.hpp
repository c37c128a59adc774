// The events of the pages tier: part of the stream of model/events.hpp, and as they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace memtrace {

/// The pages tier follows the process too: nothing else is told of pages where this is not.
struct PagesStarted {
    ProcessId process;
    std::vector<std::string> sources; ///< what is seen, for people
};

/// What a site of the pages tier does to a process's memory.
enum class PageKind : std::uint8_t {
    fault, ///< touches memory that nothing was behind
    mmap,  ///< maps anonymous memory (mmap, mremap)
    brk    ///< moves the end of the heap
};

struct PageSiteDefined {
    PageSiteId site;
    ProcessId process;
    StackId stack; ///< none: what found no room in the kernel half's tables
    PageKind kind = PageKind::fault;
};

/// Totals of a site of the pages tier since tracing began.
struct PageSiteSample {
    PageSiteId site;
    std::uint64_t bytes = 0;          ///< touched or mapped
    std::uint64_t returned_bytes = 0; ///< of those mapped: unmapped since, by anybody. Not known of touched ones
    std::uint64_t events = 0;
};

/// Totals of a process, as the pages tier sees it, since tracing began.
struct PageSample {
    ProcessId process;
    std::uint64_t faulted_bytes = 0;  ///< anonymous and shared memory that became resident
    std::uint64_t returned_bytes = 0; ///< ... that ceased to be
    std::uint64_t mapped_bytes = 0;   ///< anonymous address space, by mmap, mremap and brk
    std::uint64_t unmapped_bytes = 0; ///< of that, given back since
};

} // namespace memtrace
