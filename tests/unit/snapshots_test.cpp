// The snapshot directory on a real file system, and what a full or read-only one does to it.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/fd.hpp"
#include "store/snapshots.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;
namespace fs = std::filesystem;

class Snapshots : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "memtrace-snapshots-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
    }
    void TearDown() override { fs::remove_all(root_); }

    [[nodiscard]] std::string path(const std::string& name) const { return (root_ / name).string(); }

    SnapshotDirectory open(const std::string& directory, std::vector<ReportFormat> formats = {ReportFormat::json},
                           unsigned keep = 0) {
        auto result = SnapshotDirectory::open(directory, std::move(formats), keep);
        EXPECT_TRUE(result) << result.error().message;
        return std::move(*result);
    }

    fs::path root_;
};

std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) {
        names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void put(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

Report report_at(std::uint64_t milliseconds, std::int32_t pid = 1234) {
    Report report = sample_report();
    report.time_unix_ns += milliseconds * 1'000'000;
    report.process.pid = pid;
    return report;
}

/// The exit status of `work`, run in a process of its own: it may drop rights and set limits.
int in_child(const std::function<int()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(work());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

using Names = std::vector<std::string>;

TEST_F(Snapshots, WritesOneFileForEveryFormat) {
    auto directory = open(path("snaps"), {ReportFormat::json, ReportFormat::pprof, ReportFormat::folded, ReportFormat::text});
    ASSERT_TRUE(directory.write(sample_report()));
    EXPECT_EQ(names_in(path("snaps")),
              (Names{"memtrace-1234-20260102T030405.678Z.folded", "memtrace-1234-20260102T030405.678Z.json",
                     "memtrace-1234-20260102T030405.678Z.pb.gz", "memtrace-1234-20260102T030405.678Z.txt"}));
    EXPECT_EQ(content(path("snaps/memtrace-1234-20260102T030405.678Z.json")), json_of(sample_report()));
    EXPECT_EQ(content(path("snaps/memtrace-1234-20260102T030405.678Z.txt")), text_of(sample_report()));
    EXPECT_TRUE(content(path("snaps/memtrace-1234-20260102T030405.678Z.pb.gz")).starts_with("\x1f\x8b"));
}

TEST_F(Snapshots, FormatGivenTwiceIsWrittenOnce) {
    auto directory = open(path("snaps"), {ReportFormat::json, ReportFormat::json});
    ASSERT_TRUE(directory.write(sample_report()));
    EXPECT_EQ(names_in(path("snaps")).size(), 1U);
}

TEST_F(Snapshots, NoFormatIsAnError) {
    const auto result = SnapshotDirectory::open(path("snaps"), {}, 0);
    ASSERT_FALSE(result);
    EXPECT_FALSE(fs::exists(path("snaps")));
}

TEST_F(Snapshots, NamesSortByTimeEvenWithinOneMillisecond) {
    auto directory = open(path("snaps"));
    for (int i = 0; i < 12; ++i) {
        Report report = report_at(0);
        report.duration_s = i;
        ASSERT_TRUE(directory.write(report));
    }
    ASSERT_TRUE(directory.write(report_at(1)));
    const Names names = names_in(path("snaps"));
    ASSERT_EQ(names.size(), 13U);
    EXPECT_EQ(names[0], "memtrace-1234-20260102T030405.678Z.json");
    EXPECT_EQ(names[11], "memtrace-1234-20260102T030405.678Z_011.json");
    EXPECT_EQ(names[12], "memtrace-1234-20260102T030405.679Z.json");
    for (int i = 0; i < 12; ++i) {
        const auto report = parse_json_report(content(path("snaps") + "/" + names[static_cast<std::size_t>(i)]));
        ASSERT_TRUE(report);
        EXPECT_EQ(report->duration_s, i);
    }
}

TEST_F(Snapshots, MomentTakenInAnotherFormatGetsASuffixToo) {
    ASSERT_TRUE(open(path("snaps"), {ReportFormat::folded}).write(report_at(0)));
    ASSERT_TRUE(open(path("snaps"), {ReportFormat::json}).write(report_at(0)));
    EXPECT_EQ(names_in(path("snaps")),
              (Names{"memtrace-1234-20260102T030405.678Z.folded", "memtrace-1234-20260102T030405.678Z_001.json"}));
}

TEST_F(Snapshots, RetentionCountsMomentsOfEachProcess) {
    auto directory = open(path("snaps"), {ReportFormat::json, ReportFormat::folded}, 2);
    for (std::uint64_t i = 0; i < 5; ++i) {
        ASSERT_TRUE(directory.write(report_at(i, 1)));
    }
    ASSERT_TRUE(directory.write(report_at(0, 12))); // its prefix begins like that of pid 1
    EXPECT_EQ(names_in(path("snaps")),
              (Names{"memtrace-1-20260102T030405.681Z.folded", "memtrace-1-20260102T030405.681Z.json",
                     "memtrace-1-20260102T030405.682Z.folded", "memtrace-1-20260102T030405.682Z.json",
                     "memtrace-12-20260102T030405.678Z.folded", "memtrace-12-20260102T030405.678Z.json"}));
}

TEST_F(Snapshots, RetentionRemovesMomentsOfEarlierRunsInEveryFormat) {
    ASSERT_TRUE(open(path("snaps"), {ReportFormat::pprof, ReportFormat::text}).write(report_at(0)));
    ASSERT_TRUE(open(path("snaps"), {ReportFormat::json}, 1).write(report_at(1)));
    EXPECT_EQ(names_in(path("snaps")), (Names{"memtrace-1234-20260102T030405.679Z.json"}));
}

TEST_F(Snapshots, RetentionLeavesForeignFilesAlone) {
    fs::create_directory(path("snaps"));
    const Names foreign{"memtrace-1234-20260102T030405.678Z.json.bak",
                        "memtrace-1234-20260102T030405.678Z_1.json",
                        "memtrace-1234-2026.json",
                        "memtrace-1234-.json",
                        "memtrace-1234-20260102T030405.678Z",
                        "memtrace-x-20260102T030405.678Z.json",
                        "notes.txt",
                        "memtrace-1234-xxxxxxxxTxxxxxx.xxxZ.json"};
    for (const auto& name : foreign) {
        put(path("snaps/" + name), "mine");
    }
    auto directory = open(path("snaps"), {ReportFormat::json}, 1);
    ASSERT_TRUE(directory.write(report_at(5)));
    ASSERT_TRUE(directory.write(report_at(6)));
    EXPECT_EQ(names_in(path("snaps")).size(), foreign.size() + 1);
    for (const auto& name : foreign) {
        EXPECT_EQ(content(path("snaps/" + name)), "mine") << name;
    }
}

TEST_F(Snapshots, ClockSetBackDoesNotCostTheNewestSnapshot) {
    auto directory = open(path("snaps"), {ReportFormat::json}, 2);
    ASSERT_TRUE(directory.write(report_at(5000)));
    ASSERT_TRUE(directory.write(report_at(6000)));
    ASSERT_TRUE(directory.write(report_at(0)));
    EXPECT_EQ(names_in(path("snaps")),
              (Names{"memtrace-1234-20260102T030405.678Z.json", "memtrace-1234-20260102T030411.678Z.json"}));
}

TEST_F(Snapshots, KeepZeroKeepsAll) {
    auto directory = open(path("snaps"));
    for (std::uint64_t i = 0; i < 20; ++i) {
        ASSERT_TRUE(directory.write(report_at(i)));
    }
    EXPECT_EQ(names_in(path("snaps")).size(), 20U);
}

TEST_F(Snapshots, OldSnapshotThatCannotBeRemovedIsReportedAndTheNewOneIsThere) {
    auto directory = open(path("snaps"), {ReportFormat::json}, 1);
    fs::create_directory(path("snaps/memtrace-1234-20200102T030405.678Z.json")); // a directory: unlink fails for root too
    const auto status = directory.write(report_at(0));
    ASSERT_FALSE(status);
    EXPECT_TRUE(status.error().message.starts_with("old snapshots cannot be removed: ")) << status.error().message;
    EXPECT_TRUE(fs::exists(path("snaps/memtrace-1234-20260102T030405.678Z.json")));
}

TEST_F(Snapshots, OpenRemovesLeftoversOfKilledRunsOnly) {
    fs::create_directory(path("snaps"));
    put(path("snaps/.memtrace-99-0.tmp"), "half");
    put(path("snaps/.memtrace-77-3.tmp"), "half");
    put(path("snaps/.other.tmp"), "mine");
    put(path("snaps/.memtrace-notes"), "mine");
    const UniqueFd writer(::open(path("snaps/.memtrace-77-3.tmp").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::flock(writer.get(), LOCK_EX), 0); // its writer lives
    open(path("snaps"));
    EXPECT_EQ(names_in(path("snaps")), (Names{".memtrace-77-3.tmp", ".memtrace-notes", ".other.tmp"}));
}

TEST_F(Snapshots, KilledBetweenWriteAndRenameLeavesEarlierSnapshotsAndIsCleanedUp) {
    auto directory = open(path("snaps"));
    ASSERT_TRUE(directory.write(report_at(0)));
    const std::string before = content(path("snaps/memtrace-1234-20260102T030405.678Z.json"));
    const int status = in_child([&] {
        const rlimit limit{4096, 4096};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        ::signal(SIGXFSZ, SIG_DFL); // killed by the kernel in the middle of a write
        return directory.write(large_report(1000, 20)) ? 0 : 1;
    });
    EXPECT_EQ(status, -1);
    EXPECT_EQ(names_in(path("snaps")).size(), 2U); // the temporary file of the dead
    open(path("snaps"));
    EXPECT_EQ(names_in(path("snaps")), (Names{"memtrace-1234-20260102T030405.678Z.json"}));
    EXPECT_EQ(content(path("snaps/memtrace-1234-20260102T030405.678Z.json")), before);
}

TEST_F(Snapshots, FileThatGrowsPastTheLimitLeavesNothingBehind) {
    auto directory = open(path("snaps"), {ReportFormat::json, ReportFormat::pprof}, 1);
    ASSERT_TRUE(directory.write(report_at(0)));
    const Names before = names_in(path("snaps"));
    const int status = in_child([&] {
        const rlimit limit{4096, 4096};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        ::signal(SIGXFSZ, SIG_IGN);
        const auto written = directory.write(large_report(1000, 20));
        return !written && written.error().errnum == EFBIG ? 0 : 1;
    });
    EXPECT_EQ(status, 0);
    EXPECT_EQ(names_in(path("snaps")), before);
}

constexpr int kNoNamespaces = 77;

/// A mount namespace of our own; without root, one in which we pass for root.
bool enter_mount_namespace() {
    const std::string user = "0 " + std::to_string(::geteuid()) + " 1";
    const std::string group = "0 " + std::to_string(::getegid()) + " 1";
    const bool root = ::geteuid() == 0;
    if (::unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
        return false;
    }
    if (!root) { // an unmapped user cannot create files
        put("/proc/self/uid_map", user);
        put("/proc/self/setgroups", "deny");
        put("/proc/self/gid_map", group);
    }
    return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

/// A file system of its own for `work`, 64 KiB large, mounted on `where`.
int on_small_tmpfs(const std::string& where, const std::function<int()>& work) {
    return in_child([&] {
        if (!enter_mount_namespace() || ::mount("tmpfs", where.c_str(), "tmpfs", 0, "size=64k") != 0) {
            return kNoNamespaces;
        }
        return work();
    });
}

TEST_F(Snapshots, FullDiskLosesNoEarlierSnapshotAndLeavesNoTemporaryFile) {
    fs::create_directory(path("disk"));
    const int status = on_small_tmpfs(path("disk"), [&] {
        auto directory = SnapshotDirectory::open(path("disk"), {ReportFormat::folded, ReportFormat::json}, 1);
        if (!directory || !directory->write(report_at(0))) {
            return 1;
        }
        const Names before = names_in(path("disk"));
        Report large = large_report(150, 20); // folded still fits, the JSON does not
        large.time_unix_ns += 1'000'000;
        const auto written = directory->write(large);
        if (written || written.error().errnum != ENOSPC || !contains(written.error().message, "No space left")) {
            return 2;
        }
        if (names_in(path("disk")) != before || content(path("disk") + "/" + before[1]) != json_of(report_at(0))) {
            return 3;
        }
        return directory->write(report_at(2)) ? 0 : 4; // and there is room for a small one
    });
    if (status == kNoNamespaces && ::geteuid() != 0) {
        GTEST_SKIP() << "no user namespaces here";
    }
    EXPECT_EQ(status, 0);
}

TEST_F(Snapshots, ReadOnlyFileSystemIsAnErrorAtOpening) {
    fs::create_directory(path("disk"));
    const int status = on_small_tmpfs(path("disk"), [&] {
        if (::mount("none", path("disk").c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
            return 1;
        }
        const auto directory = SnapshotDirectory::open(path("disk"), {ReportFormat::json}, 1);
        return !directory && directory.error().errnum == EROFS ? 0 : 2;
    });
    if (status == kNoNamespaces && ::geteuid() != 0) {
        GTEST_SKIP() << "no user namespaces here";
    }
    EXPECT_EQ(status, 0);
}

TEST_F(Snapshots, DirectoryWithoutWritePermissionIsAnErrorAtOpening) {
    fs::create_directory(path("snaps"));
    fs::permissions(root_, fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
    fs::permissions(path("snaps"),
                    fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
    const int status = in_child([&] {
        constexpr uid_t kNobody = 65534;
        if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) {
            return 1;
        }
        const auto existing = SnapshotDirectory::open(path("snaps"), {ReportFormat::json}, 0);
        const auto below = SnapshotDirectory::open(path("snaps/below"), {ReportFormat::json}, 0);
        return !existing && existing.error().errnum == EACCES && !below && below.error().errnum == EACCES ? 0 : 2;
    });
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(names_in(path("snaps")).empty());
}

TEST_F(Snapshots, MissingParentIsAnErrorThatSaysWhatToDo) {
    const auto result = SnapshotDirectory::open(path("no/such/place"), {ReportFormat::json}, 0);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message,
              "snapshot directory " + path("no/such/place") + ": its parent does not exist: create it first");
}

TEST_F(Snapshots, FileInPlaceOfTheDirectoryIsAnError) {
    put(path("file"), "mine");
    const auto result = SnapshotDirectory::open(path("file"), {ReportFormat::json}, 0);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "snapshot directory " + path("file") + ": not a directory");
    EXPECT_EQ(content(path("file")), "mine");
    EXPECT_FALSE(SnapshotDirectory::open(path("file/below"), {ReportFormat::json}, 0));
}

TEST_F(Snapshots, EmptyPathIsAnError) {
    EXPECT_FALSE(SnapshotDirectory::open("", {ReportFormat::json}, 0));
}

TEST_F(Snapshots, DirectoryThatVanishesIsAnErrorAtWriting) {
    auto directory = open(path("snaps"));
    fs::remove_all(path("snaps"));
    const auto status = directory.write(report_at(0));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().errnum, ENOENT);
    EXPECT_TRUE(contains(status.error().message, "cannot write a snapshot to " + path("snaps")));
}

TEST_F(Snapshots, TrailingSlashesAndLinksAreFine) {
    auto directory = open(path("snaps") + "//");
    EXPECT_EQ(directory.path(), path("snaps"));
    fs::create_directory_symlink(path("snaps"), path("link"));
    ASSERT_TRUE(open(path("link")).write(report_at(0)));
    EXPECT_EQ(names_in(path("snaps")).size(), 1U);
}

TEST_F(Snapshots, AtomicWriteReplacesTheWholeFile) {
    put(path("out.json"), std::string(10'000, 'x'));
    ASSERT_TRUE(write_file_atomically(path("out.json"), "short"));
    EXPECT_EQ(content(path("out.json")), "short");
    ASSERT_TRUE(write_file_atomically(path("new.json"), ""));
    EXPECT_EQ(names_in(root_), (Names{"new.json", "out.json"}));
}

TEST_F(Snapshots, AtomicWriteThatFailsKeepsTheOldContent) {
    put(path("out.json"), "old");
    const int status = in_child([&] {
        const rlimit limit{4096, 4096};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        ::signal(SIGXFSZ, SIG_IGN);
        const auto written = write_file_atomically(path("out.json"), std::string(10'000, 'x'));
        return !written && written.error().errnum == EFBIG && written.error().message.starts_with(path("out.json") + ": ") ? 0
                                                                                                                           : 1;
    });
    EXPECT_EQ(status, 0);
    EXPECT_EQ(content(path("out.json")), "old");
    EXPECT_EQ(names_in(root_), (Names{"out.json"}));
}

TEST_F(Snapshots, AtomicWriteFollowsLinks) {
    put(path("real"), "old");
    fs::create_symlink(path("real"), path("link"));
    ASSERT_TRUE(write_file_atomically(path("link"), "new"));
    EXPECT_TRUE(fs::is_symlink(path("link")));
    EXPECT_EQ(content(path("real")), "new");
}

TEST_F(Snapshots, CheckingAFileLeavesItAsItIs) {
    put(path("out.json"), "old");
    EXPECT_TRUE(check_writable(path("out.json")));
    EXPECT_EQ(content(path("out.json")), "old");
    EXPECT_TRUE(check_writable(path("new.json")));
    EXPECT_TRUE(check_writable("/dev/full"));
    const auto directory = check_writable(root_);
    ASSERT_FALSE(directory);
    EXPECT_EQ(directory.error().errnum, EISDIR);
    EXPECT_TRUE(directory.error().message.starts_with(root_.string()));
    EXPECT_FALSE(check_writable(path("no/parent")));
    EXPECT_EQ(names_in(root_), (Names{"out.json"}));
}

TEST_F(Snapshots, AtomicWriteDoesNotReplaceDevicesOrPipes) {
    ASSERT_TRUE(write_file_atomically("/dev/null", "gone"));
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    const auto full = write_file_atomically("/dev/full", "no room");
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().errnum, ENOSPC);
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    const UniqueFd reader(::open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(write_file_atomically(path("pipe"), "through"));
    char text[16] = {};
    EXPECT_EQ(::read(reader.get(), text, sizeof(text)), 7);
    EXPECT_STREQ(text, "through");
}

TEST_F(Snapshots, AtomicWriteToADirectoryOrBelowAMissingOneIsAnError) {
    const auto directory = write_file_atomically(root_.string(), "x");
    ASSERT_FALSE(directory);
    EXPECT_EQ(directory.error().errnum, EISDIR);
    const auto missing = write_file_atomically(path("no/file"), "x");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().errnum, ENOENT);
}

} // namespace
} // namespace memtrace
