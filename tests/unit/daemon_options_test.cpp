// The daemon's configuration: what its [trace] and its command line make together, and what is refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "config/options.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr const char* kTarget = "[[target]]\nname = \"db\"\ncomm = \"mysqld\"\n";

/// A configuration file, for as long as it lives.
class File {
public:
    explicit File(const std::string& text) : path_(testing::TempDir() + "daemon-" + std::to_string(::getpid()) + ".toml") {
        std::ofstream(path_) << text;
    }
    ~File() { std::filesystem::remove(path_); }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

ParsedCommandLine parse(const std::string& text, const std::vector<std::string>& more = {}) {
    const File file(text);
    std::vector<std::string> words{"memtrace", "daemon", "--config", file.path()};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<const char*> argv;
    for (const auto& word : words) {
        argv.push_back(word.c_str());
    }
    return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

Options accepted(const std::string& text, const std::vector<std::string>& more = {}) {
    const auto parsed = parse(text, more);
    EXPECT_TRUE(parsed.options) << parsed.text;
    return parsed.options.value_or(Options{});
}

std::string refused(const std::string& text, const std::vector<std::string>& more = {}) {
    const auto parsed = parse(text, more);
    EXPECT_FALSE(parsed.options) << text;
    EXPECT_TRUE(parsed.text.starts_with("memtrace: ")) << parsed.text;
    EXPECT_EQ(parsed.text.find('\n'), parsed.text.size() - 1) << parsed.text;
    return parsed.text;
}

TEST(DaemonOptions, TraceHasTheOptionsOfTheCommandLine) {
    const auto options =
        accepted(std::string("[trace]\ninterval = \"10s\"\ntop = 3\nmax-overhead = 2.5\nverbose = true\nquiet = false\n"
                             "snapshot-dir = \"/var/tmp\"\nsnapshot-format = [\"json\", \"pprof\"]\n"
                             "snapshot-at = [\"03:00\", \"sun *:30\"]\nresources = \"fd\"\n") +
                 kTarget);
    EXPECT_EQ(options.command, Command::daemon);
    EXPECT_EQ(options.interval_ns, 10 * kSecond);
    EXPECT_TRUE(options.interval_given);
    EXPECT_EQ(options.top, 3U);
    EXPECT_DOUBLE_EQ(options.max_overhead, 0.025);
    EXPECT_TRUE(options.verbose);
    EXPECT_FALSE(options.quiet);
    EXPECT_EQ(options.snapshot_formats, (std::vector<std::string>{"json", "pprof"}));
    EXPECT_EQ(options.snapshot_at.size(), 2U);
    EXPECT_FALSE(options.snapshot_by_interval);
    EXPECT_EQ(options.resources, 1U);
    EXPECT_EQ(options.targets, (std::vector<TargetConfig>{{"db", TargetKind::comm, "mysqld", false}}));
}

TEST(DaemonOptions, TheCommandLineWins) {
    const auto text = std::string("[trace]\ninterval = \"10s\"\ntop = 3\n") + kTarget;
    const auto options = accepted(text, {"--interval", "2s"});
    EXPECT_EQ(options.interval_ns, 2 * kSecond);
    EXPECT_EQ(options.top, 3U);
    EXPECT_EQ(options.settings.at("interval"), std::vector<std::string>{"2s"});
    EXPECT_EQ(options.settings.at("top"), std::vector<std::string>{"3"});
}

TEST(DaemonOptions, RecipesOfTheFileAreOneMore) {
    const auto options = accepted(std::string("[trace]\nconfig = [\"sqlite\", \"openssl\"]\n") + kTarget);
    ASSERT_EQ(options.configs.size(), 3U);
    EXPECT_EQ(options.configs[1], "sqlite");
    EXPECT_EQ(options.configs[2], "openssl");
}

TEST(DaemonOptions, BothKindsOfSnapshotsWhereBothAreAskedFor) {
    const std::string both = "[trace]\nsnapshot-dir = \"/var/tmp\"\nsnapshot-at = \"03:00\"\nsnapshot-interval = \"1h\"\n";
    EXPECT_TRUE(accepted(both + kTarget).snapshot_by_interval);
    EXPECT_TRUE(accepted(kTarget).snapshot_by_interval);
}

TEST(DaemonOptions, OptionsThatGoTogetherAreJudgedTogether) {
    const std::string listen = "[trace]\nlisten-token-file = \"/etc/token\"\n";
    EXPECT_NE(refused(listen + kTarget).find("go with --listen"), std::string::npos);
    EXPECT_EQ(accepted(listen + "listen = \"127.0.0.1:9464\"\n" + kTarget).listen_token_file, "/etc/token");
    EXPECT_NE(refused(std::string("[trace]\nsnapshot-at = \"03:00\"\n") + kTarget).find("--snapshot-dir"), std::string::npos);
}

TEST(DaemonOptions, WhatItDoesNotKnowIsRefused) {
    for (const char* key : {"pid = 1", "comm = \"x\"", "fail-on = \"suspect\"", "help = true", "nonsense = 1", "\"a\\nb\" = 1"}) {
        EXPECT_NE(refused("[trace]\n" + std::string(key) + "\n" + kTarget).find(".toml:2: "), std::string::npos) << key;
    }
    for (const char* value : {"interval = \"soon\"", "interval = \"\"", "top = -1", "interval = [1, 2]", "verbose = \"3\"x"}) {
        EXPECT_NE(refused("[trace]\n" + std::string(value) + "\n" + kTarget).find(".toml:2"), std::string::npos) << value;
    }
    EXPECT_NE(refused("").find("no [[target]]"), std::string::npos);
}

} // namespace
} // namespace memtrace
