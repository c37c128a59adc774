#include "config/options.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

namespace memtrace {
namespace {

ParsedCommandLine parse(std::vector<std::string> arguments) {
    std::vector<const char*> argv{"memtrace"};
    for (const auto& argument : arguments) {
        argv.push_back(argument.c_str());
    }
    return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

Options accepted(std::vector<std::string> arguments) {
    const auto parsed = parse(std::move(arguments));
    EXPECT_TRUE(parsed.options) << parsed.text;
    EXPECT_EQ(parsed.text, "");
    EXPECT_EQ(parsed.exit_status, kExitFine);
    return parsed.options.value_or(Options{});
}

/// What is said about a command line that is refused: one line that ends in where help is.
std::string refused(std::vector<std::string> arguments) {
    std::string given;
    for (const auto& argument : arguments) {
        given += " '" + argument + "'";
    }
    SCOPED_TRACE("memtrace" + given);
    const auto parsed = parse(std::move(arguments));
    EXPECT_FALSE(parsed.options) << "was accepted";
    EXPECT_EQ(parsed.exit_status, kExitUsage);
    EXPECT_EQ(parsed.text.rfind("memtrace: ", 0), 0U) << parsed.text;
    EXPECT_EQ(parsed.text.find('\n'), parsed.text.size() - 1) << "more than one line: " << parsed.text;
    constexpr std::string_view kEnd = "; see memtrace --help\n";
    EXPECT_TRUE(parsed.text.ends_with(kEnd)) << parsed.text;
    EXPECT_GT(parsed.text.size(), std::string("memtrace: ").size() + kEnd.size()) << "no reason given";
    return parsed.text;
}

constexpr std::uint64_t kSecond = 1'000'000'000;

// ---- tracing ------------------------------------------------------------------------------------------------------------------

TEST(Options, DefaultsAreThoseOfTheHelp) {
    const auto options = accepted({"--pid", "42"});
    EXPECT_EQ(options.command, Command::trace);
    EXPECT_EQ(options.pids, std::vector<std::int32_t>{42});
    EXPECT_FALSE(options.follow);
    EXPECT_FALSE(options.duration_ns);
    EXPECT_EQ(options.interval_ns, 5 * kSecond);
    EXPECT_FALSE(options.interval_given);
    EXPECT_EQ(options.top, 10U);
    EXPECT_EQ(options.min_age_ns, 0U);
    EXPECT_EQ(options.allocator, "auto");
    EXPECT_EQ(options.max_live, 1'000'000U);
    EXPECT_EQ(options.max_frames, 64U);
    EXPECT_EQ(options.attach, "auto");
    EXPECT_EQ(options.output, "text");
    EXPECT_EQ(options.out, "");
    EXPECT_EQ(options.snapshot_dir, "");
    EXPECT_EQ(options.snapshot_interval_ns, 60 * kSecond);
    EXPECT_EQ(options.snapshot_formats, std::vector<std::string>{"json"});
    EXPECT_EQ(options.snapshot_keep, 0U);
    EXPECT_EQ(options.record, "");
    EXPECT_EQ(options.fail_on, "");
    EXPECT_FALSE(options.quiet);
    EXPECT_FALSE(options.verbose);
}

TEST(Options, EveryFlagArrives) {
    const auto options = accepted({"--pid=1",
                                   "--pid",
                                   "2",
                                   "--follow",
                                   "--duration",
                                   "90s",
                                   "--interval",
                                   "250ms",
                                   "--top",
                                   "3",
                                   "--min-age",
                                   "1m",
                                   "--sample",
                                   "exact",
                                   "--allocator",
                                   "jemalloc",
                                   "--config",
                                   "sqlite",
                                   "--config=./own.toml",
                                   "--max-live",
                                   "5000",
                                   "--max-frames",
                                   "16",
                                   "--attach",
                                   "perf_event",
                                   "--output",
                                   "json",
                                   "--out",
                                   "/tmp/report",
                                   "--snapshot-dir",
                                   "/tmp/snaps",
                                   "--snapshot-interval",
                                   "2m",
                                   "--snapshot-format",
                                   "json,pprof",
                                   "--snapshot-format",
                                   "folded",
                                   "--snapshot-keep",
                                   "7",
                                   "--record",
                                   "/tmp/run.rec",
                                   "--fail-on",
                                   "probable",
                                   "--quiet",
                                   "--verbose"});
    EXPECT_EQ(options.pids, (std::vector<std::int32_t>{1, 2}));
    EXPECT_TRUE(options.follow);
    EXPECT_EQ(options.duration_ns, 90 * kSecond);
    EXPECT_EQ(options.interval_ns, kSecond / 4);
    EXPECT_TRUE(options.interval_given);
    EXPECT_EQ(options.top, 3U);
    EXPECT_EQ(options.min_age_ns, 60 * kSecond);
    EXPECT_EQ(options.allocator, "jemalloc");
    EXPECT_EQ(options.configs, (std::vector<std::string>{"sqlite", "./own.toml"}));
    EXPECT_EQ(options.max_live, 5'000U);
    EXPECT_EQ(options.max_frames, 16U);
    EXPECT_EQ(options.attach, "perf_event");
    EXPECT_EQ(options.output, "json");
    EXPECT_EQ(options.out, "/tmp/report");
    EXPECT_EQ(options.snapshot_dir, "/tmp/snaps");
    EXPECT_EQ(options.snapshot_interval_ns, 120 * kSecond);
    EXPECT_EQ(options.snapshot_formats, (std::vector<std::string>{"json", "pprof", "folded"}));
    EXPECT_EQ(options.snapshot_keep, 7U);
    EXPECT_EQ(options.record, "/tmp/run.rec");
    EXPECT_EQ(options.fail_on, "probable");
    EXPECT_TRUE(options.quiet);
    EXPECT_TRUE(options.verbose);
}

TEST(Options, TargetsByNameAndByCgroup) {
    EXPECT_EQ(accepted({"--pid", "1", "2"}).pids, (std::vector<std::int32_t>{1, 2}));
    EXPECT_EQ(accepted({"--comm", "postgres"}).comm, "postgres");
    EXPECT_EQ(accepted({"--cgroup", "/sys/fs/cgroup/db.slice"}).cgroup, "/sys/fs/cgroup/db.slice");
    EXPECT_EQ(accepted({"--sample", "auto", "--pid", "4194304"}).pids.front(), 4'194'304) << "the largest that the kernel gives";
}

TEST(Options, CommandAfterTwoDashesIsTakenAsItIs) {
    const auto options = accepted({"--top", "2", "--", "psql", "--pid", "x", "--", "-c", "select 1"});
    EXPECT_EQ(options.launch, (std::vector<std::string>{"psql", "--pid", "x", "--", "-c", "select 1"}));
    EXPECT_EQ(options.command, Command::trace);
    EXPECT_EQ(options.top, 2U);
    EXPECT_TRUE(options.pids.empty());
}

TEST(Options, CommandMayBeNamedLikeASubcommand) {
    const auto options = accepted({"--", "report", "--help"});
    EXPECT_EQ(options.command, Command::trace);
    EXPECT_EQ(options.launch, (std::vector<std::string>{"report", "--help"}));
}

TEST(Options, Listen) {
    EXPECT_EQ(accepted({"--pid", "42"}).listen, "") << "nothing is served unless asked for";
    EXPECT_EQ(accepted({"--pid", "42", "--listen", "127.0.0.1:9464"}).listen, "127.0.0.1:9464");
    EXPECT_EQ(accepted({"--pid", "42", "--listen", "[::1]:9464", "--listen-token-file", "t"}).listen_token_file, "t");
    const auto far =
        accepted({"--pid", "42", "--listen", "0.0.0.0:9464", "--listen-token-file", "t", "--listen-tls", "c.pem,k.pem"});
    EXPECT_EQ(far.listen_certificate, "c.pem");
    EXPECT_EQ(far.listen_key, "k.pem");
}

TEST(BadUsage, ListenBeyondThisMachineTakesATokenAndTls) {
    for (const char* address : {"0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"}) {
        for (const std::vector<std::string>& more :
             {std::vector<std::string>{}, {"--listen-token-file", "t"}, {"--listen-tls", "c.pem,k.pem"}}) {
            std::vector<std::string> arguments{"--pid", "42", "--listen", address};
            arguments.insert(arguments.end(), more.begin(), more.end());
            const auto text = refused(arguments);
            EXPECT_NE(text.find("--listen-token-file"), std::string::npos) << text;
            EXPECT_NE(text.find("--listen-tls"), std::string::npos) << text;
        }
    }
}

TEST(BadUsage, Listen) {
    refused({"--pid", "42", "--listen", "9464"});
    refused({"--pid", "42", "--listen", ""});
    refused({"--pid", "42", "--listen-token-file", "t"});
    refused({"--pid", "42", "--listen-tls", "c,k"});
    for (const char* files : {"c", "c,", ",k", ",", "c,k,x"}) {
        refused({"--pid", "42", "--listen", "127.0.0.1:9464", "--listen-tls", files});
    }
}

// ---- subcommands --------------------------------------------------------------------------------------------------------------

TEST(Options, Report) {
    const auto options = accepted({"report", "/tmp/a.json", "--format", "folded", "--top", "4", "--verbose"});
    EXPECT_EQ(options.command, Command::report);
    EXPECT_EQ(options.files, std::vector<std::string>{"/tmp/a.json"});
    EXPECT_EQ(options.format, "folded");
    EXPECT_EQ(options.top, 4U);
    EXPECT_TRUE(options.verbose);
    for (const char* format : {"text", "json", "pprof", "folded"}) {
        EXPECT_EQ(accepted({"report", "--format", format, "a"}).format, format);
    }
}

TEST(Options, Diff) {
    const auto options = accepted({"diff", "old.json", "new.json", "--top", "1"});
    EXPECT_EQ(options.command, Command::diff);
    EXPECT_EQ(options.files, (std::vector<std::string>{"old.json", "new.json"}));
    EXPECT_EQ(options.top, 1U);
}

TEST(Options, Probes) {
    const auto options = accepted({"probes", "--pid", "7", "--allocator", "libc"});
    EXPECT_EQ(options.command, Command::probes);
    EXPECT_EQ(options.pids, std::vector<std::int32_t>{7});
    EXPECT_EQ(options.allocator, "libc");
    EXPECT_EQ(accepted({"probes", "--pid", "7", "--config", "sqlite"}).configs, std::vector<std::string>{"sqlite"});
    EXPECT_EQ(accepted({"probes", "--comm", "redis-server"}).comm, "redis-server");
    EXPECT_FALSE(options.duration_ns);
    EXPECT_DOUBLE_EQ(accepted({"probes", "--pid", "7", "--max-overhead", "2%"}).max_overhead, 0.02);
    EXPECT_EQ(accepted({"probes", "--pid", "7", "--duration", "2s"}).duration_ns, 2'000'000'000ULL);
    refused({"probes", "--pid", "7", "--duration", "0s"});
    refused({"probes", "--pid", "7", "--max-overhead", "x"});
}

TEST(Options, DoctorAndReplay) {
    EXPECT_EQ(accepted({"doctor"}).command, Command::doctor);
    const auto options = accepted({"replay", "run.rec", "--output", "json", "--top", "9", "--fail-on", "suspect"});
    EXPECT_EQ(options.command, Command::replay);
    EXPECT_EQ(options.files, std::vector<std::string>{"run.rec"});
    EXPECT_EQ(options.output, "json");
    EXPECT_EQ(options.top, 9U);
    EXPECT_EQ(options.fail_on, "suspect");
}

// ---- help ---------------------------------------------------------------------------------------------------------------------

TEST(Options, DebuginfodServersComeFromTheOptionOrTheEnvironment) {
    ::setenv("DEBUGINFOD_URLS", "http://a.example https://b.example/x", 1);
    EXPECT_EQ(accepted({"--pid", "1"}).debuginfod, ""); // the environment alone asks nobody
    EXPECT_EQ(accepted({"--pid", "1", "--debuginfod"}).debuginfod, "http://a.example https://b.example/x");
    EXPECT_EQ(accepted({"--debuginfod", "--pid", "1"}).pids, std::vector<std::int32_t>{1});
    EXPECT_EQ(accepted({"--pid", "1", "--debuginfod=https://c.example"}).debuginfod, "https://c.example");
    const auto report = accepted({"report", "--debuginfod", "a.json"}); // what follows it is not its value
    EXPECT_EQ(report.files, std::vector<std::string>{"a.json"});
    EXPECT_EQ(report.debuginfod, "http://a.example https://b.example/x");
    EXPECT_EQ(accepted({"replay", "a.rec", "--debuginfod=http://d.example"}).debuginfod, "http://d.example");
    EXPECT_NE(refused({"--pid", "1", "--debuginfod=ftp://c.example"}).find("ftp://c.example"), std::string::npos);
    ::setenv("DEBUGINFOD_URLS", " ", 1);
    EXPECT_NE(refused({"--pid", "1", "--debuginfod"}).find("DEBUGINFOD_URLS"), std::string::npos);
    ::unsetenv("DEBUGINFOD_URLS");
    refused({"--pid", "1", "--debuginfod"});
    EXPECT_EQ(accepted({"--pid", "1", "--debuginfod-timeout", "90s"}).debuginfod_timeout_ns, 90'000'000'000);
    EXPECT_EQ(accepted({"report", "a", "--debuginfod-timeout", "1m"}).debuginfod_timeout_ns, 60'000'000'000);
    refused({"--pid", "1", "--debuginfod-timeout", "900ms"});
    refused({"report", "a", "--debuginfod-timeout", "0s"});
}

TEST(Options, SymbolsAreForAllThatShowsNames) {
    for (const auto& shows : std::vector<std::vector<std::string>>{
             {"report", "a.json"}, {"replay", "a.rec"}, {"diff", "a", "b"}, {"--pid", "1"}, {"--comm", "server"}}) {
        auto words = shows;
        words.insert(words.end(), {"--symbols", "/srv/symbols"});
        EXPECT_EQ(accepted(words).symbols, "/srv/symbols");
    }
    EXPECT_EQ(accepted({"--symbols", "/srv/symbols", "--", "server"}).symbols, "/srv/symbols");
    refused({"probes", "--pid", "1", "--symbols", "/srv/symbols"});
    refused({"--pid", "1", "--symbols"});
}

TEST(Options, HelpNamesEveryOptionAndSubcommand) {
    for (const char* flag : {"--help", "-h"}) {
        const auto help = parse({flag});
        EXPECT_FALSE(help.options);
        EXPECT_EQ(help.exit_status, kExitFine);
        for (const char* name : {"--pid",
                                 "--comm",
                                 "--cgroup",
                                 "--follow",
                                 "--duration",
                                 "--interval",
                                 "--top",
                                 "--min-age",
                                 "--sample",
                                 "--max-overhead",
                                 "--own-cpu",
                                 "--own-memory",
                                 "--allocator",
                                 "--config",
                                 "--max-live",
                                 "--resources",
                                 "--max-frames",
                                 "--attach",
                                 "--output",
                                 "--out",
                                 "--snapshot-dir",
                                 "--snapshot-interval",
                                 "--snapshot-format",
                                 "--snapshot-keep",
                                 "--listen",
                                 "--listen-token-file",
                                 "--listen-tls",
                                 "--record",
                                 "--fail-on",
                                 "--debuginfod",
                                 "--debuginfod-timeout",
                                 "--quiet",
                                 "--verbose",
                                 "--version",
                                 "-- COMMAND",
                                 "report",
                                 "diff",
                                 "probes",
                                 "doctor",
                                 "replay",
                                 "Exit status"}) {
            EXPECT_NE(help.text.find(name), std::string::npos) << name;
        }
    }
    const auto help = parse({"report", "--help"});
    EXPECT_EQ(help.exit_status, kExitFine);
    EXPECT_NE(help.text.find("SNAPSHOT"), std::string::npos);
    EXPECT_NE(help.text.find("--format"), std::string::npos);
    EXPECT_NE(help.text.find("--symbols DIR"), std::string::npos);
    EXPECT_NE(help.text.find("Usage: memtrace report "), std::string::npos) << help.text;
}

TEST(Options, VersionIsOneLine) {
    const auto version = parse({"--version"});
    EXPECT_EQ(version.exit_status, kExitFine);
    EXPECT_EQ(version.text, "memtrace " MEMTRACE_VERSION "\n");
}

// ---- bad usage ----------------------------------------------------------------------------------------------------------------

TEST(BadUsage, NoTargetOrSeveral) {
    EXPECT_NE(refused({}).find("nothing to trace: give --pid PID, --comm NAME, --cgroup PATH or -- COMMAND"), std::string::npos);
    refused({"--follow"});
    refused({"probes"});
    EXPECT_NE(refused({"--pid", "1", "--comm", "x"}).find("not several"), std::string::npos);
    refused({"--comm", "x", "--cgroup", "/y"});
    refused({"--pid", "1", "--", "true"});
    refused({"probes", "--pid", "1", "--comm", "x"});
    EXPECT_NE(refused({"--"}).find("-- needs a command after it"), std::string::npos);
    refused({"--pid", "1", "--"});
    EXPECT_NE(refused({"probes", "--", "true"}).find("running processes"), std::string::npos);
}

TEST(BadUsage, Numbers) {
    for (const char* pid : {"0", "-1", "x", "", "1x", "1.5", "4194305", "99999999999999999999", "0x", "010", " 1"}) {
        refused({"--pid", pid});
    }
    for (const char* count : {"-1", "x", "", "1.5", "99999999999999999999", "0x10", "010"}) {
        refused({"--pid", "1", "--top", count});
        refused({"--pid", "1", "--snapshot-keep", count});
        refused({"--pid", "1", "--max-live", count});
        refused({"--pid", "1", "--max-frames", count});
    }
    refused({"--pid", "1", "--max-live", "0"});
    refused({"--pid", "1", "--max-live", "1073741825"});
    refused({"--pid", "1", "--max-frames", "0"});
    refused({"--pid", "1", "--max-frames", "128"});
}

TEST(BadUsage, DurationsNameTheirOption) {
    for (const char* option : {"--duration", "--interval", "--min-age", "--snapshot-interval"}) {
        for (const char* text : {"", "x", "5 s", "-1s", "5y", "nan", "inf", "1e99s", "s", "5s5s"}) {
            const auto said = refused({"--pid", "1", option, text});
            EXPECT_NE(said.find(option), std::string::npos) << said;
        }
    }
    EXPECT_NE(refused({"--pid", "1", "--interval", "99ms"}).find("at least 100ms"), std::string::npos);
    refused({"--pid", "1", "--snapshot-interval", "0"});
}

TEST(BadUsage, WordsThatAreNotInTheList) {
    for (const char* option : {"--sample", "--attach", "--output", "--snapshot-format", "--fail-on"}) {
        for (const char* word : {"", "nothing", "TEXT"}) {
            const auto said = refused({"--pid", "1", option, word});
            EXPECT_NE(said.find(option), std::string::npos) << said;
        }
    }
    refused({"--pid", "1", "--snapshot-format", "json,nothing"});
    refused({"report", "a", "--format", "nothing"});
    refused({"replay", "a", "--output", "nothing"});
    refused({"replay", "a", "--fail-on", "stable"});
}

// What would be ignored is refused.
TEST(BadUsage, ProcessesForWhatLooksAtNone) {
    EXPECT_NE(refused({"--pid", "1", "doctor"}).find("leave out --pid"), std::string::npos);
    refused({"--comm", "x", "replay", "run.rec"});
    refused({"doctor", "--", "true"});
    refused({"report", "a", "--", "b"});
}

TEST(BadUsage, UnknownOrMissingArguments) {
    refused({"--nothing"});
    refused({"--pid", "1", "stray"});
    refused({"nothing"});
    refused({"--pid"});
    refused({"--pid", "1", "--record"});
    refused({"report"});
    refused({"report", "a", "b"});
    refused({"diff"});
    refused({"diff", "a"});
    refused({"diff", "a", "b", "c"});
    refused({"replay"});
    refused({"doctor", "stray"});
    refused({"report", "a", "diff", "b", "c"});
    refused({"report", "--pid", "1", "a"});
}

// What the shell handed over may hold anything; the message stays one line.
TEST(BadUsage, LineBreaksInArgumentsStayOutOfTheMessage) {
    refused({"--pid", "1\n2"});
    refused({"--nothing\nat all"});
    refused({"--pid", "1", "--interval", "5\ns"});
}

// ---- durations ----------------------------------------------------------------------------------------------------------------

TEST(ParseDuration, EveryUnit) {
    EXPECT_EQ(*parse_duration("250ms"), kSecond / 4);
    EXPECT_EQ(*parse_duration("5s"), 5 * kSecond);
    EXPECT_EQ(*parse_duration("10m"), 600 * kSecond);
    EXPECT_EQ(*parse_duration("10min"), 600 * kSecond);
    EXPECT_EQ(*parse_duration("2h"), 7'200 * kSecond);
    EXPECT_EQ(*parse_duration("1d"), 86'400 * kSecond);
    EXPECT_EQ(*parse_duration("7"), 7 * kSecond);
    EXPECT_EQ(*parse_duration("0"), 0U);
    EXPECT_EQ(*parse_duration("0.5h"), 1'800 * kSecond);
    EXPECT_EQ(*parse_duration("1.5s"), 3 * kSecond / 2);
    EXPECT_EQ(*parse_duration("0.000000001s"), 1U);
    EXPECT_EQ(*parse_duration("1000000000s"), 1'000'000'000 * kSecond);
}

TEST(ParseDuration, WhatIsNoneIsAnErrorThatShowsHow) {
    for (const char* text : {"", "s", "x5", "5x", "5 s", "5S", "5ms ", "-1s", "-0.001s", "nan", "nans", "inf", "infs", "1e10s",
                             "12000d", "--", "5s\n"}) {
        const auto parsed = parse_duration(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().message, "\"" + std::string(text) + "\" is no duration: write 500ms, 5s, 10m, 2h or 1d");
    }
}

TEST(Options, SampleIsAutoExactOrASize) {
    EXPECT_EQ(accepted({"--pid", "1"}).sample, Options::Sample::automatic);
    EXPECT_EQ(accepted({"--pid", "1", "--sample", "auto"}).sample, Options::Sample::automatic);
    EXPECT_EQ(accepted({"--pid", "1", "--sample", "exact"}).sample, Options::Sample::exact);
    const auto fixed = accepted({"--pid", "1", "--sample", "64KiB"});
    EXPECT_EQ(fixed.sample, Options::Sample::fixed);
    EXPECT_EQ(fixed.sample_interval, 65'536U);
    for (const char* wrong : {"0", "511", "2GiB", "64kb", "-1", "", "KiB", "1.5MiB", "99999999999999999999"}) {
        EXPECT_EQ(parse({"--pid", "1", "--sample", wrong}).exit_status, kExitUsage) << wrong;
    }
}

TEST(Options, MaxOverheadIsAShare) {
    EXPECT_DOUBLE_EQ(accepted({"--pid", "1"}).max_overhead, 0.05);
    EXPECT_DOUBLE_EQ(accepted({"--pid", "1", "--max-overhead", "2%"}).max_overhead, 0.02);
    EXPECT_DOUBLE_EQ(accepted({"--pid", "1", "--max-overhead", "0.5"}).max_overhead, 0.005);
    for (const char* wrong : {"0", "0%", "101%", "-5%", "five", "", "5 %", "nan", "5%%"}) {
        EXPECT_EQ(parse({"--pid", "1", "--max-overhead", wrong}).exit_status, kExitUsage) << wrong;
    }
}

TEST(Options, OwnBudgets) {
    EXPECT_DOUBLE_EQ(accepted({"--pid", "1"}).own_cpu, 0.01);
    EXPECT_FALSE(accepted({"--pid", "1"}).own_memory);
    EXPECT_DOUBLE_EQ(accepted({"--pid", "1", "--own-cpu", "0.5%"}).own_cpu, 0.005);
    EXPECT_EQ(accepted({"--pid", "1", "--own-cpu", "none"}).own_cpu, 0);
    EXPECT_EQ(accepted({"--pid", "1", "--own-memory", "256MiB"}).own_memory, 256ULL << 20);
    EXPECT_EQ(accepted({"--pid", "1", "--own-memory", "none"}).own_memory, 0U);
    for (const char* wrong : {"0", "101%", "off", ""}) {
        EXPECT_EQ(parse({"--pid", "1", "--own-cpu", wrong}).exit_status, kExitUsage) << wrong;
    }
    EXPECT_EQ(parse({"--pid", "1", "--own-memory", "much"}).exit_status, kExitUsage);
}

TEST(Options, ResourcesAreAllNoneOrAList) {
    EXPECT_EQ(accepted({"--pid", "1"}).resources, 7U);
    EXPECT_FALSE(accepted({"--pid", "1", "--resources", "auto"}).resources_given);
    EXPECT_EQ(accepted({"--pid", "1", "--resources", "none"}).resources, 0U);
    EXPECT_EQ(accepted({"--pid", "1", "--resources", "timer,fd"}).resources, 5U);
    for (const auto* wrong : {"", "fd,", "fd;timer", "none,fd", "files"}) {
        EXPECT_EQ(parse({"--pid", "1", "--resources", wrong}).exit_status, kExitUsage) << wrong;
    }
}

TEST(ParseSize, TakesBinaryUnits) {
    EXPECT_EQ(parse_size("4096"), 4096U);
    EXPECT_EQ(parse_size("512B"), 512U);
    EXPECT_EQ(parse_size("1MiB"), 1U << 20);
    EXPECT_EQ(parse_size("1024GiB"), 1ULL << 40);
    EXPECT_FALSE(parse_size("1025GiB"));
    EXPECT_FALSE(parse_size("1 MiB"));
}

// ---- history ------------------------------------------------------------------------------------------------------------------

TEST(Options, HistoryIsWrittenAndRead) {
    const auto run = accepted({"--pid", "42", "--history", "h.db", "--history-keep", "7d", "--history-size", "64MiB"});
    EXPECT_EQ(run.history, "h.db");
    EXPECT_EQ(run.history_keep_ns, 7 * 86'400 * kSecond);
    EXPECT_EQ(run.history_size, 64U << 20);
    EXPECT_TRUE(accepted({"--pid", "42"}).history.empty());
    refused({"--pid", "42", "--history", "h.db", "--history-keep", "1s"});
    refused({"--pid", "42", "--history", "h.db", "--history-size", "1KiB"});
    EXPECT_EQ(accepted({"history"}).history, "/var/lib/memtrace/history.db");
    const auto shown = accepted({"history", "h.db", "--pid", "42", "--since", "yesterday 03:00", "--sites"});
    EXPECT_EQ(shown.command, Command::history);
    EXPECT_EQ(shown.history, "h.db");
    EXPECT_EQ(shown.since, "yesterday 03:00");
    EXPECT_TRUE(shown.show_sites);
    refused({"history", "h.db", "--since", "03:00"});
    refused({"history", "h.db", "--pid", "42", "--comm", "redis"});
}

TEST(Options, DiffOfTwoTimes) {
    const auto diff = accepted({"diff", "--history", "h.db", "--pid", "42", "yesterday 03:00", "now"});
    EXPECT_EQ(diff.command, Command::diff);
    EXPECT_EQ(diff.files, (std::vector<std::string>{"yesterday 03:00", "now"}));
    refused({"diff", "--history", "h.db", "yesterday 03:00", "now"});
    refused({"diff", "--pid", "42", "old.json", "new.json"});
}

} // namespace
} // namespace memtrace
