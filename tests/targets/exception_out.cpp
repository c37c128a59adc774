// The program's own malloc throws a C++ exception out of the call in flight when told to. The exception has to reach its handler:
// a tracer that replaces return addresses hides the caller from the unwinder, and the program dies. The exception object is
// itself allocated by malloc, inside the call that it ends, and freed by the handler.
#include "truth.h"

extern "C" void* __libc_malloc(size_t bytes);

// libc's own declaration says that malloc does not throw; under another name in C++ it may.
extern "C" void* program_malloc(size_t bytes) __asm__("malloc");

namespace {

struct Refused {
    int round;
};

volatile bool throws = false; // the next malloc does not return
int rounds_thrown = 0;

} // namespace

extern "C" __attribute__((noipa, visibility("default"))) void* program_malloc(size_t bytes) {
    if (throws) {
        throws = false;
        throw Refused{rounds_thrown++};
    }
    return __libc_malloc(bytes);
}

extern "C" {

static LEAKING void call_abandoned() {
    truth_escape(program_malloc(truth_opaque(4096)));
}

static LEAKING int catch_one() {
    try {
        throws = true;
        call_abandoned();
    } catch (const Refused& refused) {
        return refused.round;
    }
    truth_broken("malloc returned where it should have thrown");
}

static LEAKING void setup_exceptions() {
    catch_one(); // the first throw of a process may allocate what later ones find
}

static LEAKING void descend(int depth, void (*action)()) {
    volatile char frame[64];
    frame[0] = static_cast<char>(depth);
    if (depth == 0) {
        action();
    } else {
        descend(depth - 1, action);
    }
    (void)frame[0];
}

static LEAKING void catch_here() {
    catch_one();
}

static LEAKING void leak_above() {
    TRUTH_HERE(site);
    truth_alloc(&site, program_malloc(truth_opaque(100)), 100);
}

static LEAKING void leak_below() {
    TRUTH_HERE(site);
    truth_alloc(&site, program_malloc(truth_opaque(200)), 200);
    truth_free(&site, truth_alloc(&site, program_malloc(truth_opaque(300)), 300), 300);
}

} // extern "C"

int main(int argc, char** argv) {
    int rounds = static_cast<int>(truth_option(argc, argv, "--rounds", 500));
    int pile = static_cast<int>(truth_option(argc, argv, "--pile", 40)); // see longjmp_out.c
    setup_exceptions();
    rounds_thrown = 0;
    truth_ready(argc, argv);
    leak_above();
    for (int i = 0; i < rounds; i++) {
        truth_check(catch_one() == i, "another exception was caught");
    }
    leak_above();
    descend(200, leak_below);
    for (int depth = 0; depth < pile; depth++) {
        descend(depth, catch_here);
    }
    leak_above();
    descend(200, leak_below);
    // Out of the call over many frames at once: the handler is further up than the call.
    for (int i = 0; i < 20; i++) {
        try {
            throws = true;
            descend(i, [] { call_abandoned(); });
        } catch (const Refused&) {
            leak_above();
        }
    }
    truth_note("caught", rounds_thrown);
    truth_finish(TRUTH_LIVE);
}
