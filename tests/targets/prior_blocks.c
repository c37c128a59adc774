// Blocks older than the tracing: freed, reallocated and kept after "go". Their frees match nothing that a tracer has seen.
#include "truth.h"

enum { kFreed = 400, kResized = 100, kKept = 300, kTotal = kFreed + kResized + kKept };

static void* blocks[kTotal];

static LEAKING void setup_blocks(void) {
    for (size_t i = 0; i < kTotal; i++) {
        blocks[i] = truth_escape(malloc(32 + i));
        truth_check(blocks[i] != NULL, "malloc");
    }
}

// The old block was never seen, the new one is: it counts.
static LEAKING void* leak_resized(void* block) {
    TRUTH_HERE(site);
    return truth_alloc(&site, realloc(block, truth_opaque(2000)), 2000);
}

static LEAKING void leak_fresh(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(64)), 64);
}

int main(int argc, char** argv) {
    setup_blocks();
    truth_ready(argc, argv);
    for (int i = 0; i < kFreed; i++) {
        free(blocks[i]);
        if (i % 4 == 0) {
            leak_fresh(); // may well get the address of a block that was just freed
        }
    }
    for (int i = kFreed; i < kFreed + kResized; i++) {
        blocks[i] = leak_resized(blocks[i]);
    }
    truth_note("prior_frees", kFreed);
    truth_note("prior_reallocs", kResized);
    truth_note("prior_kept", kKept);
    truth_finish(TRUTH_LIVE);
}
