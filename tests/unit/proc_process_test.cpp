#include "proc/process.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace memtrace {
namespace {

constexpr std::int32_t kNoSuchPid = 1 << 30; // above any that the kernel gives

/// A child that sleeps until the test ends, under the name that the test gives it.
class Child {
public:
    explicit Child(const char* comm = "memtrace-child") {
        int ready[2];
        EXPECT_EQ(::pipe(ready), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::prctl(PR_SET_NAME, comm);
            (void)!::write(ready[1], "x", 1);
            for (;;) {
                ::pause();
            }
        }
        char byte = 0;
        EXPECT_EQ(::read(ready[0], &byte, 1), 1);
        ::close(ready[0]);
        ::close(ready[1]);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() { reap(); }

    /// Ends it and leaves it unreaped.
    void end() const {
        ::kill(pid_, SIGKILL);
        siginfo_t info{};
        ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
    }
    void reap() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(std::exchange(pid_, 0), nullptr, 0);
        }
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    pid_t pid_ = 0;
};

TEST(ProcessInfo, OwnProcess) {
    const auto info = read_process_info(::getpid());
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->pid, ::getpid());
    EXPECT_EQ(info->exe, std::filesystem::read_symlink("/proc/self/exe").string());
    EXPECT_FALSE(info->cmdline.empty());
    EXPECT_GT(info->start_ticks, 0U);
    const auto now = wall_ns();
    EXPECT_LT(info->start_wall_ns, now + kNanosPerSecond);
    EXPECT_GT(info->start_wall_ns, now - 3'600 * kNanosPerSecond) << "these tests take less than an hour";
}

TEST(ProcessInfo, StaysTheSameFromCallToCall) {
    const auto first = read_process_info(::getpid());
    const auto second = read_process_info(::getpid());
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->start_ticks, second->start_ticks);
    EXPECT_EQ(first->exe, second->exe);
}

// What stands between the parentheses of /proc/PID/stat may hold parentheses and blanks.
TEST(ProcessInfo, NameThatLooksLikeFieldsIsOnlyAName) {
    const Child child(") Z 1 (a b");
    const auto info = read_process_info(child.pid());
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->comm, ") Z 1 (a b");
    EXPECT_GE(info->start_ticks, read_process_info(::getpid())->start_ticks);
}

TEST(ProcessInfo, NoSuchProcess) {
    for (const auto pid : {kNoSuchPid, 0, -1}) {
        const auto info = read_process_info(pid);
        ASSERT_FALSE(info);
        EXPECT_EQ(info.error().errnum, ESRCH);
        EXPECT_EQ(info.error().message, "no process " + std::to_string(pid) + ": it has exited or never was");
    }
}

TEST(ProcessInfo, ZombieIsRefused) {
    const Child child;
    child.end();
    const auto info = read_process_info(child.pid());
    ASSERT_FALSE(info);
    EXPECT_NE(info.error().message.find("has ended already (a zombie)"), std::string::npos) << info.error().message;
}

TEST(ProcessInfo, InitIsReadOrRefusedForTheRightReason) {
    const auto info = read_process_info(1);
    if (info) {
        EXPECT_EQ(info->pid, 1);
        EXPECT_FALSE(info->comm.empty());
        EXPECT_FALSE(info->exe.empty());
    } else { // another user's: its program may not be seen
        EXPECT_EQ(info.error().errnum, EACCES) << info.error().message;
    }
}

TEST(ProcessInfo, KernelThreadIsRefused) {
    std::string comm;
    std::ifstream("/proc/2/comm") >> comm;
    if (comm != "kthreadd") {
        GTEST_SKIP() << "kernel threads are not visible in this PID namespace";
    }
    const auto info = read_process_info(2);
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error().message, "process 2 is a kernel thread: it has no user memory to trace");
}

// ---- usage --------------------------------------------------------------------------------------------------------------------

TEST(ProcessUsage, MemoryThatIsTouchedIsResident) {
    const auto before = read_process_usage(::getpid());
    constexpr std::size_t kBytes = 64U << 20;
    std::vector<char> memory(kBytes, 'x');
    const auto after = read_process_usage(::getpid());
    ASSERT_TRUE(before && after);
    EXPECT_GT(before->rss_bytes, 1U << 20);
    EXPECT_GE(after->rss_bytes, before->rss_bytes + kBytes * 9 / 10);
    EXPECT_EQ(memory[kBytes / 2], 'x');
}

