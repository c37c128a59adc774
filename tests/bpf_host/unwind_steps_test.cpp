// Runs tests/targets/unwind/steps.c instruction by instruction, as each compiler makes it, and holds our stacks to libdw's.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <sstream>

#include "tests/bpf_host/unwind_tracee.hpp"

namespace {

using namespace memtrace;
using native::Frames;
using native::Tracee;

// Relative to this program, which lies in .output.
std::string target(const std::string& variant) {
    char path[4096];
    const auto size = readlink("/proc/self/exe", path, sizeof(path) - 1);
    const std::string self(path, size > 0 ? static_cast<std::size_t>(size) : 0);
    return self.substr(0, self.rfind('/')) + "/targets/unwind/steps-" + variant;
}

std::string hex(const Frames& frames) {
    std::ostringstream out;
    for (const auto frame : frames) {
        out << std::hex << ' ' << frame;
    }
    return out.str();
}

std::string hex(const std::vector<Tracee::ReferenceFrame>& frames) {
    Frames pcs;
    std::transform(frames.begin(), frames.end(), std::back_inserter(pcs), [](const auto& frame) { return frame.pc; });
    return hex(pcs);
}

/// How many of the frames are the same.
std::size_t agreement(const Frames& ours, const std::vector<Tracee::ReferenceFrame>& theirs) {
    std::size_t i = 0;
    while (i < ours.size() && i < theirs.size() &&
           (ours[i] == theirs[i].pc || (i > 0 && theirs[i].activation && ours[i] == theirs[i].pc + 1))) {
        ++i;
    }
    return i;
}

class Stepper {
public:
    explicit Stepper(const std::string& path) {
        pid_ = fork();
        if (pid_ == 0) {
            ptrace(PTRACE_TRACEME, 0, 0, 0);
            execl(path.c_str(), path.c_str(), static_cast<char*>(nullptr));
            _exit(127);
        }
    }
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;
    ~Stepper() {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    /// The signal that it has stopped for, 0: it has ended.
    [[nodiscard]] int wait() const {
        int status = 0;
        return waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
    }
    void go(int signal = 0) const { ptrace(PTRACE_CONT, pid_, 0, signal); }
    void step(int signal = 0) const { ptrace(PTRACE_SINGLESTEP, pid_, 0, signal); }
    [[nodiscard]] std::uint64_t pc() const {
        user_regs_struct regs{};
        ptrace(PTRACE_GETREGS, pid_, 0, &regs);
        return regs.rip;
    }
    [[nodiscard]] bool at_breakpoint() const {
        return (ptrace(PTRACE_PEEKTEXT, pid_, pc() & ~7ull, 0) >> pc() % 8 * 8 & 0xff) == 0xcc;
    }

private:
    pid_t pid_;
};

class UnwindSteps : public testing::TestWithParam<std::string> {};

TEST_P(UnwindSteps, EachInstructionHasTheStackThatLibdwSees) {
    const Stepper process(target(GetParam()));
    ASSERT_EQ(process.wait(), SIGTRAP); // exec
    process.go();
    ASSERT_EQ(process.wait(), SIGTRAP) << "the first breakpoint";
    Tracee tracee(process.pid());
    tracee.learn();
    constexpr std::uint64_t kProgramEnd = 0x1000000; // linked at a fixed place; libraries are far above
    constexpr int kEachOutside = 31;                 // of the instructions of libraries
    const auto first = tracee.walk();
    ASSERT_GE(first.frames.size(), 4u);
    const Frames bottom(first.frames.end() - 3, first.frames.end()); // what called main, down to _start
    int compared = 0;
    int beyond = 0;
    int unsupported = 0;
    int incomplete = 0; // in ours as in libdw's: what compilers say of some epilogues is not so
    int outside = 0;
    int recalled = 0;
    int signal = 0;
    while (!process.at_breakpoint()) {
        process.step(signal);
        signal = process.wait();
        ASSERT_NE(signal, 0) << "it ended before the last breakpoint";
        signal = signal == SIGTRAP ? 0 : signal;
        if (process.pc() >= kProgramEnd && ++outside % kEachOutside != 0) {
            continue;
        }
        const auto ours = tracee.walk();
        const auto theirs = tracee.reference();
        ASSERT_FALSE(ours.recalled_wrong) << "at " << std::hex << process.pc() << hex(ours.frames);
        recalled += ours.recalled;
        if (process.pc() >= kProgramEnd && theirs.size() < ours.frames.size()) {
            // libdw does not get through the dynamic linker's trampoline, whose frame begins at rbx. As far as it gets:
            ASSERT_EQ(agreement(ours.frames, theirs), theirs.size()) << hex(ours.frames) << '\n' << hex(theirs);
            ASSERT_TRUE(std::equal(bottom.rbegin(), bottom.rend(), ours.frames.rbegin())) << hex(ours.frames);
            ASSERT_TRUE(ours.complete);
            ++beyond;
            continue;
        }
        if (process.pc() >= kProgramEnd && ours.stop == MT_UNWIND_UNSUPPORTED) {
            // Return addresses in registers, as in longjmp's last instructions. The frame pointer may have helped.
            ASSERT_EQ(ours.frames.front(), process.pc());
            ASSERT_EQ(ours.certain, 1u);
            ASSERT_FALSE(ours.complete);
            ++unsupported;
            continue;
        }
        ASSERT_EQ(agreement(ours.frames, theirs), std::max(ours.frames.size(), theirs.size()))
            << "at " << std::hex << process.pc() << ", stop " << ours.stop << "\nours  " << hex(ours.frames) << "\nlibdw "
            << hex(theirs);
        incomplete += !ours.complete;
        ++compared;
    }
    EXPECT_GT(compared, 500);
    EXPECT_GT(recalled, 10) << "qsort and loops come to the same place again";
    EXPECT_LT(beyond, compared);
    EXPECT_LE(unsupported, 2);
    EXPECT_LE(incomplete, 6);
    EXPECT_GT(outside, 1000) << "lazy binding, signals and qsort are part of it";
}

std::vector<std::string> variants() {
    std::vector<std::string> names;
    for (const char* compiler : {"gcc", "clang"}) {
        for (const char* language : {"c", "cxx"}) {
            for (const char* level : {"O0", "O1", "O2", "O3"}) {
                names.push_back(std::string(compiler) + "-" + language + "-" + level);
            }
        }
    }
    return names;
}

INSTANTIATE_TEST_SUITE_P(, UnwindSteps, testing::ValuesIn(variants()), [](const auto& variant) {
    auto name = variant.param;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

} // namespace
