// Holds objects by tracked_ptr and cursors by resource_handle (include/memtrace), rightly and, by name, wrongly:
//
//     holder [--rounds N] [--bug NAME]      none | cycle-2 | cycle-5 | lost-release | double-release | kept-block | cursor
//
// After the right work of all rounds the bug is committed in bug_NAME, three times. `note address N` is an object that takes part.
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <memtrace/memtrace.hpp>

extern "C" {
#include "truth.h"
}

namespace {

using memtrace::tracked_ptr;
using memtrace::tracked_weak;

constexpr int kTimes = 3;

struct Plan {
    std::vector<tracked_ptr<Plan>> children;
    tracked_ptr<Plan> next;
    tracked_weak<Plan> parent;
};

void note_address(const void* object) {
    truth_note("address", static_cast<long long>(reinterpret_cast<std::uintptr_t>(object)));
}

/// A tree, whose children know their parent, and a cursor; all of it goes at the end.
[[gnu::noinline]] void right_work() {
    auto root = memtrace::make_tracked<Plan>();
    for (int i = 0; i < 3; ++i) {
        root->children.push_back(memtrace::make_tracked<Plan>());
        root->children.back()->parent = root;
    }
    root->next = root->children.front();
    memtrace::resource_handle<int> cursor(1, {"cursor", "select 1", 64});
    cursor.touch();
}

[[gnu::noinline]] void bug_cycle_2() {
    auto first = memtrace::make_tracked<Plan>();
    first->next = memtrace::make_tracked<Plan>();
    first->next->next = first;
    note_address(first.get());
}

[[gnu::noinline]] void bug_cycle_5() {
    auto first = memtrace::make_tracked<Plan>();
    auto last = first;
    for (int i = 1; i < 5; ++i) {
        last->next = memtrace::make_tracked<Plan>();
        last = last->next;
    }
    last->next = first;
    note_address(first.get());
}

/// What the handle held is forgotten: another is made over it.
[[gnu::noinline]] void bug_lost_release() {
    alignas(tracked_ptr<Plan>) static unsigned char place[sizeof(tracked_ptr<Plan>)];
    auto* handle = new (place) tracked_ptr<Plan>(memtrace::make_tracked<Plan>());
    note_address(handle->get());
    handle = new (place) tracked_ptr<Plan>(memtrace::make_tracked<Plan>());
    handle->~tracked_ptr();
}

/// A handle ends twice. The object survives it: others hold it.
[[gnu::noinline]] void bug_double_release() {
    static std::vector<tracked_ptr<Plan>> kept;
    kept.reserve(2 * kTimes);
    kept.push_back(memtrace::make_tracked<Plan>());
    kept.push_back(kept.back());
    note_address(kept.back().get());
    alignas(tracked_ptr<Plan>) static unsigned char place[sizeof(tracked_ptr<Plan>)];
    unsigned char before[sizeof place];
    auto* handle = new (place) tracked_ptr<Plan>(kept.back());
    std::memcpy(before, place, sizeof place);
    handle->~tracked_ptr();
    std::memcpy(place, before, sizeof place);
    reinterpret_cast<tracked_ptr<Plan>*>(place)->~tracked_ptr();
}

/// A weak handle is forgotten, as above: its object ends, but not the block that both lie in.
[[gnu::noinline]] void bug_kept_block() {
    alignas(tracked_weak<Plan>) static unsigned char place[sizeof(tracked_weak<Plan>)];
    const auto plan = memtrace::make_tracked<Plan>();
    const auto other = memtrace::make_tracked<Plan>();
    note_address(plan.get());
    auto* handle = new (place) tracked_weak<Plan>(plan);
    handle = new (place) tracked_weak<Plan>(other);
    handle->~tracked_weak();
}

/// The thread that opened it ends.
[[gnu::noinline]] void bug_cursor() {
    std::thread([] { static_cast<void>(new memtrace::resource_handle<int>(7, {"cursor", "select * from t", 4096})); }).join();
}

struct Bug {
    const char* name;
    void (*commit)();
};
constexpr Bug kBugs[] = {{"none", nullptr},
                         {"cycle-2", bug_cycle_2},
                         {"cycle-5", bug_cycle_5},
                         {"lost-release", bug_lost_release},
                         {"double-release", bug_double_release},
                         {"kept-block", bug_kept_block},
                         {"cursor", bug_cursor}};

} // namespace

int main(int argc, char** argv) {
    const auto rounds = truth_option(argc, argv, "--rounds", 100);
    const Bug* bug = kBugs;
    for (int i = 1; i + 1 < argc; ++i) {
        for (const auto& candidate : kBugs) {
            bug = std::strcmp(argv[i], "--bug") == 0 && std::strcmp(argv[i + 1], candidate.name) == 0 ? &candidate : bug;
        }
    }
    truth_ready(argc, argv);
    for (long long i = 0; i < rounds; ++i) {
        right_work();
    }
    for (int i = 0; bug->commit != nullptr && i < kTimes; ++i) {
        bug->commit();
    }
    truth_finish(TRUTH_SITES);
}
