// What a process may hold, however it can be asked.
#include "proc/resources.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace memtrace {
namespace {

/// What `ask` returns in a process of its own.
template <class Ask>
int in_child(Ask ask) {
    const auto child = ::fork();
    if (child == 0) {
        ::_exit(ask());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// A soft and a hard limit that nothing else has.
void limit_descriptors() {
    const rlimit limits{77, 88};
    ::setrlimit(RLIMIT_NOFILE, &limits);
}

TEST(DescriptorLimit, IsTheSoftOne) {
    EXPECT_EQ(in_child([] {
                  limit_descriptors();
                  return static_cast<int>(descriptor_limit(::getpid()));
              }),
              77);
    EXPECT_EQ(descriptor_limit(-1), 0U);
}

TEST(DescriptorLimit, OfAnotherUsersProcessToo) {
    const bool root = ::geteuid() == 0; // else there is but one user
    EXPECT_EQ(in_child([&] {
                  limit_descriptors();
                  const auto parent = ::getpid();
                  return in_child([&] {
                      const bool other = !root || ::setuid(65'534) == 0;
                      rlimit limits{};
                      const bool asked = ::prlimit(parent, RLIMIT_NOFILE, nullptr, &limits) == 0;
                      return other && asked != root ? static_cast<int>(descriptor_limit(parent)) : 0;
                  });
              }),
              77);
}

} // namespace
} // namespace memtrace
