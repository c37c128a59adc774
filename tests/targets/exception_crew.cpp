// Exceptions out of the program's own malloc like those of exception_out, but in eight threads at once (--rounds N in each), so that
// one begins to unwind while another one is about to: whoever stops the process for the one must not miss the other.
#include "crew.h"

extern "C" void* __libc_malloc(size_t bytes);

// libc's own declaration says that malloc does not throw; under another name in C++ it may.
extern "C" void* program_malloc(size_t bytes) __asm__("malloc");

namespace {

struct Refused {
    int thread;
};

enum { kThreads = 8 };

int rounds = 0;
thread_local volatile bool throws = false; // the next malloc of this thread does not return
thread_local int this_thread = 0;
long long caught = 0;

} // namespace

extern "C" __attribute__((noipa, visibility("default"))) void* program_malloc(size_t bytes) {
    if (throws) {
        throws = false;
        throw Refused{this_thread};
    }
    return __libc_malloc(bytes);
}

extern "C" {

static LEAKING void call_abandoned() {
    truth_escape(program_malloc(truth_opaque(4096)));
}

static LEAKING void catch_one() {
    try {
        throws = true;
        call_abandoned();
    } catch (const Refused& refused) {
        truth_check(refused.thread == this_thread, "another thread's exception was caught");
        __atomic_add_fetch(&caught, 1, __ATOMIC_RELAXED);
        return;
    }
    truth_broken("malloc returned where it should have thrown");
}

static LEAKING void setup_exceptions() {
    catch_one(); // the first throw of a process may allocate what later ones find
    caught = 0;
}

static LEAKING void leak_between() {
    TRUTH_HERE(site);
    truth_alloc(&site, program_malloc(truth_opaque(100)), 100);
    truth_free(&site, truth_alloc(&site, program_malloc(truth_opaque(300)), 300), 300);
}

} // extern "C"

static void work(int index) {
    this_thread = index;
    for (int i = 0; i < rounds; i++) {
        catch_one();
        if (i % 10 == 0) {
            leak_between();
        }
    }
}

int main(int argc, char** argv) {
    static crew threads;
    rounds = static_cast<int>(truth_option(argc, argv, "--rounds", 100));
    setup_exceptions();
    setup_crew(&threads, kThreads, work);
    truth_ready(argc, argv);
    crew_run(&threads);
    truth_note("caught", caught);
    truth_finish(TRUTH_SITES); // the first exception of a thread allocates what all its others use
}
