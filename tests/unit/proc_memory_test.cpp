// Memory by kind and its limits, as the kernel writes them.
#include "proc/memory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace memtrace {
namespace {

TEST(MemoryUse, IsReadFromStatus) {
    const auto use = parse_memory_use(
        "Name:\tRssAnon: 7\nVmRSS:\t  900 kB\nRssAnon:\t   64 kB\nRssFile:\t    8 kB\nRssShmem:\t 0 kB\nVmSwap:\t 2 kB");
    EXPECT_EQ(use.anon_bytes, 64U << 10);
    EXPECT_EQ(use.file_bytes, 8U << 10);
    EXPECT_EQ(use.shmem_bytes, 0U);
    EXPECT_EQ(use.swap_bytes, 2U << 10);
    EXPECT_EQ(parse_memory_use("").anon_bytes, 0U);
    EXPECT_EQ(parse_memory_use("RssAnon:").anon_bytes, 0U);
    EXPECT_EQ(parse_memory_use("RssAnon: none\n").anon_bytes, 0U);
}

TEST(StackBytes, AreThoseAboveAGuardAndTheFirst) {
    EXPECT_EQ(parse_stack_bytes("1000-2000 ---p 00000000 00:00 0 \nRss: 0 kB\n"
                                "2000-9000 rw-p 00000000 00:00 0 \nSize: 28 kB\nRss: 12 kB\n" // a thread's
                                "9000-a000 rw-p 00000000 00:00 0 \nRss: 4 kB\n"               // next to no guard
                                "b000-c000 ---p 00000000 00:00 0 \nRss: 0 kB\n"
                                "d000-e000 rw-p 00000000 00:00 0 \nRss: 16 kB\n" // not at its end
                                "e000-f000 ---p 00000000 08:01 7 /lib/x.so\nRss: 0 kB\n"
                                "f000-f800 rw-p 00000000 00:00 0 \nRss: 32 kB\n"
                                "7ffe0000-7fff0000 rw-p 00000000 00:00 0 [stack]\nRss: 64 kB\nVmFlags: rd wr\n"),
              76U << 10);
    EXPECT_EQ(parse_stack_bytes(""), 0U);
    EXPECT_EQ(parse_stack_bytes("-\n- \nRss:\n1-2 rw-p"), 0U);
}

TEST(MemoryOfThisProcess, AddsUp) {
    const auto use = read_memory_use(::getpid());
    ASSERT_TRUE(use) << use.error().message;
    EXPECT_GT(use->anon_bytes, 0U);
    EXPECT_GT(use->file_bytes, 0U);
    EXPECT_FALSE(read_memory_use(-1));
    const auto limit = read_memory_limit(::getpid());
    EXPECT_GT(limit.limit_bytes, use->anon_bytes);
    EXPECT_GT(limit.used_bytes, 0U);
}

TEST(MemoryOfThisProcess, StackOfAThreadIsSeen) {
    std::mutex mutex;
    std::condition_variable changed;
    bool used = false;
    bool done = false;
    const auto before = read_stack_bytes(::getpid());
    ASSERT_TRUE(before) << before.error().message;
    std::thread thread([&] {
        volatile char deep[(1 << 20) + (1 << 14)]; // more than is asked for: its ends may have been there before
        for (std::size_t i = 0; i < sizeof(deep); i += 1024) {
            deep[i] = 1;
        }
        std::unique_lock lock(mutex);
        used = true;
        changed.notify_all();
        changed.wait(lock, [&] { return done; });
    });
    {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return used; });
        const auto with = read_stack_bytes(::getpid());
        done = true;
        changed.notify_all();
        ASSERT_TRUE(with) << with.error().message;
        EXPECT_GE(*with, *before + (1 << 20));
    }
    thread.join();
}

} // namespace
} // namespace memtrace
