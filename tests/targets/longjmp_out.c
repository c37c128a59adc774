// The program's own malloc, which longjmps out of the call in flight when told to: the call never returns, and no block comes of
// it. The abandoned frame must not be taken for a call still in flight, neither by later calls above it nor by those below it
// on the stack, where deep recursion puts them.
//
// --pile N (default 40) is how many abandoned frames lie below each other before a call from above them all. The kernel keeps up to
// 64 return probes in flight per thread and looks for stale ones only while there is room: with --pile 64 or more a tracer that
// uses return probes gets none any more in this thread, and has to say what it lost.
#include <setjmp.h>

#include "truth.h"

extern void* __libc_malloc(size_t bytes);

static jmp_buf way_out;
static volatile int escapes; // the next malloc does not return

// Exported from the executable (-rdynamic), so the whole process uses it.
__attribute__((noipa)) void* malloc(size_t bytes) {
    if (escapes) {
        escapes = 0;
        longjmp(way_out, 1);
    }
    return __libc_malloc(bytes);
}

static LEAKING void* call_abandoned(void) {
    return truth_escape(malloc(truth_opaque(4096)));
}

static LEAKING void abandon_call(void) {
    if (setjmp(way_out) == 0) {
        escapes = 1;
        call_abandoned();
        truth_broken("malloc returned where it should have jumped");
    }
}

// Goes `depth` frames down the stack and does something there.
static LEAKING void descend(int depth, void (*action)(void)) {
    volatile char frame[64];
    frame[0] = (char)depth;
    if (depth == 0) {
        action();
    } else {
        descend(depth - 1, action);
    }
    (void)frame[0];
}

static LEAKING void leak_above(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(100)), 100);
}

static LEAKING void leak_below(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(200)), 200);
    truth_alloc(&site, calloc(1, truth_opaque(300)), 300);
    void* block = truth_alloc(&site, malloc(truth_opaque(400)), 400);
    truth_gone(&site, 400);
    block = truth_alloc(&site, realloc(block, truth_opaque(8000)), 8000);
    truth_free(&site, block, 8000);
}

int main(int argc, char** argv) {
    long long rounds = truth_option(argc, argv, "--rounds", 1000);
    int pile = (int)truth_option(argc, argv, "--pile", 40);
    truth_ready(argc, argv);
    long long jumps = 0;
    leak_above();
    for (long long i = 0; i < rounds; i++, jumps++) {
        abandon_call(); // again and again at the same place
    }
    leak_above();
    descend(200, leak_below); // the abandoned frame is older than these, and further up
    for (int depth = 0; depth < pile; depth++, jumps++) {
        descend(depth, abandon_call); // each below the one before: they pile up
    }
    leak_above();
    descend(200, leak_below);
    for (int i = 0; i < 50; i++, jumps++) {
        descend(20, abandon_call);
        descend(i, leak_below); // above, at, and below the frame just abandoned
        leak_above();
    }
    truth_note("jumps", jumps);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
