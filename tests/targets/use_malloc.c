// The C family alone, for running under LD_PRELOAD of another allocator: a leak, a random churn (--ops N, --seed N), failures.
#define _GNU_SOURCE
#include "crew.h"

enum { kThreads = 2, kSlots = 256 };

static long long ops_each;
static unsigned long long seed;

static LEAKING void leak_malloc(void) {
    TRUTH_HERE(site);
    for (size_t i = 0; i < 100; i++) {
        truth_alloc(&site, malloc(64 + i), 64 + i);
    }
}

static LEAKING void leak_calloc(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, calloc(truth_opaque(50), 40), 2000);
}

static LEAKING void leak_realloc(void) {
    TRUTH_HERE(site);
    void* block = truth_alloc(&site, realloc(NULL, truth_opaque(100)), 100);
    truth_gone(&site, 100);
    truth_alloc(&site, realloc(block, truth_opaque(100000)), 100000);
}

static LEAKING void leak_posix_memalign(void) {
    TRUTH_HERE(site);
    void* block = NULL;
    truth_check(posix_memalign(&block, 256, truth_opaque(1000)) == 0, "posix_memalign");
    truth_alloc(&site, block, 1000);
}

static LEAKING void leak_aligned_alloc(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, aligned_alloc(64, truth_opaque(640)), 640);
}

// Large enough for every allocator to map it on its own.
static LEAKING void leak_large(void) {
    TRUTH_HERE(site);
    void* block = truth_alloc(&site, malloc(truth_opaque(8 << 20)), 8 << 20);
    truth_free(&site, block, 8 << 20);
    truth_alloc(&site, malloc(truth_opaque(3 << 20)), 3 << 20);
}

static unsigned long long next_random(unsigned long long* state) {
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 24;
}

static LEAKING void leak_churn(int index) {
    TRUTH_HERE(site);
    void* slots[kSlots] = {NULL};
    unsigned long long state = seed * 1000003 + (unsigned)index;
    for (long long op = 0; op < ops_each; op++) {
        unsigned long long random = next_random(&state);
        void** slot = &slots[random % kSlots];
        size_t bytes = 16 + (random >> 8) % 2000;
        if (!*slot) {
            *slot = truth_alloc_tagged(&site, malloc(bytes), bytes);
        } else if (random >> 20 & 1) {
            struct truth_tag old = truth_tag_of(*slot);
            *slot = truth_realloc_tagged(&site, old, realloc(*slot, bytes), bytes);
        } else {
            truth_free_tagged(*slot);
            *slot = NULL;
        }
    }
}

int main(int argc, char** argv) {
    static struct crew crew;
    ops_each = truth_option(argc, argv, "--ops", 100000) / kThreads;
    seed = (unsigned long long)truth_option(argc, argv, "--seed", 1);
    setup_crew(&crew, kThreads, leak_churn);
    truth_ready(argc, argv);
    leak_malloc();
    leak_calloc();
    leak_realloc();
    leak_posix_memalign();
    leak_aligned_alloc();
    leak_large();
    truth_check(!truth_escape(malloc(truth_opaque(SIZE_MAX / 2 - 4096))), "a huge malloc succeeded");
    crew_run(&crew);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
