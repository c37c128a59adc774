// The bugs that can be switched on, and the server's own account of what they cost: the ground truth that a tracer is held to.
//
// Two tables are the one place where a bug is declared. LIGHTNING_LEAKS: those that lose blocks of malloc. A row gives its id, its name for people, the function that calls
// malloc for it and what goes wrong. From the row come the enum, the switch, the account, the lines of LEAKS and the declaration
// of the function, which has to be defined somewhere: a name in the truth can therefore not be that of a function that is not
// there. The functions have C names, since those read the same in a symbol table, in debug information and demangled.
//
// Bytes are those asked of malloc. All members may be called from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

// clang-format off
#define LIGHTNING_LEAKS(X)                                                                                                 \
    X(cursor_buffer,   "cursor-buffer",   cursor_buffer_create, "the buffer of a closed or forgotten cursor is not freed") \
    X(cache_unbounded, "cache-unbounded", cache_entry_create,   "eviction is skipped, the value cache grows for ever")     \
    X(error_path,      "error-path",      value_buffer_create,  "a PUT turned down after its value was read forgets it")   \
    X(connection,      "connection",      session_arena_create, "the reply arena of a session outlives the session")

// Those of references and resources, which the server tells of by memtrace's SDK: `function` is where what is misused was taken. Comments
// "BUG NAME WHAT" in the sources stand at the very lines that a finding names.
#define LIGHTNING_MISUSES(X)                                                                                                         \
    X(reference_cycle_2,   "reference-cycle-2",   Plan::Plan,           "the second step of a scan's plan holds the first one")      \
    X(reference_cycle_5,   "reference-cycle-5",   Plan::Plan,           "the last of a scan's five steps holds the first one")       \
    X(lost_release,        "lost-release",        Session::Session,     "a client that goes without QUIT does not let the database go") \
    X(double_release,      "double-release",      Session::Session,     "QUIT lets the database go, and the session's end again")    \
    X(leaked_cursor,       "leaked-cursor",       Session::scan_open,   "the end of a session forgets the cursors that are open")    \
    X(leaked_fd,           "leaked-fd",           ErrorLog::append,     "the error log is opened for each line, and not closed")     \
    X(pool_exhaustion,     "pool-exhaustion",     Database::begin,      "a PUT turned down for its key keeps its connection to the storage") \
    X(thread_never_joined, "thread-never-joined", Server::accept_one,   "the thread of a session that has ended is not joined")
// clang-format on
#define LIGHTNING_BUGS(X) LIGHTNING_LEAKS(X) LIGHTNING_MISUSES(X)

// Defined next to the code that uses them, never inlined or cloned, so that malloc's direct caller is the function named.
// Each returns what malloc gave, which may be null.
#ifdef __clang__
#define LIGHTNING_ALLOCATES extern "C" [[gnu::noinline]]
#else
#define LIGHTNING_ALLOCATES extern "C" [[gnu::noipa]]
#endif
#define LIGHTNING_DECLARE(id, name, function, what) LIGHTNING_ALLOCATES void* function(std::size_t bytes);
LIGHTNING_LEAKS(LIGHTNING_DECLARE)
#undef LIGHTNING_DECLARE

namespace lightning {

#define LIGHTNING_ENUM(id, name, function, what) id,
enum class Bug : std::uint8_t { LIGHTNING_BUGS(LIGHTNING_ENUM) };
#undef LIGHTNING_ENUM

#define LIGHTNING_COUNT(id, name, function, what) +1
constexpr std::size_t kBugCount = LIGHTNING_BUGS(LIGHTNING_COUNT);
constexpr std::size_t kLeakCount = LIGHTNING_LEAKS(LIGHTNING_COUNT); ///< they come first
#undef LIGHTNING_COUNT

struct BugInfo {
    Bug bug;
    const char* name;
    const char* function;                 ///< a leak's: the direct caller of malloc
    const char* what;                     ///< one line for people
    void* (*allocate)(std::size_t bytes); ///< that function; null: no leak
};

const BugInfo& info(Bug bug);
std::optional<Bug> find_bug(std::string_view name);
/// "cursor-buffer, cache-unbounded, ...": for usage and error texts.
std::string bug_names();

class BugBoard {
public:
    BugBoard() = default;
    BugBoard(const BugBoard&) = delete;
    BugBoard& operator=(const BugBoard&) = delete;

    [[nodiscard]] bool on(Bug bug) const { return on_[index(bug)].load(std::memory_order_relaxed); }
    void set(Bug bug, bool on) { on_[index(bug)].store(on, std::memory_order_relaxed); }

    // Of leaks, as is the account.
    void allocated(Bug bug, std::size_t bytes);
    void freed(Bug bug, std::size_t bytes);
    /// The block should have been freed now and was not. It stays live.
    void lost(Bug bug, std::size_t bytes);
    /// A block counted as lost is in legitimate use again, or is about to be freed after all.
    void found(Bug bug, std::size_t bytes);

    /// The lines `leak`, `leaks-total` and `live` of the README, all of one moment.
    [[nodiscard]] std::string truth() const;
    /// The lines `bug NAME on|off FUNCTION TEXT`.
    [[nodiscard]] std::string list() const;

private:
    struct Tally {
        std::uint64_t bytes = 0;
        std::uint64_t count = 0;
        void add(std::size_t size) { bytes += size, ++count; }
        void take(std::size_t size) { bytes -= size, --count; }
    };
    struct Account {
        Tally live; ///< allocated and not freed, lost ones included
        Tally lost;
    };
    static std::size_t index(Bug bug) { return static_cast<std::size_t>(bug); }

    std::array<std::atomic<bool>, kBugCount> on_{};
    mutable std::mutex mutex_;
    std::array<Account, kLeakCount> accounts_{}; ///< guarded by mutex_
};

} // namespace lightning
