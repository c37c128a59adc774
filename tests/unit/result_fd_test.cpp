#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <type_traits>
#include <utility>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {
namespace {

Result<int> half_of(int number) {
    if (number % 2 != 0) {
        return fail(std::to_string(number) + " is odd");
    }
    return number / 2;
}

TEST(Result, CarriesAValueOrAnError) {
    const auto good = half_of(4);
    ASSERT_TRUE(good);
    EXPECT_EQ(*good, 2);
    const auto bad = half_of(3);
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().message, "3 is odd");
    EXPECT_EQ(bad.error().errnum, 0);
}

TEST(Result, ErrnoIsKeptAndSpelledOut) {
    const Status status = fail_errno("cannot open /x", ENOENT);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message, "cannot open /x: No such file or directory");
    EXPECT_EQ(status.error().errnum, ENOENT);
}

TEST(Result, ContextGoesInFrontAndErrnoStays) {
    const Error error = Error{"No space left on device", ENOSPC}.in("run.rec").in("recording");
    EXPECT_EQ(error.message, "recording: run.rec: No space left on device");
    EXPECT_EQ(error.errnum, ENOSPC);
}

TEST(Result, ErrorPassesOnToAnotherType) {
    const auto text = half_of(7).map([](int number) { return std::to_string(number); });
    static_assert(std::is_same_v<decltype(text), const Result<std::string>>);
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().message, "7 is odd");
}

int open_something() {
    return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

static_assert(!std::is_copy_constructible_v<UniqueFd> && !std::is_copy_assignable_v<UniqueFd>);
static_assert(std::is_nothrow_move_constructible_v<UniqueFd> && std::is_nothrow_move_assignable_v<UniqueFd>);

TEST(UniqueFd, ClosesAtTheEndOfItsScope) {
    int raw = -1;
    {
        const UniqueFd fd(open_something());
        raw = fd.get();
        ASSERT_TRUE(fd);
        EXPECT_TRUE(is_open(raw));
    }
    EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFd, EmptyOwnsNothing) {
    UniqueFd fd;
    EXPECT_FALSE(fd);
    EXPECT_EQ(fd.get(), -1);
    EXPECT_EQ(fd.release(), -1);
    errno = 0;
    fd.reset();
    EXPECT_EQ(errno, 0); // close(-1) would have set EBADF
}

TEST(UniqueFd, ZeroIsADescriptor) {
    UniqueFd fd(0);
    EXPECT_TRUE(fd);
    EXPECT_EQ(fd.release(), 0);
}

TEST(UniqueFd, MoveHandsOver) {
    UniqueFd from(open_something());
    const int raw = from.get();
    UniqueFd to(std::move(from));
    EXPECT_FALSE(from); // NOLINT(bugprone-use-after-move): what is left behind is what this tests
    EXPECT_EQ(to.get(), raw);
    EXPECT_TRUE(is_open(raw));
}

TEST(UniqueFd, AssignmentClosesTheOldOne) {
    UniqueFd a(open_something());
    UniqueFd b(open_something());
    const int old = a.get();
    const int kept = b.get();
    a = std::move(b);
    EXPECT_FALSE(is_open(old));
    EXPECT_EQ(a.get(), kept);
    EXPECT_TRUE(is_open(kept));
}

TEST(UniqueFd, AssignmentToItselfKeepsIt) {
    UniqueFd fd(open_something());
    const int raw = fd.get();
    auto& same = fd;
    fd = std::move(same);
    EXPECT_EQ(fd.get(), raw);
    EXPECT_TRUE(is_open(raw));
}

TEST(UniqueFd, ReleasedIsNotClosed) {
    int raw = -1;
    {
        UniqueFd fd(open_something());
        raw = fd.release();
        EXPECT_FALSE(fd);
    }
    EXPECT_TRUE(is_open(raw));
    ::close(raw);
}

TEST(UniqueFd, ResetTakesANewOne) {
    UniqueFd fd(open_something());
    const int old = fd.get();
    const int next = open_something();
    fd.reset(next);
    EXPECT_FALSE(is_open(old));
    EXPECT_EQ(fd.get(), next);
    fd.reset();
    EXPECT_FALSE(is_open(next));
}

} // namespace
} // namespace memtrace
