// calloc whose product does not fit: no block, whatever the truncated product says.
#include "truth.h"

static LEAKING int overflow_calloc(size_t count, size_t size) {
    return truth_escape(calloc(count, size)) == NULL;
}

static LEAKING void leak_calloc(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, calloc(truth_opaque(3), 100), 300);
    truth_alloc(&site, calloc(truth_opaque(1), 100000), 100000);
}

// No bytes, but a block.
static LEAKING void leak_empty(void) {
    TRUTH_HERE(site);
    truth_check(truth_alloc(&site, calloc(truth_opaque(0), 8), 0) != NULL, "calloc(0, 8)");
    truth_check(truth_alloc(&site, calloc(8, truth_opaque(0)), 0) != NULL, "calloc(8, 0)");
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    int failed = 0;
    for (int i = 0; i < 100; i++) {
        failed += overflow_calloc(truth_opaque(SIZE_MAX / 2), 3);
        failed += overflow_calloc(truth_opaque(SIZE_MAX / 16 + 2), 16);            // wraps to 16
        failed += overflow_calloc(truth_opaque((size_t)1 << 32), (size_t)1 << 32); // wraps to 0
        failed += overflow_calloc(truth_opaque((size_t)1 << 40), (size_t)1 << 22); // fits, but no address space has it
    }
    truth_check(failed == 400, "an overflowing calloc succeeded");
    leak_calloc();
    leak_empty();
    truth_note("null", failed);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
