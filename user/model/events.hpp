// The decoded input stream. Everything that the model knows came in as one of these, from the kernel half on a live run or from
// a recording on a replay; so both give the same report. Values only: no descriptors, no pointers, no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "model/contract_events.hpp"
#include "model/page_events.hpp"

namespace memtrace {

/// The run as a whole; the first event of every stream.
struct RunStarted {
    std::string version;            ///< of the memtrace that traced
    std::uint64_t wall_ns = 0;      ///< when tracing became active
    std::uint64_t mono_ns = 0;      ///< the same moment on the monotonic clock
    std::uint64_t min_age_ns = 0;   ///< blocks younger than this are left out of aged figures
    std::uint64_t max_live = 0;     ///< capacity of the live map, in blocks
    std::uint64_t kernel_bytes = 0; ///< memory that the kernel maps take, all processes together
    double trap_ns = 0;             ///< measured cost of one hit of an empty entry probe on this machine, 0 = unknown
};

/// What is watched of an allocator: all; a sample of all; all or a sample, for short windows; nothing.
enum class TraceMode : std::uint8_t { exact, sampled, windowed, pages };
const char* trace_mode_name(TraceMode mode);

/// An address space to follow. After an exec the same pid gets a new id.
struct ProcessStarted {
    ProcessId process;
    std::int32_t pid = 0;
    std::uint64_t start_wall_ns = 0;  ///< when the process was started
    std::uint64_t attach_mono_ns = 0; ///< when following it began
    bool from_start = false;          ///< followed from its first instruction: nothing is older than the tracing
    std::string comm;
    std::string exe;
    std::vector<std::string> cmdline;
    std::vector<std::string> sources; ///< what is probed, for people: "libc.so.6: malloc, calloc, ..."
};

enum class EndReason : std::uint8_t { exited, exec, detached };

struct ProcessEnded {
    ProcessId process;
    EndReason reason = EndReason::exited;
};

/// Nothing is known of the process from here on: it has ended, its last figures have been told, and others want the room.
struct ProcessForgotten {
    ProcessId process;
};

/// A file mapped into a process.
struct ModuleMapped {
    ModuleId module;
    ProcessId process;
    std::string path;     ///< as the process sees it
    std::string build_id; ///< hex, empty where the file has none
};

/// One frame of a stack: an address relative to the file it lies in. No module: `offset` is the bare address.
struct Frame {
    ModuleId module;
    std::uint64_t offset = 0; ///< the ELF virtual address in the module of the return address
    friend auto operator<=>(const Frame&, const Frame&) = default;
};

/// A distinct call stack, innermost (the allocator's caller) first.
struct StackDefined {
    StackId stack;
    ProcessId process;
    bool truncated = false; ///< does not reach the thread's first function
    std::vector<Frame> frames;
};

/// What a frame is called: the function at that address, and those inlined into it, innermost first.
struct SymbolLine {
    std::string function; ///< demangled; empty = unknown
    std::string file;     ///< empty = unknown
    std::uint32_t line = 0;
    bool inlined = false;     ///< inlined into the next entry
    std::uint32_t column = 0; ///< from 1; 0 = unknown
    friend bool operator==(const SymbolLine&, const SymbolLine&) = default;
};

struct SymbolResolved {
    Frame frame;
    std::vector<SymbolLine> lines; ///< never empty
};

/// A call site.
struct SiteDefined {
    SiteId site;
    ProcessId process;
    StackId stack;
    std::string allocator; ///< "libc", "jemalloc", ...
    std::string function;  ///< the function called: "malloc", "realloc", ...
};

/// Totals of a site since tracing began, and the state of its live blocks. Where allocations are sampled: estimates.
struct SiteSample {
    SiteId site;
    std::uint64_t allocs = 0;
    std::uint64_t frees = 0;
    std::uint64_t allocated_bytes = 0;
    std::uint64_t freed_bytes = 0;
    std::uint64_t aged_objects = 0; ///< live and at least min_age old
    std::uint64_t aged_bytes = 0;
    std::uint64_t oldest_ns = 0;          ///< monotonic birth time of the oldest live block, 0 = no live block seen
    double live_bytes_variance = 0;       ///< of the estimate of what is live, bytes^2; 0 = exact
    double live_objects_variance = 0;     ///< objects^2
    std::uint64_t unverified_objects = 0; ///< of the live ones: may have been freed while frees were not watched
    std::uint64_t unverified_bytes = 0;
    /// Live blocks by the cohort they were born in (CohortsCut); empty = not read this time.
    std::vector<std::uint64_t> births = {};
};

/// The cohorts that births are told of from here on. Follows the samples of a tick at which they were read.
struct CohortsCut {
    ProcessId process;
    std::vector<std::uint64_t> starts; ///< monotonic, ascending; each lasts until the next begins, the last until now
};

/// What the process as a whole looks like, from /proc.
struct ProcessSample {
    ProcessId process;
    std::uint64_t rss_bytes = 0;
    std::uint64_t cpu_ns = 0; ///< CPU time of all its threads since it started
    double probe_ns = 0;      ///< estimate of the part of it that probes took, since following it began
};

/// What its memory is of, and what bounds it, from /proc and the cgroup; read now and then.
struct MemorySample {
    ProcessId process;
    std::uint64_t anon_bytes = 0; ///< resident: heap, stacks, anonymous mappings
    std::uint64_t file_bytes = 0; ///< resident: of mapped files
    std::uint64_t shmem_bytes = 0;
    std::uint64_t swap_bytes = 0;
    std::uint64_t stack_bytes = 0;      ///< resident: of threads, among anon_bytes
    bool cgroup_limit = false;          ///< of its cgroup or one above; false: of the machine
    std::uint64_t limit_bytes = 0;      ///< 0 = unknown
    std::uint64_t limit_used_bytes = 0; ///< by all that share the limit, without what can be reclaimed at once
};

/// A counter of the kernel half (bpf/counters.h), since tracing of this process began.
struct CounterSample {
    ProcessId process;
    std::string name;
    std::uint64_t value = 0;
    bool loss = false; ///< a figure of the report may be off because of it
};

/// How a process is traced from here on. Before the first one: exactly.
struct ModeChanged {
    ProcessId process;
    TraceMode mode = TraceMode::exact;
    std::uint64_t interval_bytes = 0; ///< mean distance of samples; 0 = every allocation is recorded
    double window_s = 0;              ///< windowed: allocations are watched for so long ...
    double period_s = 0;              ///< ... once in so long
    double budget = 0;                ///< share of the CPU time that tracing may take; 0 = none is kept
    std::string reason;               ///< a sentence; empty for what was asked for
};

/// What memtrace itself takes, and what it does to take no more (app/own_budget.hpp).
struct CollectorSample {
    double cpu_ratio = 0;            ///< of a core, over the last minute; start-up is left out
    double cpu_budget = 0;           ///< 0 = none
    std::uint64_t rss_bytes = 0;     ///< of its process
    std::uint64_t memory_budget = 0; ///< 0 = none
    double interval_s = 0;           ///< from report to report, now
    double tick_s = 0;               ///< from tick to tick
    double ages_s = 0;               ///< from one look at the ages of all live blocks to the next
    std::uint64_t sites_listed = 0;  ///< of a process in a periodic report, at most
    std::uint64_t max_sites = 0;     ///< call sites that are told apart, of all processes; 0 = as many as the kernel half holds
    std::uint64_t forgotten = 0;     ///< processes that ended and are in no report any more
    std::string reason;              ///< a sentence; empty where nothing is given up
};

/// All samples above belong to this moment. The model closes its interval.
struct TickEnded {
    std::uint64_t wall_ns = 0;
    std::uint64_t mono_ns = 0;
};

/// What `memtrace replay` and the live text report both show, at the point in the stream where it was shown.
struct ReportDue {
    bool last = false; ///< nothing follows
};

using Event = std::variant<RunStarted, ProcessStarted, ProcessEnded, ModuleMapped, StackDefined, SymbolResolved, SiteDefined,
                           SiteSample, ProcessSample, CounterSample, ModeChanged, TickEnded, ReportDue, PagesStarted,
                           PageSiteDefined, PageSiteSample, PageSample, ContractStarted, ObjectTold, ReferenceTold, ResourceTold,
                           PoolTold, CleanupTold, ThreadEnded, HandlePlaced, StorageTold, ResourceKindDefined, ResourcesStarted,
                           CohortsCut, MemorySample, ProcessForgotten, CollectorSample, ResourceThresholds>;

} // namespace memtrace