TEST(ProcessUsage, TimeOfAllThreadsCounts) {
    const auto before = read_process_usage(::getpid());
    std::thread([] {
        timespec now{};
        do {
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        } while (now.tv_sec == 0 && now.tv_nsec < 100'000'000);
    }).join();
    const auto after = read_process_usage(::getpid());
    ASSERT_TRUE(before && after);
    EXPECT_GE(after->cpu_ns, before->cpu_ns + 80'000'000) << "a tenth of a second, told in clock ticks";
}

TEST(ProcessUsage, ProcessThatIsGoneIsAnError) {
    EXPECT_FALSE(read_process_usage(kNoSuchPid));
}

// ---- watching and finding -----------------------------------------------------------------------------------------------------

TEST(Pidfd, BecomesReadableWhenTheProcessEnds) {
    const Child child;
    const auto fd = open_pidfd(child.pid());
    ASSERT_TRUE(fd) << fd.error().message;
    pollfd watched{fd->get(), POLLIN, 0};
    EXPECT_EQ(::poll(&watched, 1, 0), 0);
    child.end();
    EXPECT_EQ(::poll(&watched, 1, 10'000), 1);
}

TEST(Pidfd, NoSuchProcess) {
    const auto fd = open_pidfd(kNoSuchPid);
    ASSERT_FALSE(fd);
    EXPECT_EQ(fd.error().errnum, ESRCH);
}

TEST(ListProcesses, HoldsThisOneAndIsSorted) {
    const auto pids = list_processes();
    EXPECT_TRUE(std::is_sorted(pids.begin(), pids.end()));
    EXPECT_TRUE(std::binary_search(pids.begin(), pids.end(), ::getpid()));
    EXPECT_GT(pids.front(), 0);
}

TEST(FindByComm, FindsAllOfThatNameAndNotItself) {
    const Child one("mt-same-name");
    const Child two("mt-same-name");
    const auto found = find_by_comm("mt-same-name");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, (std::vector<std::int32_t>{std::min(one.pid(), two.pid()), std::max(one.pid(), two.pid())}));
    std::string own;
    std::getline(std::ifstream("/proc/self/comm"), own);
    const auto others = find_by_comm(own);
    EXPECT_TRUE(!others || std::find(others->begin(), others->end(), ::getpid()) == others->end());
}

TEST(FindByComm, NobodyIsAnErrorThatNamesTheLimit) {
    const auto found = find_by_comm("no such process");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().message,
              "no process is called \"no such process\" (names are cut to 15 characters: see /proc/PID/comm)");
}

TEST(FindByCgroup, WhatIsNoCgroupIsAnError) {
    for (const char* path : {"/tmp", "/no/such/directory", ""}) {
        const auto found = find_by_cgroup(path);
        ASSERT_FALSE(found);
        EXPECT_NE(found.error().message.find("is no cgroup directory"), std::string::npos) << found.error().message;
    }
}

// A directory that looks like one: what counts is what its files say, at any depth.
TEST(FindByCgroup, ProcessesBelowCountTooAndOnce) {
    auto pattern = (std::filesystem::temp_directory_path() / "memtrace-cgroup-XXXXXX").string();
    const std::filesystem::path root = ::mkdtemp(pattern.data());
    std::filesystem::create_directories(root / "inner" / "deep");
    std::filesystem::create_directories(root / "empty");
    std::ofstream(root / "cgroup.procs") << "30\n10\n0\n" << ::getpid() << '\n';
    std::ofstream(root / "inner" / "deep" / "cgroup.procs") << "20\n10\n";
    std::ofstream(root / "empty" / "cgroup.procs");
    const auto found = find_by_cgroup(root);
    const auto nobody = find_by_cgroup(root / "empty");
    std::filesystem::remove_all(root);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, (std::vector<std::int32_t>{10, 20, 30}));
    EXPECT_FALSE(nobody);
}

TEST(ReadFile, WholeOrAnError) {
    EXPECT_EQ(read_file("/proc/self/comm")->back(), '\n');
    EXPECT_EQ(*read_file("/dev/null"), "");
    const auto missing = read_file("/no/such/file");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message, "cannot read /no/such/file: No such file or directory");
    EXPECT_FALSE(read_file("/tmp")) << "a directory";
}

} // namespace
} // namespace memtrace
