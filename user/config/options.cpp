#include "config/options.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <sstream>

#include "base/clock.hpp"
#include "base/listen_address.hpp"
#include "config/daemon_options.hpp"
#include "config/push_target.hpp"

namespace memtrace {

namespace {

constexpr const char* kDefaultHistory = "/var/lib/memtrace/history.db";
constexpr double kLongestSeconds = 1e9; // some 30 years

struct Unit {
    const char* name;
    double seconds;
};
constexpr Unit kUnits[] = {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};

/// What `parse` accepts: a text is tried while CLI11 validates, so that its error names the option.
template <typename Parse>
CLI::Validator parsed_by(Parse parse, const char* kind) {
    return CLI::Validator(
        [parse](std::string& text) {
            const auto value = parse(text);
            return value ? std::string() : value.error().message;
        },
        kind);
}

CLI::Validator duration_validator() {
    return parsed_by(parse_duration, "DURATION");
}

/// A number as people write it. CLI11 would take an empty text for 0 and a leading zero for octal.
CLI::Validator number_validator() {
    return CLI::Validator(
        [](std::string& text) {
            const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
            return digits && (text.size() == 1 || text[0] != '0') ? std::string() : "\"" + text + "\" is no whole number";
        },
        "");
}

constexpr std::uint64_t kShortestSample = 512;
constexpr std::uint64_t kLongestSample = 1ull << 30;

CLI::Validator sample_validator() {
    return CLI::Validator(
        [](std::string& text) {
            if (text == "auto" || text == "exact") {
                return std::string();
            }
            const auto size = parse_size(text);
            if (!size) {
                return "\"" + text + "\" is none of auto, exact and a size such as 64KiB";
            }
            return *size >= kShortestSample && *size <= kLongestSample ? std::string()
                                                                       : "a sample is taken every 512 bytes to 1GiB";
        },
        "auto|exact|SIZE");
}

constexpr const char* kResourceNames[] = {"fd", "thread", "timer"}; ///< in the order of their bits

/// "auto", "none", "fd,timer". Nothing: it is none of these.
std::optional<std::uint32_t> parse_resources(const std::string& text) {
    if (text == "auto" || text == "none") {
        return text == "auto" ? (1u << std::size(kResourceNames)) - 1 : 0;
    }
    std::uint32_t families = 0;
    std::istringstream words(text + ",");
    for (std::string word; std::getline(words, word, ',');) {
        const auto* name = std::find(std::begin(kResourceNames), std::end(kResourceNames), word);
        if (name == std::end(kResourceNames)) {
            return std::nullopt;
        }
        families |= 1u << (name - std::begin(kResourceNames));
    }
    return families != 0 ? std::optional(families) : std::nullopt;
}

CLI::Validator resources_validator() {
    return CLI::Validator(
        [](std::string& text) {
            return parse_resources(text) ? std::string()
                                         : "\"" + text + "\" is none of auto, none, and a list of fd, thread and timer";
        },
        "LIST");
}

/// What `parse` accepts, or "none".
template <typename Parse>
CLI::Validator budget_validator(Parse parse, const char* kind) {
    return CLI::Validator(
        [parse](std::string& text) {
            const auto value = parse(text);
            return text == "none" || value ? std::string() : value.error().message + ", or none";
        },
        kind);
}

/// Texts of options that need a second look after parsing.
struct RawTexts {
    std::string duration;
    std::string interval = "5s";
    std::string min_age = "0s";
    std::string snapshot_interval = "60s";
    std::string push_interval = "15s";
    std::vector<std::string> snapshot_at;
    std::string sample = "auto";
    std::string max_overhead = "5%";
    std::string history_keep = "30d";
    std::string history_size = "1GiB";
    std::string own_cpu = "1%";
    std::string own_memory;
    std::string listen_tls;
    std::string resources = "auto";
    std::string debuginfod; ///< kFromEnvironment, or servers
    std::string debuginfod_timeout = "30s";
    std::string level = "high";
    std::string timeout = "10s";
};

constexpr const char* kFromEnvironment = "true"; // what CLI11 makes of a flag without a value

void add_debuginfod_options(CLI::App& app, RawTexts& raw) {
    app.add_flag(
        "--debuginfod", raw.debuginfod,
        "ask debuginfod servers for debug files that are not here: those of DEBUGINFOD_URLS, or --debuginfod=URL. Without "
        "it the network is never used");
    app.add_option("--debuginfod-timeout", raw.debuginfod_timeout,
                   "time for one such file, and for the last report to wait for them (30s)")
        ->check(duration_validator());
}

void add_symbol_options(CLI::App& app, Options& options, RawTexts& raw) {
    app.add_option(
           "--symbols", options.symbols,
           "directory with programs, libraries and debug files of what was traced: found by build-id, or by path below it")
        ->type_name("DIR");
    add_debuginfod_options(app, raw);
}

void add_target_options(CLI::App& app, Options& options) {
    app.add_option("--pid", options.pids, "process to trace; may be given more than once")
        ->type_name("PID")
        ->check(number_validator())
        ->check(CLI::Range(1, 1 << 22))
        ->expected(1)
        ->take_all();
    app.add_option("--comm", options.comm, "all processes of that name")->type_name("NAME");
    app.add_option("--cgroup", options.cgroup, "all processes in that cgroup directory and below")->type_name("PATH");
    app.add_flag("--follow", options.follow, "children of the traced processes too");
}

void add_listen_options(CLI::App& app, Options& options, RawTexts& raw) {
    app.add_option("--listen", options.listen,
                   "serve metrics for Prometheus (/metrics), reports (/api/report) and a page to look at (/) there, as on "
                   "127.0.0.1:9464 or [::1]:9464 (default: nothing is served)")
        ->check(parsed_by(parse_listen_address, "ADDR:PORT"));
    app.add_option(
           "--listen-token-file", options.listen_token_file,
           "file with a token that readers show as \"Authorization: Bearer TOKEN\"; needed for all addresses but loopback")
        ->type_name("FILE");
    app.add_option("--listen-tls", raw.listen_tls,
                   "PEM files of a certificate, with those above it, and its key; needed for all addresses but loopback")
        ->type_name("CERT,KEY");
}

void add_history_options(CLI::App& app, Options& options, RawTexts& raw) {
    app.add_option("--history", options.history,
                   "database that every report goes into, for memtrace history and diff; a later run goes on with it")
        ->type_name("FILE");
    app.add_option("--history-keep", raw.history_keep, "how long it is kept there; it is thinned from six hours of age on (30d)")
        ->check(duration_validator());
    app.add_option("--history-size", raw.history_size, "size of that file at which the oldest goes (1GiB)")
        ->check(parsed_by(parse_size, "SIZE"));
}

void add_push_options(CLI::App& app, Options& options, RawTexts& raw) {
    app.add_option("--push-profiles", options.push_profiles,
                   "send the live heap to a store of profiles, as pprof: pyroscope+http://HOST:4040 or parca+http://HOST:7070 "
                   "(default: nothing is sent)")
        ->check(parsed_by(parse_push_target, "URL"));
    app.add_option("--push-interval", raw.push_interval, "time between profiles (15s); one more at the end")
        ->check(duration_validator());
    app.add_option("--push-header-file", options.push_header_file,
                   "file of HTTP headers to send along, such as \"Authorization: Bearer TOKEN\"")
        ->type_name("FILE");
    app.add_option("--push-label", options.push_labels,
                   "label of these profiles; may be given more than once. They have service_name (the process's name), pid, "
                   "host and the daemon's target; an empty VALUE takes one away")
        ->type_name("NAME=VALUE")
        ->expected(1)
        ->take_all();
}

void add_config_option(CLI::App& app, Options& options) {
    app.add_option(
           "--config", options.configs,
           "recipes: how a program's own functions and probes tell of its resources; and alerts: rules, who is told, what is "
           "done. A file, or postgresql, sqlite, openssl, mariadb, pthread; may be given more than once")
        ->type_name("FILE.toml")
        ->expected(1)
        ->take_all();
}

/// Of a run and of the daemon.
void add_trace_options(CLI::App& app, Options& options, RawTexts& raw) {
    app.add_option("--duration", raw.duration, "stop after that time (default: when the process ends, or on Ctrl-C)")
        ->check(duration_validator());
    app.add_option("--interval", raw.interval, "time between reports (5s)")->check(duration_validator());
    app.add_option("--top", options.top, "call sites shown in the text report (10)")->type_name("N")->check(number_validator());
    app.add_option("--min-age", raw.min_age, "count only blocks that are older (0s)")->check(duration_validator());
    app.add_option("--sample", raw.sample,
                   "exact: follow every allocation; SIZE: one in so many bytes on average; auto: exact while that fits "
                   "--max-overhead (auto)")
        ->check(sample_validator());
    app.add_option("--max-overhead", raw.max_overhead, "share of the target's CPU time that --sample auto may take (5%)")
        ->check(parsed_by(parse_percent, "PERCENT"));
    app.add_option("--own-cpu", raw.own_cpu,
                   "share of a core that memtrace itself may take, over a minute, before it does less (1%)")
        ->check(budget_validator(parse_percent, "PERCENT|none"));
    app.add_option("--own-memory", raw.own_memory,
                   "memory that memtrace itself may hold before it does less (512MiB, or 2% of the machine's, half of its "
                   "cgroup's limit at most)")
        ->check(budget_validator(parse_size, "SIZE|none"));
    app.add_option("--allocator", options.allocator,
                   "auto, libc, jemalloc, tcmalloc, mimalloc, program, a library's file name, or otel_memory: what the program "
                   "tells of itself")
        ->type_name("NAME");
    add_config_option(app, options);
    app.add_option("--resources", raw.resources,
                   "what the kernel gives out that is followed, for leaks of it: auto or any of fd, thread, timer, with commas; "
                   "or none (auto: "
                   "all)")
        ->check(resources_validator());
    app.add_option("--max-processes", options.max_processes, "processes that can be followed at once (4096)")
        ->type_name("N")
        ->check(number_validator())
        ->check(CLI::Range(1u, 4'096u));
    app.add_option("--max-live", options.max_live,
                   "live blocks that can be followed at once (1000000); each takes about 110 bytes")
        ->type_name("N")
        ->check(number_validator())
        ->check(CLI::Range(1u, 1u << 30));
    app.add_option("--max-frames", options.max_frames, "frames kept of a stack (64)")
        ->type_name("N")
        ->check(number_validator())
        ->check(CLI::Range(1, 127));
    app.add_option("--attach", options.attach, "how probes are placed: auto, uprobe_session, uprobe_multi or perf_event")
        ->check(CLI::IsMember({"auto", "uprobe_session", "uprobe_multi", "perf_event"}));
    app.add_option("--output", options.output,
                   "text or json (text). json on standard output: the last report; with --interval, each")
        ->check(CLI::IsMember({"text", "json"}));
    app.add_option("--out", options.out, "file that always holds the newest report, whole (default: standard output)")
        ->type_name("FILE");
    app.add_option("--snapshot-dir", options.snapshot_dir, "directory for snapshots")->type_name("DIR");
    app.add_option("--snapshot-interval", raw.snapshot_interval, "time between snapshots (60s); one more at the end")
        ->check(duration_validator());
    app.add_option(
           "--snapshot-at", raw.snapshot_at,
           "snapshots at that local time: \"03:00\", \"mon-fri 22:30\", \"*:15\"; may be given more than once. With it, only "
           "a --snapshot-interval that is given counts")
        ->check(parsed_by(parse_schedule, "TIME"))
        ->expected(1)
        ->take_all();
    app.add_option("--snapshot-format", options.snapshot_formats, "any of json, pprof, folded, text, with commas (json)")
        ->delimiter(',')
        ->check(CLI::IsMember({"json", "pprof", "folded", "text"}));
    app.add_option("--snapshot-keep", options.snapshot_keep, "snapshots kept of each process (0: all)")
        ->type_name("N")
        ->check(number_validator());
    add_history_options(app, options, raw);
    add_listen_options(app, options, raw);
    add_push_options(app, options, raw);
    app.add_option("--record", options.record, "write what was seen to a file for memtrace replay")->type_name("FILE");
    add_symbol_options(app, options, raw);
    app.add_flag("--quiet", options.quiet, "no messages on standard error but errors");
    app.add_flag("--verbose", options.verbose, "more detail: every counter, every probe");
}

constexpr const char* kDaemonHelp =
    "follows what the configuration's [[target]] tables name, whenever it is there; its [trace] table has these options too";
/// Of those in a history.
void add_history_process_options(CLI::App& app, Options& options) {
    app.add_option("--pid", options.pids, "the process with that pid")->type_name("PID")->expected(1)->check(number_validator());
    app.add_option("--comm", options.comm, "processes of that name")->type_name("NAME");
}

void add_history_command(CLI::App& app, Options& options) {
    auto* history = app.add_subcommand("history", "what --history has kept: processes; with --pid or --comm, their growth");
    history->add_option("FILE", options.history, "written by --history (" + std::string(kDefaultHistory) + ")");
    add_history_process_options(*history, options);
    const auto times = "; as \"yesterday 03:00\", 14:30, \"2h ago\", \"monday 09:00\", \"2026-11-25 03:00\"";
    history->add_option("--since", options.since, std::string("from that time on") + times)->type_name("TIME");
    history->add_option("--until", options.until, "up to that time")->type_name("TIME");
    history->add_flag("--sites", options.show_sites, "call sites with their stacks");
    history->add_flag("--alerts", options.show_alerts, "all alerts");
    history->add_flag("--snapshots", options.show_snapshots, "all snapshots");
    history->add_option("--top", options.top, "call sites shown (10)")->type_name("N")->check(number_validator());
    history->add_option("--output", options.output, "text or json (text)")->check(CLI::IsMember({"text", "json"}));
    history->callback([&options] {
        options.command = Command::history;
        options.history = options.history.empty() ? kDefaultHistory : options.history;
    });
}

void add_subcommands(CLI::App& app, Options& options, RawTexts& raw) {
    auto* report = app.add_subcommand("report", "show a snapshot");
    report->add_option("SNAPSHOT", options.files, "a JSON snapshot")->required()->expected(1);
    report->add_option("--format", options.format, "text, json, pprof or folded")
        ->check(CLI::IsMember({"text", "json", "pprof", "folded"}));
    report->add_option("--top", options.top, "call sites shown (10)")->check(number_validator());
    add_symbol_options(*report, options, raw);
    report->add_flag("--verbose", options.verbose, "more detail");
    report->callback([&options] { options.command = Command::report; });

    auto* diff = app.add_subcommand("diff", "what grew, what is new, what went between two snapshots, or times of a history");
    diff->add_option("SNAPSHOTS", options.files,
                     "the older and the newer JSON snapshot; with --history two times, as \"yesterday 03:00\" now")
        ->required()
        ->expected(2);
    diff->add_option("--history", options.history, "file that --history of a run wrote")->type_name("FILE");
    add_history_process_options(*diff, options);
    diff->add_option("--top", options.top, "call sites shown of each kind (10)")->check(number_validator());
    add_symbol_options(*diff, options, raw);
    diff->callback([&options] { options.command = Command::diff; });

    add_history_command(app, options);

    auto* probes =
        app.add_subcommand("probes", "what would be attached, and where; how often it would be hit. Attaches nothing that stays");
    add_target_options(*probes, options);
    probes->add_option("--allocator", options.allocator, "as for tracing")->type_name("NAME");
    add_config_option(*probes, options);
    probes->add_option("--max-overhead", raw.max_overhead, "what to tell the mode for, as for tracing (5%)")
        ->check(parsed_by(parse_percent, "PERCENT"));
    probes->add_option("--duration", raw.duration, "count calls for so long (default: 200ms; up to 1s where there are few)")
        ->check(duration_validator());
    probes->callback([&options] { options.command = Command::probes; });

    auto* daemon = app.add_subcommand("daemon", kDaemonHelp);
    add_trace_options(*daemon, options, raw);
    daemon->callback([&options] { options.command = Command::daemon; });

    app.add_subcommand("doctor", "what this kernel offers, what is missing, what that costs")->callback([&options] {
        options.command = Command::doctor;
    });

    auto* cleanup =
        app.add_subcommand("cleanup", "asks a program that has the probes of include/memtrace/probes.h to give memory back");
    cleanup->add_option("--pid", options.pids, "whom to ask")
        ->type_name("PID")
        ->required()
        ->expected(1)
        ->check(number_validator());
    cleanup->add_option("--level", raw.level, "how urgently: low, high or critical (high)")
        ->check(CLI::IsMember({"low", "high", "critical"}));
    cleanup->add_option("--timeout", raw.timeout, "how long to wait for the answer (10s)")->check(duration_validator());
    cleanup->callback([&options] { options.command = Command::cleanup; });

    auto* replay = app.add_subcommand("replay", "the reports of a recorded run, without root");
    replay->add_option("RECORDING", options.files, "written by --record")->required()->expected(1);
    replay->add_option("--output", options.output, "text or json: json gives the last report")
        ->check(CLI::IsMember({"text", "json"}));
    replay->add_option("--top", options.top, "call sites shown (10)")->check(number_validator());
    replay->add_option("--fail-on", options.fail_on, "as for tracing")->check(CLI::IsMember({"definite", "probable", "suspect"}));
    add_symbol_options(*replay, options, raw);
    replay->add_flag("--verbose", options.verbose, "more detail");
    replay->callback([&options] { options.command = Command::replay; });
}

bool is_server(const std::string& url) {
    return url.starts_with("http://") || url.starts_with("https://") || url.starts_with("file:///");
}

/// Takes the servers to ask. Empty: all is well.
std::string take_servers(const std::string& asked, Options& options) {
    if (asked.empty()) {
        return "";
    }
    const char* const environment = std::getenv("DEBUGINFOD_URLS");
    options.debuginfod = asked != kFromEnvironment ? asked : environment != nullptr ? environment : "";
    std::istringstream urls(options.debuginfod);
    std::string url;
    std::size_t count = 0;
    for (; urls >> url; ++count) {
        if (!is_server(url)) {
            return "--debuginfod: \"" + url + "\" is no URL of a server: it begins with http:// or https://";
        }
    }
    return count > 0 ? "" : "--debuginfod: DEBUGINFOD_URLS names no server; give --debuginfod=URL";
}

/// Takes the two files of --listen-tls, and looks at what else goes with --listen. Empty: all is well.
std::string take_listen(const std::string& tls, Options& options) {
    if (options.listen.empty()) {
        const bool others = !tls.empty() || !options.listen_token_file.empty();
        return others ? "--listen-token-file and --listen-tls go with --listen ADDR:PORT" : "";
    }
    if (!tls.empty()) {
        const auto comma = tls.find(',');
        options.listen_certificate = tls.substr(0, comma);
        options.listen_key = comma == std::string::npos ? "" : tls.substr(comma + 1);
        if (options.listen_certificate.empty() || options.listen_key.empty() ||
            options.listen_key.find(',') != std::string::npos) {
            return "--listen-tls wants two files: CERT,KEY";
        }
    }
    if (!parse_listen_address(options.listen)->loopback && (options.listen_token_file.empty() || tls.empty())) {
        return "--listen " + options.listen +
               " can be reached from other machines: it needs --listen-token-file FILE and "
               "--listen-tls CERT,KEY";
    }
    return "";
}

constexpr std::uint64_t kLeastHistoryKeep = 3'600'000'000'000;
constexpr std::uint64_t kLeastHistorySize = 4 << 20;

/// What goes with a history, written or read. Empty: all is well.
std::string history_complaint(const Options& options) {
    if (options.history_keep_ns < kLeastHistoryKeep || options.history_size < kLeastHistorySize) {
        return "--history-keep is at least 1h, --history-size at least 4MiB";
    }
    const int processes = !options.pids.empty() + !options.comm.empty();
    if (options.command == Command::history && processes == 0 && (!options.since.empty() || !options.until.empty())) {
        return "--since and --until are about a process: give --pid PID or --comm NAME";
    }
    if (options.command == Command::diff && !options.history.empty() && processes == 0) {
        return "diff of a history is about a process: give --pid PID or --comm NAME";
    }
    return processes > 1 && (options.command == Command::history || options.command == Command::diff)
               ? "give one of --pid and --comm, not both"
               : "";
}

/// What goes with --push-profiles. Empty: all is well.
std::string push_complaint(const Options& options, const std::string& interval) {
    if (const auto labels = parse_push_labels(options.push_labels); !labels) {
        return "--push-label: " + labels.error().message;
    }
    const bool others = !options.push_labels.empty() || !options.push_header_file.empty() || interval != RawTexts().push_interval;
    if (options.push_profiles.empty() && others) {
        return "--push-interval, --push-header-file and --push-label go with --push-profiles URL";
    }
    return options.push_interval_ns < kNanosPerSecond ? "--push-interval is at least 1s" : "";
}

/// The rules that span options. Empty: all is well.
std::string complaint(const Options& options) {
    if (options.debuginfod_timeout_ns < 1'000'000'000) {
        return "--debuginfod-timeout is at least 1s";
    }
    if (options.command == Command::cleanup) {
        return "";
    }
    if (const auto text = history_complaint(options); !text.empty() || options.command == Command::history) {
        return text;
    }
    const int targets = !options.pids.empty() + !options.comm.empty() + !options.cgroup.empty() + !options.launch.empty();
    if (options.command == Command::diff && !options.history.empty()) {
        return "";
    }
    if (options.command != Command::trace && options.command != Command::probes && options.command != Command::daemon) {
        return targets == 0 ? "" : "only tracing and probes look at processes: leave out --pid, --comm, --cgroup and -- COMMAND";
    }
    if (options.command == Command::daemon && targets != 0) {
        return "the daemon's targets are in its configuration: leave out --pid, --comm, --cgroup and -- COMMAND";
    }
    if (options.command == Command::daemon && options.configs.empty()) {
        return "daemon needs --config FILE.toml, which says what to follow";
    }
    if (targets == 0 && options.command != Command::daemon) {
        return "nothing to trace: give --pid PID, --comm NAME, --cgroup PATH or -- COMMAND";
    }
    if (targets > 1) {
        return "give one of --pid, --comm, --cgroup and -- COMMAND, not several";
    }
    if (options.command == Command::probes && !options.launch.empty()) {
        return "probes looks at running processes: give --pid, --comm or --cgroup";
    }
    if (options.command == Command::probes && options.duration_ns && *options.duration_ns < 50'000'000) {
        return "probes counts calls for at least 50ms";
    }
    if (options.interval_ns < 100'000'000 || options.snapshot_interval_ns < 100'000'000) {
        return "an interval is at least 100ms";
    }
    if (!options.snapshot_at.empty() && options.snapshot_dir.empty()) {
        return "--snapshot-at goes with --snapshot-dir DIR";
    }
    return "";
}

ParsedCommandLine usage_error(const std::string& text) {
    return {std::nullopt, "memtrace: " + text.substr(0, text.find('\n')) + "; see memtrace --help\n", kExitUsage};
}

/// What was given, by long names.
std::map<std::string, std::vector<std::string>> settings_of(const CLI::App& app) {
    std::map<std::string, std::vector<std::string>> settings;
    for (const auto* option : app.get_options()) {
        if (option->count() > 0 && !option->get_lnames().empty()) {
            settings[option->get_lnames().front()] = option->results();
        }
    }
    return settings;
}

/// `app`: that of the options, the daemon's where that is run.
void finish(const CLI::App& app, const RawTexts& raw, Options& options) {
    if (!raw.duration.empty()) {
        options.duration_ns = *parse_duration(raw.duration);
    }
    options.timeout_ns = *parse_duration(raw.timeout);
    options.level = raw.level == "low" ? 1 : raw.level == "high" ? 2 : 3;
    options.interval_ns = *parse_duration(raw.interval);
    options.interval_given = app.count("--interval") != 0;
    for (const auto& text : raw.snapshot_at) {
        options.snapshot_at.push_back(*parse_schedule(text));
    }
    options.snapshot_by_interval = raw.snapshot_at.empty() || app.count("--snapshot-interval") != 0;
    options.min_age_ns = *parse_duration(raw.min_age);
    options.max_overhead = *parse_percent(raw.max_overhead);
    options.own_cpu = raw.own_cpu == "none" ? 0 : *parse_percent(raw.own_cpu);
    if (!raw.own_memory.empty()) {
        options.own_memory = raw.own_memory == "none" ? 0 : *parse_size(raw.own_memory);
    }
    options.resources = *parse_resources(raw.resources);
    options.resources_given = raw.resources != "auto";
    if (raw.sample == "exact") {
        options.sample = Options::Sample::exact;
    } else if (raw.sample != "auto") {
        options.sample = Options::Sample::fixed;
        options.sample_interval = *parse_size(raw.sample);
    }
    options.history_keep_ns = *parse_duration(raw.history_keep);
    options.history_size = *parse_size(raw.history_size);
    options.snapshot_interval_ns = *parse_duration(raw.snapshot_interval);
    options.push_interval_ns = *parse_duration(raw.push_interval);
    options.debuginfod_timeout_ns = *parse_duration(raw.debuginfod_timeout);
}

} // namespace

Result<std::uint64_t> parse_duration(const std::string& text) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const std::string unit = end;
    for (const auto& known : kUnits) {
        const double seconds = number * known.seconds;
        if (end != text.c_str() && unit == known.name && std::isfinite(seconds) && seconds >= 0 && seconds <= kLongestSeconds) {
            return static_cast<std::uint64_t>(seconds * 1e9);
        }
    }
    return fail("\"" + text + "\" is no duration: write 500ms, 5s, 10m, 2h or 1d");
}

Result<std::uint64_t> parse_size(const std::string& text) {
    constexpr struct {
        const char* name;
        unsigned shift;
    } kSizeUnits[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string unit(end, text.data() + text.size());
    for (const auto& known : kSizeUnits) {
        if (error == std::errc() && unit == known.name && number <= (1ull << 40) >> known.shift) {
            return number << known.shift;
        }
    }
    return fail("\"" + text + "\" is no size: write 4096, 64KiB or 1MiB");
}

Result<double> parse_percent(const std::string& text) {
    char* end = nullptr;
    const double percent = std::strtod(text.c_str(), &end);
    const std::string_view rest = end;
    if (end == text.c_str() || (!rest.empty() && rest != "%") || !(percent >= 0.1 && percent <= 100)) {
        return fail("\"" + text + "\" is no share: write 5% or 0.5%; 0.1% to 100%");
    }
    return percent / 100;
}

bool is_daemon_option(const std::string& name) {
    Options options;
    RawTexts raw;
    CLI::App app;
    add_trace_options(app, options, raw);
    return name != "help" && app.get_option_no_throw("--" + name) != nullptr;
}

ParsedCommandLine parse_words(const std::vector<std::string>& words, OptionRules rules) {
    std::vector<const char*> argv;
    std::transform(words.begin(), words.end(), std::back_inserter(argv), [](const auto& word) { return word.c_str(); });
    const auto argc = static_cast<int>(argv.size());
    Options options;
    RawTexts raw;
    CLI::App app(
        "Finds memory leaks in running programs: says which call sites leak, how fast, and what the tracing costs.\n\n"
        "  memtrace --pid PID [--pid PID ...] | --comm NAME | --cgroup PATH | -- COMMAND [ARG ...]  [OPTIONS]\n"
        "  memtrace report SNAPSHOT | diff OLD NEW | history [FILE] | probes --pid PID | doctor | cleanup --pid PID | replay "
        "RECORDING\n"
        "  memtrace daemon --config FILE.toml\n",
        "memtrace");
    app.footer("Exit status: 0 fine; 1 failed; 2 bad usage; 3 --fail-on found something.\n"
               "Ctrl-C prints the last report and detaches; a second one leaves at once. Tracing needs root.");
    app.set_version_flag("--version", std::string("memtrace " MEMTRACE_VERSION));
    app.require_subcommand(0, 1);
    add_target_options(app, options);
    add_trace_options(app, options, raw);
    app.add_option("--fail-on", options.fail_on, "leave with status 3 where a site's verdict is that or worse")
        ->check(CLI::IsMember({"definite", "probable", "suspect"}));
    add_subcommands(app, options, raw);

    int count = argc;
    for (int i = 1; i < argc; ++i) {
        if (words[static_cast<std::size_t>(i)] == "--") {
            count = i;
            options.launch.assign(words.begin() + i + 1, words.end());
            break;
        }
    }
    try {
        app.parse(count, argv.data());
    } catch (const CLI::CallForHelp&) {
        return {std::nullopt, app.help(), kExitFine}; // the subcommand's, where one was given
    } catch (const CLI::CallForVersion&) {
        return {std::nullopt, "memtrace " MEMTRACE_VERSION "\n", kExitFine};
    } catch (const CLI::ParseError& error) {
        return usage_error(error.what());
    }
    if (count < argc && options.launch.empty()) {
        return usage_error("-- needs a command after it");
    }
    const auto& given = options.command == Command::daemon ? *app.get_subcommand("daemon") : app;
    finish(given, raw, options);
    options.settings = settings_of(given);
    options.settings.merge(settings_of(app)); // before the word "daemon"
    if (rules == OptionRules::alone) {
        return {options, "", kExitFine};
    }
    if (const auto text = take_servers(raw.debuginfod, options); !text.empty()) {
        return usage_error(text);
    }
    if (const auto text = take_listen(raw.listen_tls, options); !text.empty()) {
        return usage_error(text);
    }
    if (const auto text = push_complaint(options, raw.push_interval); !text.empty()) {
        return usage_error(text);
    }
    if (const auto text = complaint(options); !text.empty()) {
        return usage_error(text);
    }
    return {options, "", kExitFine};
}

ParsedCommandLine parse_command_line(int argc, const char* const* argv) {
    const std::vector<std::string> words(argv, argv + argc);
    auto parsed = parse_words(words, OptionRules::together);
    return parsed.options && parsed.options->command == Command::daemon ? with_daemon_config(words, *parsed.options) : parsed;
}

} // namespace memtrace
