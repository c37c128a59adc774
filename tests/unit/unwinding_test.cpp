#include "app/unwinding.hpp"

#include <gtest/gtest.h>

namespace memtrace {
namespace {

constexpr std::uint64_t kAtTheHook = 7; // voluntary switches when unwinding began

TEST(UnwindStop, IsComingWhileTheThreadHasNotSwitched) {
    EXPECT_EQ(judge_unwind_stop('R', kAtTheHook, kAtTheHook), UnwindStop::coming);
    // Stopped, but as an earlier look at it saw: the count is read last.
    EXPECT_EQ(judge_unwind_stop('T', kAtTheHook, kAtTheHook), UnwindStop::coming);
}

TEST(UnwindStop, IsHereWhereTheThreadStandsInTheNextSwitch) {
    EXPECT_EQ(judge_unwind_stop('T', kAtTheHook + 1, kAtTheHook), UnwindStop::here);
    EXPECT_EQ(judge_unwind_stop('t', kAtTheHook + 1, kAtTheHook), UnwindStop::here) << "a debugger is attached";
}

TEST(UnwindStop, IsOverOnceAnotherTracerLetItGoOn) {
    EXPECT_EQ(judge_unwind_stop('R', kAtTheHook + 1, kAtTheHook), UnwindStop::over);
    EXPECT_EQ(judge_unwind_stop('S', kAtTheHook + 5, kAtTheHook), UnwindStop::over);
}

TEST(UnwindStop, OfALaterUnwindingIsNotTakenForThisOne) {
    EXPECT_EQ(judge_unwind_stop('T', kAtTheHook + 2, kAtTheHook), UnwindStop::over);
}

TEST(UnwindStop, IsOverWhereTheThreadHasEnded) {
    EXPECT_EQ(judge_unwind_stop('Z', kAtTheHook, kAtTheHook), UnwindStop::over);
    EXPECT_EQ(judge_unwind_stop('X', 0, kAtTheHook), UnwindStop::over);
}

} // namespace
} // namespace memtrace
