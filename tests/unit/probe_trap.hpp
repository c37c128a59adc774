// Traces the probes of this very process, as the kernel would: reads its own .note.stapsdt, raises the semaphores, puts a breakpoint on
// each `nop`, and keeps what the arguments were. So a test sees what a tracer sees, without root. x86-64 only (kProbeTrapWorks).
//
//     ProbeTrap trap("memtrace");
//     ...
//     EXPECT_EQ(trap.take(), (Lines{"resource_acquire cursor 7 0 100 name"}));
//
// One at a time. No other thread may run a probe while one is set up or taken down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memtrace {

#ifdef __x86_64__
inline constexpr bool kProbeTrapWorks = true;
#else
inline constexpr bool kProbeTrapWorks = false;
#endif

class ProbeTrap {
public:
    /// `except`: names of probes that are left alone.
    explicit ProbeTrap(const std::string& provider, const std::vector<std::string>& except = {"emergency_low", "emergency_high",
                                                                                              "emergency_critical", "announce"});
    ~ProbeTrap();
    ProbeTrap(const ProbeTrap&) = delete;
    ProbeTrap& operator=(const ProbeTrap&) = delete;

    /// What fired since, in order: the name and the arguments of each, strings as they are, numbers in decimal.
    std::vector<std::string> take();
    /// Of those, the ones that begin with `name`.
    std::vector<std::string> take(const std::string& name);
    /// Without formatting: the arguments of each time that `name` fired.
    std::vector<std::vector<std::uint64_t>> take_numbers(const std::string& name);

    /// The semaphore of a probe, as a tracer would raise it. Null where this program has no such probe.
    static volatile unsigned short* semaphore(const std::string& provider, const std::string& name);
};

/// Raises one semaphore for as long as it lives.
class RaisedSemaphore {
public:
    RaisedSemaphore(const std::string& provider, const std::string& name) : semaphore_(ProbeTrap::semaphore(provider, name)) {
        *semaphore_ = static_cast<unsigned short>(*semaphore_ + 1);
    }
    ~RaisedSemaphore() { *semaphore_ = static_cast<unsigned short>(*semaphore_ - 1); }
    RaisedSemaphore(const RaisedSemaphore&) = delete;
    RaisedSemaphore& operator=(const RaisedSemaphore&) = delete;

private:
    volatile unsigned short* semaphore_;
};

} // namespace memtrace
