#include "proc/writable_words.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <sys/epoll.h>

#include "base/fd.hpp"

namespace memtrace {
namespace {

TEST(WritableWords, MappingsThatPointersMayLieIn) {
    const auto found = word_mappings(parse_maps("5000-6000 r--p 00000000 fe:00 7 /bin/x\n"
                                                "6000-7000 r-xp 00001000 fe:00 7 /bin/x\n"
                                                "7000-8000 rw-p 00002000 fe:00 7 /bin/x\n"
                                                "9000-a000 rw-p 00000000 00:00 0 [heap]\n"
                                                "b000-c000 ---p 00000000 00:00 0\n"
                                                "c000-f000 rw-p 00000000 00:00 0\n"
                                                "f000-10000 r--p 00000000 00:00 0\n"
                                                "20000-21000 rw-s 00000000 00:01 9 /dev/shm/y\n"
                                                "nonsense\n"
                                                "30000-33000 rw-p 00000000 00:00 0 [stack]\n"
                                                "40000-41000 r--p 00000000 00:00 0 [vvar]\n"));
    ASSERT_EQ(found.size(), 6U);
    EXPECT_EQ(found[0].start, 0x7000U);
    EXPECT_TRUE(found[1].break_heap);
    EXPECT_EQ(found[2].start, 0xc000U);
    EXPECT_EQ(found[2].end, 0xf000U);
    EXPECT_TRUE(found[2].stack) << "behind a guard";
    EXPECT_FALSE(found[3].stack);
    EXPECT_EQ(found[4].start, 0x20000U);
    EXPECT_TRUE(found[5].stack);
}

std::uint64_t in_a_global = 0;

TEST(WritableWords, WhatAProcessHasWrittenIsThere) {
    constexpr std::uint64_t kMark = 0x1122'3344'5566'7788;
    in_a_global = kMark;
    const auto ranges = read_writable_words(::getpid(), {}, std::uint64_t{1} << 32);
    ASSERT_TRUE(ranges) << ranges.error().message;
    const auto at = reinterpret_cast<std::uint64_t>(&in_a_global);
    const auto around = std::find_if(ranges->begin(), ranges->end(), [&](const WordRange& range) {
        return at >= range.start && at < range.start + range.words.size() * sizeof(std::uint64_t);
    });
    ASSERT_NE(around, ranges->end());
    EXPECT_EQ(around->words[(at - around->start) / sizeof(std::uint64_t)], kMark);
}

TEST(WritableWords, TooMuchIsAnError) {
    EXPECT_FALSE(read_writable_words(::getpid(), {}, 4096));
}

TEST(WritableWords, BelowAStackPointerNothingIsRead) {
    const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
    const auto ranges = read_writable_words(::getpid(), {here}, std::uint64_t{1} << 32);
    ASSERT_TRUE(ranges) << ranges.error().message;
    for (const auto& range : *ranges) {
        const auto end = range.start + range.words.size() * sizeof(std::uint64_t);
        EXPECT_FALSE(range.start < here - 128 - 8 && end > here) << "the stack begins at its pointer";
    }
}

TEST(WritableWords, WhatEpollKeepsIsThere) {
    EXPECT_EQ(parse_epoll_words("pos:\t0\ntfd:        5 events:       19 data:     55d0c0ffee00  pos:0 ino:1 sdev:f\n"),
              std::vector<std::uint64_t>{0x55d0'c0ff'ee00});
    const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = 0x1234'5678'9abc;
    ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, reader.get(), &event), 0);
    const auto words = read_kept_words(::getpid());
    ASSERT_TRUE(words) << words.error().message;
    EXPECT_NE(std::find(words->begin(), words->end(), 0x1234'5678'9abcU), words->end());
}

} // namespace
} // namespace memtrace
