// The neutral report of one process at one moment: what every renderer (text, json, pprof, folded) and every reader (diff,
// metrics) works from. Plain values, built once, then only read: safe to share between threads. Its fields mirror the JSON schema
// "memtrace.snapshot/1"; what that schema leaves open is marked (added).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analyze/alerts.hpp"

namespace memtrace {

struct ReportFrame {
    std::string function; ///< demangled; empty = unknown
    std::string file;     ///< empty = unknown
    std::uint32_t line = 0;
    std::string module;       ///< path of the mapped file as the process sees it; empty = not in a file
    std::uint64_t offset = 0; ///< ELF virtual address in the module (the bare address where there is no module)
    bool inlined = false;     ///< inlined into the next frame
    std::string build_id;     ///< (added) hex
    std::uint32_t column = 0; ///< (added) from 1; 0 = unknown
    friend bool operator==(const ReportFrame&, const ReportFrame&) = default;
};

struct ReportSite {
    std::string id; ///< stable between runs of the same binaries: 16 hex digits, a hash of allocator, modules and offsets
    std::uint64_t live_bytes = 0;
    std::uint64_t live_objects = 0;
    std::uint64_t allocs = 0;
    std::uint64_t frees = 0;
    std::uint64_t allocated_bytes = 0;          ///< (added)
    std::uint64_t freed_bytes = 0;              ///< (added)
    double live_bytes_ci95[2] = {0, 0};         ///< (added) where nothing is sampled both equal live_bytes
    double live_objects_ci95[2] = {0, 0};       ///< (added)
    std::uint64_t unverified_bytes = 0;         ///< (added) of the live ones: may have been freed while frees were not watched
    std::uint64_t unverified_objects = 0;       ///< (added)
    double oldest_age_s = 0;                    ///< of its live blocks; 0 where there are none
    double growth_bytes_per_s = 0;              ///< robust slope of its live bytes, since its last change
    double growth_bytes_per_s_ci95[2] = {0, 0}; ///< (added)
    double p_value = 1;                         ///< (added) of that growth, corrected for the number of sites
    std::string shape = "noise";                ///< (added) noise | linear | saturating | step | sawtooth
    std::int64_t grown_bytes = 0;               ///< (added) live bytes now less those at the report before; not in the JSON
    std::string verdict;                        ///< definite | probable | suspect | cache-like | stable | unknown
    double confidence = 0;                      ///< 0 to 1
    std::string evidence;                       ///< (added) the verdict's reason, in words
    std::string allocator;                      ///< "libc", ...
    std::string function;                       ///< (added) the allocator's function called: "malloc", ...
    bool stack_truncated = false;               ///< (added)
    std::vector<ReportFrame> stack;             ///< innermost first
};

struct ReportProcess {
    std::int32_t pid = 0;
    std::string start_time; ///< RFC 3339
    std::string comm;
    std::string exe;
    std::vector<std::string> cmdline;
    std::uint64_t rss_bytes = 0;
    std::string state = "running"; ///< (added) running | exited | exec | detached
    std::uint64_t anon_bytes =
        0; ///< (added) resident: heap, stacks, anonymous mappings. These are read now and then; 0 = not yet
    std::uint64_t file_bytes = 0;  ///< (added) resident: of mapped files
    std::uint64_t shmem_bytes = 0; ///< (added)
    std::uint64_t swap_bytes = 0;  ///< (added)
    std::uint64_t stack_bytes = 0; ///< (added) resident: of threads, among anon_bytes
};

struct ReportOverhead {
    double ratio = 0;             ///< probe time / CPU time that the target had over the last interval
    std::optional<double> budget; ///< --max-overhead, where one is kept
    double trap_ns = 0;           ///< mean cost of one hit over the last interval: trap and program; before any, of an empty one
    double hits_per_s = 0;        ///< over the last interval
};

/// (added) What memtrace itself takes, and what it gives up to take no more.
struct ReportCollector {
    double cpu_ratio = 0;  ///< of a core
    double cpu_budget = 0; ///< 0: none is kept
    std::uint64_t rss_bytes = 0;
    std::uint64_t memory_budget = 0; ///< 0: none is kept
    double interval_s = 0;           ///< from report to report
    double tick_s = 0;               ///< from tick to tick
    double ages_s = 0;               ///< from one look at the ages of all live blocks to the next
    std::uint64_t sites_listed = 0;  ///< of a process, in a periodic report, at most
    std::uint64_t max_sites = 0;     ///< that are told apart in all processes; 0: what the kernel half holds
    std::uint64_t forgotten = 0;     ///< processes that ended and are in no report any more
    std::string reason;              ///< what it gives up and why; empty: nothing
};

struct ReportCoverage {
    std::string mode = "exact";              ///< exact | sampled | windowed | pages
    std::uint64_t sample_interval_bytes = 0; ///< now; 0 where every allocation is recorded
    double window_s = 0;                     ///< (added) windowed: allocations are watched for so long ...
    double period_s = 0;                     ///< (added) ... once in so long
    std::string mode_reason;                 ///< (added) why it is not exact; empty: as asked for
    std::vector<std::string> sources;
    std::uint64_t unmatched_frees = 0;
    std::map<std::string, std::uint64_t> lost;     ///< counters that mean loss, those that are not zero
    std::uint64_t lost_now = 0;                    ///< all of them together, since the report before; not in the JSON
    std::map<std::string, std::uint64_t> counters; ///< (added) every counter
    ReportOverhead overhead;
    bool from_start = false;                  ///< (added) followed since its first instruction
    std::uint64_t max_live = 0;               ///< (added) capacity of the live map, blocks
    std::uint64_t kernel_bytes = 0;           ///< (added) memory of the kernel maps
    std::optional<ReportCollector> collector; ///< (added)
};

struct ReportTotals {
    std::uint64_t live_bytes = 0;
    std::uint64_t live_objects = 0;
    std::uint64_t allocs = 0;
    std::uint64_t frees = 0;
    std::uint64_t allocated_bytes = 0;
    std::uint64_t freed_bytes = 0;
    double live_bytes_ci95[2] = {0, 0};   ///< exact and nothing lost: both equal live_bytes
    std::int64_t grown_bytes = 0;         ///< (added) since the report before; not in the JSON
    double live_objects_ci95[2] = {0, 0}; ///< (added)
    std::uint64_t unverified_bytes = 0;   ///< (added) see ReportSite
    std::uint64_t unverified_objects = 0; ///< (added)
    std::uint64_t other_sites = 0;        ///< (added) call sites that are not listed; these are not in the JSON where it is 0
    std::uint64_t other_live_bytes = 0;   ///< (added) of them, in the totals above
    std::uint64_t other_live_objects = 0; ///< (added)
};

struct ReportVerdict {
    std::string class_name =
        "unknown";    ///< JSON: class. leak | fragmentation | cache growth | mapped files | stacks | healthy | unknown
    std::string text; ///< one sentence
    std::map<std::string, std::string> evidence;
};

/// (added) How long until the process meets what bounds its memory, if it grows on as it does.
struct ReportForecast {
    std::string limit; ///< cgroup | machine; empty: not known, and nothing else is said
    std::uint64_t limit_bytes = 0;
    std::uint64_t used_bytes = 0;    ///< by all that share it
    double growth_bytes_per_s = 0;   ///< of the process; 0: it does not grow
    double seconds = 0;              ///< where it grows
    double seconds_ci95[2] = {0, 0}; ///< from the interval of the growth; the second is infinite where that reaches to zero
};

/// (added) How the process's memory has been since it was attached to, in up to 64 points of equal distance. Parallel; not in the JSON.
struct ReportHistory {
    std::vector<double> seconds; ///< since attaching
    std::vector<double> live_bytes;
    std::vector<double> rss_bytes;
};

/// A site of the pages tier: a place in the code by which the process's memory grew.
struct ReportPageSite {
    std::string id;                   ///< 16 hex digits, as ReportSite's
    std::string kind;                 ///< fault | mmap | brk
    std::uint64_t bytes = 0;          ///< touched first there; or mapped there, less what has been unmapped since
    std::uint64_t returned_bytes = 0; ///< mmap, brk: mapped there and unmapped since
    std::uint64_t events = 0;
    double bytes_per_s = 0; ///< growth of `bytes` since the report before
    bool stack_truncated = false;
    std::vector<ReportFrame> stack; ///< innermost first: the instruction that touched the memory or made the call
};

/// (added) What the pages tier saw since it follows the process.
struct ReportPages {
    std::vector<std::string> sources;  ///< empty: it did not follow the process, and nothing else is said
    std::uint64_t faulted_bytes = 0;   ///< anonymous and shared memory that became resident
    std::uint64_t returned_bytes = 0;  ///< ... that ceased to be
    std::uint64_t mapped_bytes = 0;    ///< anonymous address space mapped
    std::uint64_t unmapped_bytes = 0;  ///< of that, unmapped since
    std::vector<ReportPageSite> sites; ///< sorted by bytes, largest first, ties by id; the largest of those that hold something
    std::uint64_t other_sites = 0;     ///< not listed
    std::uint64_t other_bytes = 0;
};

struct ReportObject {
    std::string id; ///< its address: "0x5581c0de"
    std::string type;
    std::uint64_t bytes = 0;
    std::uint64_t strong = 0; ///< references
    std::uint64_t weak = 0;
};

/// A reference by which one object of a cycle keeps the next one alive.
struct ReportCycleHandle {
    std::string from;   ///< id of the object that holds it
    std::string to;     ///< id of the object that it refers to
    std::string handle; ///< its address; empty: none, the one object lies in the other
    std::vector<ReportFrame> acquired_at;
};

/// Objects that keep but each other alive. Cycles alike (types, and where their references were taken) are one entry.
struct ReportCycle {
    std::vector<ReportObject> objects;      ///< those of one of the cycles, the first kMaxCycleObjects of them
    std::uint64_t bytes = 0;                ///< of all objects of that one
    std::uint64_t other_objects = 0;        ///< (added) not listed
    std::vector<ReportCycleHandle> handles; ///< (added) the shortest way round, as far as it is listed
    std::uint64_t retained_objects = 0;     ///< (added) alive only because of it, besides its own
    std::uint64_t retained_bytes = 0;       ///< (added)
    std::uint64_t count = 1;                ///< (added) cycles like this one
    std::uint64_t total_bytes = 0;          ///< (added) of all of them, with what hangs on them
    std::string verdict;                    ///< (added) definite; suspect: events were lost
};

struct ReportReferenceError {
    std::string kind;   ///< reference_error_name(): double_release, lost_release, ...
    std::string object; ///< its id
    std::vector<ReportFrame> acquired_at;
    std::vector<ReportFrame> released_at; ///< or where the object or the handle ended
    std::vector<ReportFrame> before_at;   ///< (added) double_release: the release before; block_kept: the destruction
    std::string type;                     ///< (added)
    std::uint64_t bytes = 0;              ///< (added) of the object
    std::string handle;                   ///< (added) its address; empty: of no single one
    std::uint64_t count = 1;              ///< (added) errors like this one
    std::string verdict;                  ///< (added) definite | probable | suspect
    std::string evidence;                 ///< (added) in words
};

struct ReportReferences {
    bool followed = false;           ///< (added) the program tells of its objects or resources; not in the JSON where it does not
    std::uint64_t objects = 0;       ///< that are alive; where objects are sampled, as `references`: an estimate
    std::uint64_t edges = 0;         ///< from one to another, of the sample
    std::vector<ReportCycle> cycles; ///< by total_bytes, largest first
    std::vector<ReportReferenceError> errors;      ///< the most certain first, then by count
    std::uint64_t references = 0;                  ///< (added) strong and weak ones that are held
    std::uint64_t sampled_one_in = 1;              ///< (added) objects
    double objects_ci95[2] = {0, 0};               ///< (added) equal to objects where all are heard of
    double references_ci95[2] = {0, 0};            ///< (added)
    std::vector<std::string> sources;              ///< (added)
    std::uint64_t other_cycles = 0;                ///< (added) not listed
    std::uint64_t other_errors = 0;                ///< (added)
    std::map<std::string, std::uint64_t> counters; ///< (added) what could not be kept or made sense of, where not zero
};

struct ReportResource {
    std::string kind;
    std::string id;
    std::string state = "live"; ///< live | leaked: who could give it back has gone | overdue: beyond a limit of its kind
    double age_s = 0;
    double idle_s = 0; ///< since it was last used
    std::uint64_t bytes = 0;
    std::string parent; ///< "kind id" of the resource that it belongs to, or its id alone; empty: none
    std::string name;
    std::vector<ReportFrame> acquired_at;
    std::string verdict;  ///< definite | probable | suspect | stable
    std::string evidence; ///< (added)
    std::int32_t tid = 0; ///< (added) of the thread that used it last
};

/// (added) All resources of a kind.
struct ReportResourceKind {
    std::string kind;
    std::uint64_t live = 0;
    std::uint64_t leaked = 0; ///< of those
    std::uint64_t bytes = 0;  ///< of the live ones
    std::uint64_t acquired = 0;
    std::uint64_t released = 0;
    double lifetime_p50_s = 0; ///< of those released
    double lifetime_p99_s = 0;
    double idle_p99_s = 0;   ///< longest time between two uses of one, those released
    double growth_per_s = 0; ///< robust slope of the number that is live, since its last change
    double growth_per_s_ci95[2] = {0, 0};
    double p_value = 1; ///< of that growth, corrected for the number of kinds
};

/// Whether the number of a kind rises, and not by chance.
inline bool grows(const ReportResourceKind& kind) {
    return kind.growth_per_s > 0 && kind.p_value < 0.01;
}

/// (added) Something was done to a resource that cannot be done any more.
struct ReportResourceError {
    std::string error; ///< double_release | use_after_release
    std::string kind;
    std::string id;
    std::uint64_t count = 1;
    std::vector<ReportFrame> acquired_at;
    std::vector<ReportFrame> released_at;
    std::vector<ReportFrame> used_at; ///< where it was used or given back again
    std::string verdict;
};

/// (added)
struct ReportPool {
    std::string name;
    std::string id; ///< its address
    std::uint64_t in_use = 0;
    std::uint64_t limit = 0;            ///< 0: none
    std::uint64_t peak = 0;             ///< most that were in use
    std::uint64_t waits = 0;            ///< somebody waited, or was refused
    std::uint64_t waits_now = 0;        ///< since the report before; not in the JSON
    std::vector<ReportFrame> waited_at; ///< the last one
    std::string verdict;                ///< definite: exhausted | suspect | stable
    std::string evidence;
};

/// (added) An emergency cleanup that a tracer asked for.
/// A place in the code that acquires resources of one kind.
struct ReportResourceSite {
    std::string kind;
    std::uint64_t held = 0;
    std::uint64_t acquired = 0;
    std::uint64_t released = 0;
    double growth_per_s = 0; ///< robust slope of `held`
    std::string verdict;     ///< as ReportSite's
    double confidence = 0;   ///< 0 to 1
    std::string evidence;
    std::vector<std::string> names;       ///< of some that it holds, each once; only where it grows
    std::vector<ReportFrame> acquired_at; ///< empty: not known, as of those that were there before
};

struct ReportCleanup {
    std::string level; ///< low | high | critical
    bool ended = false;
    std::uint64_t wanted_bytes = 0;
    std::uint64_t freed_bytes = 0;
    std::uint64_t released = 0; ///< resources
    double duration_s = 0;
    double age_s = 0; ///< since it began
};

/// What the program tells of its resources: the schema's resources[], and what was added beside it.
struct ReportResources {
    std::vector<ReportResource> listed; ///< the worst first: leaked, then by age beyond what is usual, then by age
    std::uint64_t other = 0;            ///< not listed
    std::uint64_t other_bytes = 0;
    std::vector<ReportResourceKind> kinds; ///< by name
    std::vector<ReportResourceSite> sites; ///< the worst first, then by number held
    std::uint64_t other_sites = 0;         ///< not listed, that hold something
    std::uint64_t descriptors = 0;         ///< held
    std::uint64_t descriptor_limit = 0;    ///< of the process; 0 = not known
    std::vector<ReportResourceError> errors;
    std::uint64_t other_errors = 0;
    std::vector<ReportPool> pools;                 ///< by name
    std::vector<ReportCleanup> cleanups;           ///< the newest last
    std::map<std::string, std::uint64_t> counters; ///< what could not be kept or made sense of, where not zero
};

struct Report {
    std::string tool_version;
    std::string time;               ///< RFC 3339
    std::uint64_t time_unix_ns = 0; ///< the same moment; not in the JSON
    double duration_s = 0;          ///< since the process was attached to
    double interval_s = 0;          ///< since the report before; not in the JSON
    double min_age_s = 0;           ///< (added) site and total live figures count blocks at least this old
    ReportProcess process;
    ReportCoverage coverage;
    ReportTotals totals;
    ReportVerdict verdict;
    ReportForecast forecast;
    ReportHistory history;
    std::vector<ReportSite> sites; ///< sorted by live_bytes, largest first, ties by id
    ReportPages pages;
    ReportReferences references;
    ReportResources resources;
    std::vector<Alert> alerts; ///< that pend, fire or are silenced: by rule
};

} // namespace memtrace
