// Which processes can be listened to. This one has the probes of the SDK's allocators in it.
#include "app/told_heap.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace memtrace {
namespace {

struct ToldHeapTest : testing::Test {
    ToldHeap told{[this]() -> Result<ToldHeapTracer> {
                      ++loads;
                      return fail("the kernel has said no");
                  },
                  1};
    int loads = 0;
    std::vector<Mapping> mappings = read_maps(getpid()).value_or(std::vector<Mapping>{});
};

TEST_F(ToldHeapTest, AProcessThatTellsOfItsHeapCanBeListenedTo) {
    EXPECT_FALSE(told.can_listen(getpid())) << "nobody has looked";
    EXPECT_TRUE(told.look(getpid(), 1, mappings));
    EXPECT_TRUE(told.can_listen(getpid()));
    EXPECT_TRUE(told.sources(getpid()).empty());
    told.forget(getpid());
    EXPECT_FALSE(told.can_listen(getpid()));
    EXPECT_EQ(loads, 0);
}

TEST_F(ToldHeapTest, OneThatCouldNotBeListenedToIsNotTriedAgain) {
    EXPECT_TRUE(told.look(getpid(), 1, mappings));
    EXPECT_FALSE(told.listen(getpid(), 1));
    EXPECT_FALSE(told.listens(getpid()) || told.can_listen(getpid()));
    EXPECT_TRUE(told.look(getpid(), 1, mappings)) << "a library that comes later is no error";
    EXPECT_FALSE(told.can_listen(getpid()));
    EXPECT_EQ(loads, 1);
}

} // namespace
} // namespace memtrace
