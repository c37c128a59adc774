#include "app/unwinding.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/uio.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(1);
constexpr auto kStuckTime = std::chrono::milliseconds(20); ///< by then another tracer would have continued it

struct ThreadState {
    char state = 'X'; ///< as in /proc/PID/stat; X: gone
    std::uint64_t switches = 0;
};

ThreadState read_thread(std::int32_t pid, std::uint32_t tid) {
    const auto status = read_file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/status");
    const auto field = [&](const std::string& name) {
        const auto at = status ? status->find('\n' + name + ":\t") : std::string::npos;
        return at == std::string::npos ? nullptr : status->data() + at + name.size() + 3;
    };
    const char* state = field("State");
    const char* switches = field("voluntary_ctxt_switches");
    ThreadState out;
    if (state != nullptr && switches != nullptr) {
        out.state = *state;
        std::from_chars(switches, status->data() + status->size(), out.switches);
    }
    return out;
}

UnwindStop stop_of(std::int32_t pid, const mt_unwind_event& event) {
    const auto now = [&] {
        const auto thread = read_thread(pid, event.tid);
        return judge_unwind_stop(thread.state, thread.switches, event.switches);
    };
    // The state is read before the count: a thread that stopped between the two looks as if it had gone on.
    const auto first = now();
    return first == UnwindStop::over ? now() : first;
}

/// True where no thread of the process can run its own code: each is stopped, ending, or deep in the kernel.
bool all_threads_stopped(std::int32_t pid) {
    std::error_code error;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
        const auto stat = read_file(thread.path() / "stat");
        const auto name_end = stat ? stat->rfind(") ") : std::string::npos;
        if (name_end != std::string::npos && (stat->at(name_end + 2) == 'R' || stat->at(name_end + 2) == 'S')) {
            return false;
        }
    }
    return true;
}

/// Puts back what the kernel replaced on a thread's stack, where it still is what the kernel put there.
void restore_return_addresses(std::int32_t pid, const mt_unwind_event& event) {
    for (auto slot : event.slots) {
        std::uint64_t found = 0;
        const iovec there{reinterpret_cast<void*>(slot.address), sizeof(slot.value)}; // NOLINT(performance-no-int-to-ptr)
        const iovec old{&found, sizeof(found)};
        const iovec restored{&slot.value, sizeof(slot.value)};
        if (slot.address != 0 && process_vm_readv(pid, &old, 1, &there, 1, 0) == sizeof(found) && found == event.trampoline) {
            (void)process_vm_writev(pid, &restored, 1, &there, 1, 0);
        }
    }
}

/// Held while one memtrace of several looks at a stop and ends it. A file that only the process's owner and root can open; where
/// even that fails, or somebody holds on to it, things go on without.
UniqueFd take_turn(std::int32_t pid, Clock::time_point deadline) {
    UniqueFd file(::open(("/proc/" + std::to_string(pid) + "/environ").c_str(), O_RDONLY | O_CLOEXEC));
    while (file && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && Clock::now() < deadline) {
        std::this_thread::yield();
    }
    return file;
}

} // namespace

UnwindStop judge_unwind_stop(char state, std::uint64_t switches, std::uint64_t event_switches) {
    if (state == 'X' || state == 'Z') {
        return UnwindStop::over;
    }
    const bool stopped = state == 'T' || state == 't';
    if (switches <= event_switches) {
        return UnwindStop::coming;
    }
    return stopped && switches == event_switches + 1 ? UnwindStop::here : UnwindStop::over;
}

/// A SIGCONT also takes away the SIGSTOP that another thread has just sent itself, so it must not be sent before every thread that
/// needs help has said so: when all of them stand still, each of their events is in the ring.
void serve_unwinding(std::int32_t pid, const std::function<std::vector<mt_unwind_event>()>& threads) {
    const auto begin = Clock::now();
    const UniqueFd turn = take_turn(pid, begin + kPatience);
    for (;;) {
        const auto waited = Clock::now() - begin;
        const bool still = all_threads_stopped(pid);
        const auto events =
            threads(); // after the look at the threads: none can have stopped since without its event being among these
        bool waits = false;
        bool stuck = false; // stopped, but it slept on the way there, or a debugger let go of it: the count has gone on
        for (const auto& event : events) {
            const auto stop = stop_of(pid, event);
            waits = waits || stop != UnwindStop::over;
            stuck = stuck || (stop == UnwindStop::over && read_thread(pid, event.tid).state == 'T');
        }
        if (!waits && !stuck) {
            return; // another tracer was there first, or the threads are gone
        }
        const bool late = waited >= (waits ? kPatience : kStuckTime);
        if ((waits || late) && (still || waited >= kPatience)) {
            for (const auto& event : events) {
                if (late || stop_of(pid, event) != UnwindStop::over) {
                    restore_return_addresses(pid, event);
                }
            }
            ::kill(pid, SIGCONT);
            return;
        }
        std::this_thread::yield();
    }
}

} // namespace memtrace
