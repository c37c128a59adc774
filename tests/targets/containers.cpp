// Plans that hold each other through memory that nobody tells of (include/memtrace):
//
//     containers [--case NAME]      vector, list, map, pimpl: in cycles that nobody leads to; "-kept" behind the name: somebody does
//
// Each case is made kTimes times, and as many witnesses. `note address N` is an object that takes part.
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <memtrace/memtrace.hpp>

extern "C" {
#include "truth.h"
}

namespace {

using memtrace::tracked_ptr;

constexpr int kTimes = 3;

/// What keeps a plan alive besides plans, where a case wants that. A container of handles, on the heap; a static object leads to it.
std::vector<std::unique_ptr<std::vector<tracked_ptr<void>>>> kept_by_global;

struct InVector {
    std::vector<tracked_ptr<InVector>> others;
    void add(const tracked_ptr<InVector>& other) { others.push_back(other); }
};
/// Held by nobody in every case: where its cycles are found, those of others would be.
struct Witness {
    std::vector<tracked_ptr<Witness>> others;
    void add(const tracked_ptr<Witness>& other) { others.push_back(other); }
};
struct InList {
    std::list<tracked_ptr<InList>> others;
    void add(const tracked_ptr<InList>& other) { others.push_back(other); }
};
struct InMap {
    std::unordered_map<int, tracked_ptr<InMap>> others;
    void add(const tracked_ptr<InMap>& other) { others.emplace(static_cast<int>(others.size()), other); }
};
struct InPimpl {
    struct Inside {
        long before[4] = {};
        tracked_ptr<InPimpl> other;
    };
    std::unique_ptr<Inside> inside = std::make_unique<Inside>();
    void add(const tracked_ptr<InPimpl>& other) { inside->other = other; }
};

template <typename Plan>
tracked_ptr<Plan> make_cycle() {
    auto first = memtrace::make_tracked<Plan>();
    auto second = memtrace::make_tracked<Plan>();
    first->add(second);
    second->add(first);
    truth_note("address", static_cast<long long>(reinterpret_cast<std::uintptr_t>(first.get())));
    return first;
}

/// An owner that no probe tells of; the plan that it owns knows it.
struct Owner;
struct Owned {
    Owner* owner = nullptr;
    long more[3] = {};
};
struct Owner {
    long before[3] = {};
    tracked_ptr<Owned> owned;
};
struct Indirect {
    std::vector<tracked_ptr<Indirect>>* list = nullptr; ///< another's, that holds it
};

[[gnu::noinline]] void cycle_vector() {
    make_cycle<InVector>();
}
[[gnu::noinline]] void cycle_witness() {
    make_cycle<Witness>();
}
[[gnu::noinline]] void cycle_list() {
    make_cycle<InList>();
}
[[gnu::noinline]] void cycle_map() {
    make_cycle<InMap>();
}
[[gnu::noinline]] void cycle_pimpl() {
    make_cycle<InPimpl>();
}

template <typename Plan>
void keep() {
    auto list = std::make_unique<std::vector<tracked_ptr<void>>>();
    list->push_back(make_cycle<Plan>());
    kept_by_global.push_back(std::move(list));
}
[[gnu::noinline]] void cycle_vector_kept() {
    keep<InVector>();
}
[[gnu::noinline]] void cycle_list_kept() {
    keep<InList>();
}
[[gnu::noinline]] void cycle_map_kept() {
    keep<InMap>();
}
[[gnu::noinline]] void cycle_pimpl_kept() {
    keep<InPimpl>();
}

/// All that leads to the owner, but for what it owns, is in a register or on main's stack.
[[gnu::noinline]] Owner* make_owner() {
    auto* owner = new Owner;
    owner->owned = memtrace::make_tracked<Owned>();
    owner->owned->owner = owner;
    truth_note("address", static_cast<long long>(reinterpret_cast<std::uintptr_t>(owner->owned.get())));
    return owner;
}
[[gnu::noinline]] std::vector<tracked_ptr<Indirect>>* make_list() {
    auto* list = new std::vector<tracked_ptr<Indirect>>;
    list->push_back(memtrace::make_tracked<Indirect>());
    list->back()->list = list;
    truth_note("address", static_cast<long long>(reinterpret_cast<std::uintptr_t>(list->back().get())));
    return list;
}

/// What calls have left on the stack below means nothing, but might look as if it did.
[[gnu::noinline]] void wipe_stack() {
    volatile char bytes[16'384];
    for (auto& byte : bytes) {
        byte = 0;
    }
}

/// The kernel alone keeps where the owner is.
[[gnu::noinline]] void owner_to_epoll() {
    int ends[2];
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = make_owner();
    if (pipe(ends) != 0 || epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, ends[0], &event) != 0) {
        abort();
    }
}
/// A thread that waits has it.
[[gnu::noinline]] void owner_to_thread() {
    static std::promise<void> made;
    std::thread([] {
        auto* const owner = make_owner();
        made.set_value();
        std::promise<void>().get_future().wait_for(std::chrono::hours(1));
        delete owner;
    }).detach();
    made.get_future().wait();
}

/// The same, in a register and nowhere else.
[[gnu::noinline]] void owner_to_register() {
    static std::promise<void> made;
    std::thread([] {
        auto* const owner = make_owner();
        made.set_value();
        wipe_stack();
        for (;;) {
#if defined(__x86_64__)
            long result = SYS_pause;
            asm volatile("syscall" : "+a"(result) : "b"(owner) : "rcx", "r11", "memory");
#else
            pause();
#endif
        }
    }).detach();
    made.get_future().wait();
}

struct Case {
    const char* name;
    void (*make)();
};
constexpr Case kCases[] = {{"vector", cycle_vector},
                           {"list", cycle_list},
                           {"map", cycle_map},
                           {"pimpl", cycle_pimpl},
                           {"vector-kept", cycle_vector_kept},
                           {"list-kept", cycle_list_kept},
                           {"map-kept", cycle_map_kept},
                           {"pimpl-kept", cycle_pimpl_kept}};

} // namespace

int main(int argc, char** argv) {
    std::string name;
    for (int i = 1; i + 1 < argc; ++i) {
        name = std::strcmp(argv[i], "--case") == 0 ? argv[i + 1] : name;
    }
    truth_ready(argc, argv);
    for (const auto& one : kCases) {
        for (int i = 0; name == one.name && i < kTimes; ++i) {
            one.make();
        }
    }
    Owner* owner = name == "owner-kept" ? make_owner() : nullptr;
    auto* list = name == "list-of-stack-kept" ? make_list() : nullptr;
    if (name == "owner-of-epoll-kept") {
        owner_to_epoll();
    }
    if (name == "owner-in-register-kept") {
        owner_to_register();
    }
    if (name == "owner-of-thread-kept") {
        owner_to_thread();
    }
    for (int i = 0; i < kTimes; ++i) {
        cycle_witness();
    }
    wipe_stack();
    char text[64];
    truth_print(TRUTH_SITES);
    if (truth_waits) {
        truth_read_line(text, sizeof(text));
    }
    kept_by_global.clear();
    if (list != nullptr) {
        list->clear();
    }
    delete list;
    delete owner;
    _exit(0);
}
