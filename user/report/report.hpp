// The neutral report of one process at one moment: what every renderer (text, json, pprof, folded) and every reader (diff,
// metrics) works from. Plain values, built once, then only read: safe to share between threads. Its fields mirror the JSON schema
// "memtrace.snapshot/1"; what that schema leaves open is marked (added).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

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
    std::uint64_t allocated_bytes = 0;    ///< (added)
    std::uint64_t freed_bytes = 0;        ///< (added)
    double live_bytes_ci95[2] = {0, 0};   ///< (added) where nothing is sampled both equal live_bytes
    double live_objects_ci95[2] = {0, 0}; ///< (added)
    std::uint64_t unverified_bytes = 0;   ///< (added) of the live ones: may have been freed while frees were not watched
    std::uint64_t unverified_objects = 0; ///< (added)
    double oldest_age_s = 0;              ///< of its live blocks; 0 where there are none
    double growth_bytes_per_s = 0;        ///< robust slope of its live bytes
    std::int64_t grown_bytes = 0;         ///< (added) live bytes now less those at the report before; not in the JSON
    std::string verdict;                  ///< definite | probable | suspect | stable | unknown
    double confidence = 0;                ///< 0 to 1
    std::string evidence;                 ///< (added) the verdict's reason, in words
    std::string allocator;                ///< "libc", ...
    std::string function;                 ///< (added) the allocator's function called: "malloc", ...
    bool stack_truncated = false;         ///< (added)
    std::vector<ReportFrame> stack;       ///< innermost first
};

struct ReportProcess {
    std::int32_t pid = 0;
    std::string start_time; ///< RFC 3339
    std::string comm;
    std::string exe;
    std::vector<std::string> cmdline;
    std::uint64_t rss_bytes = 0;
    std::string state = "running"; ///< (added) running | exited | exec | detached
};

struct ReportOverhead {
    double ratio = 0;             ///< probe time / CPU time that the target had over the last interval
    std::optional<double> budget; ///< --max-overhead, where one is kept
    double trap_ns = 0;           ///< mean cost of one hit over the last interval: trap and program; before any, of an empty one
    double hits_per_s = 0;        ///< over the last interval
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
    std::map<std::string, std::uint64_t> counters; ///< (added) every counter
    ReportOverhead overhead;
    bool from_start = false;        ///< (added) followed since its first instruction
    std::uint64_t max_live = 0;     ///< (added) capacity of the live map, blocks
    std::uint64_t kernel_bytes = 0; ///< (added) memory of the kernel maps
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
};

struct ReportVerdict {
    std::string class_name = "unknown"; ///< JSON: class. leak | healthy | unknown
    std::string text;                   ///< one sentence
    std::map<std::string, std::string> evidence;
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
    std::vector<ReportSite> sites; ///< sorted by live_bytes, largest first, ties by id
    ReportPages pages;
};

} // namespace memtrace
