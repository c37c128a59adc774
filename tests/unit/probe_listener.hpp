// A tracer of this very process, for tests of what a program tells by probes: raises semaphores and puts breakpoints where the notes
// of .note.stapsdt say (proc/usdt.hpp), as the kernel would, and keeps what the arguments were. Needs no root. x86-64 only
// (kProbeListenerWorks): elsewhere nothing is heard.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/contract.h"

// What the kernel would do to the program: no thread sanitizer shall see it.
#define PROBE_TEST_UNSEEN __attribute__((no_sanitize("thread")))

namespace memtrace::probe_test {

#ifdef __x86_64__
inline constexpr bool kProbeListenerWorks = true;
#else
inline constexpr bool kProbeListenerWorks = false;
#endif

/// What fired. Arguments as the probe's types extend them to 64 bits; strings as they were then.
struct ProbeEvent {
    std::string_view probe; ///< without its provider
    std::size_t count = 0;  ///< of arguments
    std::array<std::uint64_t, MT_CONTRACT_MAX_ARGUMENTS> args{};
    std::uint32_t strings = 0; ///< bit N: argument N is one
    std::array<std::array<char, MT_CONTRACT_STRING_BYTES>, MT_CONTRACT_MAX_STRINGS> texts{};
    pid_t tid = 0;

    /// Of an argument that is a string.
    [[nodiscard]] const char* text(std::size_t arg) const;
};

/// Where an argument is found: a constant, a register, or memory at base + index * scale + number.
struct ArgumentPlace {
    int size = 8; ///< negative: signed
    enum Kind { constant, in_register, memory } kind = constant;
    int base = -1; ///< registers: index into gregs
    int index = -1;
    std::int64_t scale = 1;
    std::int64_t number = 0; ///< the constant; displacement of memory
};

/// Names of all probes of this program that `provider` has: "memtrace:ref_acquire" and so on.
std::set<std::string> probes_of(const std::string& provider);
/// The semaphore of such a probe, as a tracer would raise it. Null where this program has none.
volatile unsigned short* semaphore_of(const std::string& probe);

class ProbeListener {
public:
    static constexpr std::size_t kMaxEvents = 65'536;

    /// Listens to those probes, "memtrace:ref_acquire" and so on, until it ends. One at a time in a process; no other thread may run a
    /// probe while one is set up or taken down.
    explicit ProbeListener(const std::set<std::string>& wanted);
    ProbeListener(const ProbeListener&) = delete;
    ProbeListener& operator=(const ProbeListener&) = delete;
    ~ProbeListener();

    /// What fired so far. Not while other threads fire.
    [[nodiscard]] std::vector<ProbeEvent> events() const;
    void forget() { count_ = 0; }

private:
    struct Probe {
        std::string name; ///< without its provider
        std::uint32_t strings = 0;
        std::vector<ArgumentPlace> arguments;
    };

    static void on_trap(int, siginfo_t*, void* where);

    static inline ProbeListener* active_ = nullptr;

    std::map<std::uint64_t, Probe> probes_;            ///< by address
    std::vector<volatile unsigned short*> semaphores_; ///< in the order in which they are raised
    std::vector<ProbeEvent> events_;
    std::atomic<std::size_t> count_{0};
    struct sigaction before_{};
};

} // namespace memtrace::probe_test
