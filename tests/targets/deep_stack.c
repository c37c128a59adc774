// A leak 200 frames down (--depth N): deeper than a tracer records.
#include "truth.h"

static LEAKING void leak_deep(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(123)), 123);
}

static LEAKING void recurse(long long depth) {
    if (depth > 0) {
        recurse(depth - 1);
    } else {
        leak_deep();
    }
    __asm__ volatile(""); // work after the call: it is no tail call
}

static LEAKING void leak_shallow(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(45)), 45);
}

int main(int argc, char** argv) {
    long long depth = truth_option(argc, argv, "--depth", 200);
    truth_ready(argc, argv);
    for (int i = 0; i < 10; i++) {
        recurse(depth);
        recurse(depth / 2);
        leak_shallow();
    }
    truth_note("depth", depth);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
