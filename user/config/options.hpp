// What the user asked for: one plain struct, filled from the command line. See architecture.md's command line, which is fixed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/schedule.hpp"
#include "config/daemon_config.hpp"

namespace memtrace {

enum class Command : std::uint8_t { trace, report, diff, probes, doctor, replay, cleanup, daemon, history };

/// Exit statuses.
constexpr int kExitFine = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitFound = 3;

struct Options {
    Command command = Command::trace;

    // What to trace: exactly one of these.
    std::vector<std::int32_t> pids;
    std::string comm;
    std::string cgroup;
    std::vector<std::string> launch; ///< program and arguments

    bool follow = false;
    std::optional<std::uint64_t> duration_ns; ///< none = until stopped
    std::uint64_t interval_ns = 5'000'000'000;
    bool interval_given = false;
    unsigned top = 10;
    std::uint64_t min_age_ns = 0;
    enum class Sample : std::uint8_t { automatic, exact, fixed };
    Sample sample = Sample::automatic;
    std::uint64_t sample_interval = 0;       ///< bytes, where fixed
    double max_overhead = 0.05;              ///< share of the target's CPU time that automatic keeps to
    double own_cpu = 0.01;                   ///< share of a core that memtrace itself may take; 0 = any
    std::optional<std::uint64_t> own_memory; ///< bytes that it may hold; 0 = any; none: as the machine's size suggests
    std::string allocator = "auto";
    std::vector<std::string> configs; ///< files of recipes, or bare names of those that come with memtrace
    /// What the kernel gives out that is followed: bits of 1 descriptors, 2 threads, 4 timers, as mt_resource_family. 0 = nothing.
    std::uint32_t resources = 7;
    bool resources_given = false;
    std::uint32_t max_processes = 4'096; ///< followed at once
    std::uint32_t max_live = 1'000'000;
    unsigned max_frames = 64;
    std::string attach = "auto"; ///< auto | uprobe_session | uprobe_multi | perf_event

    std::string output = "text"; ///< text | json
    std::string out;             ///< file that always holds the newest report; empty = stdout
    std::string snapshot_dir;
    std::uint64_t snapshot_interval_ns = 60'000'000'000;
    bool snapshot_by_interval = true; ///< false: only at moments of the calendar
    std::vector<Schedule> snapshot_at;
    std::vector<std::string> snapshot_formats{"json"};
    unsigned snapshot_keep = 0;
    std::string listen;             ///< address and port to serve metrics and the page on; empty = nothing is served
    std::string listen_token_file;  ///< empty = no token is asked for
    std::string listen_certificate; ///< PEM files; empty = no TLS
    std::string listen_key;
    std::string history; ///< file; empty = none is written
    std::uint64_t history_keep_ns = 30ull * 86'400 * 1'000'000'000;
    std::uint64_t history_size = 1ull << 30; ///< bytes
    std::string push_profiles;               ///< address of a store of profiles; empty = nothing is pushed
    std::uint64_t push_interval_ns = 15'000'000'000;
    std::string push_header_file;         ///< empty = none
    std::vector<std::string> push_labels; ///< NAME=VALUE
    std::string record;
    std::string fail_on;    ///< empty | suspect | probable | definite
    std::string symbols;    ///< directory of programs and debug files; empty = none
    std::string debuginfod; ///< servers to ask for debug files, with blanks between them; empty = nobody is asked
    std::uint64_t debuginfod_timeout_ns = 30'000'000'000; ///< for one file, and for the last report's wait
    bool quiet = false;
    bool verbose = false;

    // daemon
    std::vector<TargetConfig> targets;
    std::vector<std::string> command_line; ///< as parsed, to read the configuration again
    /// All options given, on the command line or in [trace], by their long names: what has changed is seen in them.
    std::map<std::string, std::vector<std::string>> settings;

    // cleanup
    unsigned level = 2; ///< 1 low, 2 high, 3 critical
    std::uint64_t timeout_ns = 10'000'000'000;

    // history, and diff of one: times as parse_time() takes them; empty = from the beginning, to the end
    std::string since;
    std::string until;
    bool show_sites = false;
    bool show_alerts = false;
    bool show_snapshots = false;

    // report, diff, replay
    std::vector<std::string> files;
    std::string format = "text";
};

/// The options that memtrace daemon knows, by their long names.
bool is_daemon_option(const std::string& name);

/// What came of parsing: options to run with, or text to print (help, version) and the status to leave with.
struct ParsedCommandLine {
    std::optional<Options> options;
    std::string text;
    int exit_status = kExitFine;
};

/// With the configuration of the daemon, where that is asked for.
ParsedCommandLine parse_command_line(int argc, const char* const* argv);

/// What options mean that go together, or each alone.
enum class OptionRules : std::uint8_t { together, alone };
/// Of the command line alone; `words` begins with the program.
ParsedCommandLine parse_words(const std::vector<std::string>& words, OptionRules rules);

/// "250ms", "5s", "10m", "2h", "1d"; a bare number is seconds. Nanoseconds.
Result<std::uint64_t> parse_duration(const std::string& text);

/// "65536", "64KiB", "1MiB". Bytes.
Result<std::uint64_t> parse_size(const std::string& text);

/// "5%", or a bare number, which is percent too. A share: 0.05.
Result<double> parse_percent(const std::string& text);

} // namespace memtrace
