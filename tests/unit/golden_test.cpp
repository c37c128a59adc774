// Recordings in, reports out: see tests/golden/README.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "report/render.hpp"
#include "store/recording.hpp"
#include "tests/unit/golden_streams.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;

fs::path golden_file(const std::string& name) {
    return fs::path(__FILE__).parent_path().parent_path() / "golden" / name;
}

bool updating() {
    return std::getenv("MEMTRACE_UPDATE_GOLDEN") != nullptr;
}

std::string slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in) << "cannot read " << path << ": run the tests from the top of the tree";
    return {std::istreambuf_iterator<char>(in), {}};
}

/// What `memtrace replay` prints.
struct Replayed {
    std::string text;
    int status = 0;
};

Replayed replay(const fs::path& recording, const std::string& output, const std::string& fail_on = "") {
    ::setenv("NO_COLOR", "1", 1); // the tests may have a terminal
    Options options;
    options.command = Command::replay;
    options.files = {recording};
    options.output = output;
    options.fail_on = fail_on;
    std::ostringstream caught;
    auto* const terminal = std::cout.rdbuf(caught.rdbuf());
    Replayed result;
    result.status = run_replay(options);
    std::cout.rdbuf(terminal);
    result.text = caught.str();
    return result;
}

void record(const fs::path& path, const std::vector<Event>& events) {
    auto writer = RecordingWriter::create(path);
    ASSERT_TRUE(writer) << writer.error().message;
    for (const auto& event : events) {
        ASSERT_TRUE(writer->write(event));
    }
    ASSERT_TRUE(writer->close());
}

class TemporaryFile {
public:
    TemporaryFile() {
        auto pattern = (fs::temp_directory_path() / "memtrace-golden-XXXXXX").string();
        const int fd = ::mkstemp(pattern.data());
        ::close(fd);
        path_ = pattern;
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { fs::remove(path_); }
    [[nodiscard]] const fs::path& path() const { return path_; }

private:
    fs::path path_;
};

struct Golden {
    const char* name;
    std::vector<Event> (*stream)(); ///< how the recording is made; null: recorded from a program of tests/targets
};

void PrintTo(const Golden& golden, std::ostream* out) {
    *out << golden.name;
}

class GoldenTest : public ::testing::TestWithParam<Golden> {
protected:
    [[nodiscard]] static std::string name() { return GetParam().name; }
    [[nodiscard]] static fs::path recording() { return golden_file(name() + ".rec"); }

    static void expect_golden(const std::string& extension, const std::string& output, const fs::path& from) {
        const auto replayed = replay(from, output);
        EXPECT_EQ(replayed.status, kExitFine);
        EXPECT_FALSE(replayed.text.empty());
        const auto path = golden_file(name() + extension);
        if (updating()) {
            std::ofstream(path, std::ios::binary) << replayed.text;
        }
        EXPECT_EQ(replayed.text, slurp(path)) << "replay of " << from;
    }
};

TEST_P(GoldenTest, RecordingGivesTheReports) {
    if (updating() && GetParam().stream != nullptr && !fs::exists(recording())) {
        record(recording(), GetParam().stream());
    }
    expect_golden(".txt", "text", recording());
    expect_golden(".json", "json", recording());
}

// The stream as this version writes it: the recording beside the reports may be of an older one.
TEST_P(GoldenTest, StreamRecordedNowGivesTheSameReports) {
    if (GetParam().stream == nullptr) {
        return;
    }
    const TemporaryFile now;
    record(now.path(), GetParam().stream());
    EXPECT_EQ(replay(now.path(), "text").text, slurp(golden_file(name() + ".txt")));
    EXPECT_EQ(replay(now.path(), "json").text, slurp(golden_file(name() + ".json")));
}

// Each line of the JSON is a report of its own, and what reads snapshots reads it.
TEST_P(GoldenTest, JsonCanBeReadBack) {
    std::istringstream lines(slurp(golden_file(name() + ".json")));
    int reports = 0;
    for (std::string line; std::getline(lines, line); ++reports) {
        const auto report = parse_json_report(line);
        ASSERT_TRUE(report) << report.error().message;
        std::ostringstream again;
        render_json(*report, again);
        EXPECT_EQ(again.str(), line + "\n");
    }
    EXPECT_GT(reports, 0);
}

// Recordings and reports are committed: nothing of the machine that made them may be in them.
TEST_P(GoldenTest, NothingOfTheMachineIsInIt) {
    for (const char* extension : {".rec", ".txt", ".json"}) {
        const auto bytes = slurp(golden_file(name() + extension));
        EXPECT_LT(bytes.size(), 64U << 10) << name() << extension;
        for (const std::string& place : {std::string("/home/"), std::string("/root/"), fs::current_path().string()}) {
            EXPECT_EQ(bytes.find(place), std::string::npos) << place << " in " << name() << extension;
        }
        if (std::string_view(extension) != ".rec") {
            EXPECT_EQ(bytes.find('\x1b'), std::string::npos) << "a control character reached the report";
        }
    }
}

// Cut anywhere, what came before is reported as it was, then the last state, and the status says that something is missing.
TEST_P(GoldenTest, CutRecordingGivesTheReportsBeforeTheCut) {
    const auto whole = slurp(recording());
    const auto text = slurp(golden_file(name() + ".txt"));
    for (const std::size_t tenths : {1U, 4U, 7U, 9U}) {
        const TemporaryFile cut;
        std::ofstream(cut.path(), std::ios::binary) << whole.substr(0, whole.size() * tenths / 10);
        ::testing::internal::CaptureStderr();
        const auto replayed = replay(cut.path(), "text");
        const auto said = ::testing::internal::GetCapturedStderr();
        EXPECT_EQ(replayed.status, kExitFailed);
        EXPECT_NE(said.find("truncated at byte"), std::string::npos) << said;
        EXPECT_EQ(said.find('\n'), said.size() - 1) << "one line: " << said;
        EXPECT_NE(replayed.text, text);
    }
}

std::vector<Golden> all_goldens() {
    return {{"leak", golden::leak}, {"healthy", golden::healthy}, {"exec", golden::exec}, {"loss", golden::loss},
            {"told", golden::told}, {"ages", golden::ages},       {"leak_rate", nullptr}, {"family", nullptr}};
}

INSTANTIATE_TEST_SUITE_P(Recordings, GoldenTest, ::testing::ValuesIn(all_goldens()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(GoldenStatus, FailOnLooksAtTheVerdict) {
    if (updating()) {
        GTEST_SKIP() << "recordings may be on their way";
    }
    EXPECT_EQ(replay(golden_file("leak.rec"), "json", "probable").status, kExitFound);
    EXPECT_EQ(replay(golden_file("leak.rec"), "json", "definite").status, kExitFine) << "it was followed for 70 s only";
    EXPECT_EQ(replay(golden_file("leak_rate.rec"), "json", "probable").status, kExitFound);
    EXPECT_EQ(replay(golden_file("leak_rate.rec"), "json", "definite").status, kExitFine) << "it was followed for 11 s only";
    EXPECT_EQ(replay(golden_file("healthy.rec"), "json", "suspect").status, kExitFine);
    EXPECT_EQ(replay(golden_file("told.rec"), "json", "definite").status, kExitFound) << "no site leaks, but references do";
}

} // namespace
} // namespace memtrace
