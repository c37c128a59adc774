// Linked statically: the allocator is in the executable, its names only in .symtab.
#include "truth.h"

static LEAKING void leak_malloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 20; i++) {
        void* block = truth_alloc(&site, malloc(truth_opaque(88)), 88);
        if (i % 2) {
            truth_free(&site, block, 88);
        }
    }
}

static LEAKING void leak_calloc(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, calloc(truth_opaque(6), 70), 420);
}

static LEAKING void leak_realloc(void) {
    TRUTH_HERE(site);
    void* block = truth_alloc(&site, realloc(NULL, truth_opaque(30)), 30);
    truth_gone(&site, 30);
    truth_alloc(&site, realloc(block, truth_opaque(3000)), 3000);
}

static LEAKING void leak_aligned(void) {
    TRUTH_HERE(site);
    void* block = NULL;
    truth_check(posix_memalign(&block, 256, truth_opaque(500)) == 0, "posix_memalign");
    truth_alloc(&site, block, 500);
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    leak_malloc();
    leak_calloc();
    leak_realloc();
    leak_aligned();
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
