// What realloc can do to a block, and to whom the block belongs afterwards.
#define _GNU_SOURCE
#include "truth.h"

#define HUGE_SIZE truth_opaque(SIZE_MAX / 2 - 4096)

static LEAKING void* make_malloc(size_t bytes) {
    TRUTH_HERE(site);
    return truth_alloc_tagged(&site, malloc(bytes), bytes);
}

static LEAKING void* make_calloc(size_t bytes) {
    TRUTH_HERE(site);
    return truth_alloc_tagged(&site, calloc(1, bytes), bytes);
}

static LEAKING void* make_aligned(size_t bytes) {
    TRUTH_HERE(site);
    void* block = NULL;
    truth_check(posix_memalign(&block, 64, bytes) == 0, "posix_memalign");
    return truth_alloc_tagged(&site, block, bytes);
}

static LEAKING void leak_null(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, realloc(NULL, truth_opaque(111)), 111);
}

static LEAKING void leak_grown(void* block) {
    TRUTH_HERE(site);
    struct truth_tag old = truth_tag_of(block);
    truth_realloc_tagged(&site, old, realloc(block, truth_opaque(100000)), 100000);
}

static LEAKING void leak_shrunk(void* block) {
    TRUTH_HERE(site);
    struct truth_tag old = truth_tag_of(block);
    truth_realloc_tagged(&site, old, realloc(block, truth_opaque(50)), 50);
}

// One byte more fits into the same chunk: the address stays, the owner changes all the same.
static LEAKING int leak_in_place(void* block) {
    TRUTH_HERE(site);
    struct truth_tag old = truth_tag_of(block);
    uintptr_t before = (uintptr_t)block;
    return (uintptr_t)truth_realloc_tagged(&site, old, realloc(block, truth_opaque(101)), 101) == before;
}

static LEAKING void leak_array(void* block) {
    TRUTH_HERE(site);
    struct truth_tag old = truth_tag_of(block);
    truth_realloc_tagged(&site, old, reallocarray(block, truth_opaque(30), 70), 2100);
}

// Block after block through one call site: what is left is the last one.
static LEAKING void leak_chain(void) {
    TRUTH_HERE(site);
    void* block = NULL;
    for (size_t bytes = 16; bytes <= 64 * 1024; bytes += bytes / 8 + 1) {
        if (block) {
            struct truth_tag old = truth_tag_of(block);
            block = truth_realloc_tagged(&site, old, realloc(block, bytes), bytes);
        } else {
            block = truth_alloc_tagged(&site, realloc(NULL, bytes), bytes);
        }
        truth_check(block != NULL, "realloc");
    }
}

// To zero: glibc frees the block and returns NULL.
static LEAKING void free_by_realloc(void* block) {
    struct truth_tag old = truth_tag_of(block);
    truth_check(realloc(block, truth_opaque(0)) == NULL, "realloc to zero returned a block");
    truth_gone(old.site, old.bytes);
}

// From NULL to zero: malloc(0), a block of no bytes.
static LEAKING void leak_zero(void) {
    TRUTH_HERE(site);
    truth_check(truth_alloc(&site, realloc(NULL, truth_opaque(0)), 0) != NULL, "realloc(NULL, 0)");
}

// A realloc that fails leaves the block where it was, and whose it was.
static LEAKING void* leak_kept(void) {
    TRUTH_HERE(site);
    return truth_alloc_tagged(&site, malloc(truth_opaque(333)), 333);
}

static LEAKING int fail_realloc(void* block) {
    return realloc(block, HUGE_SIZE) == NULL;
}

static LEAKING int fail_reallocarray(void* block) {
    return reallocarray(block, truth_opaque(SIZE_MAX / 8), 16) == NULL;
}

static LEAKING int fail_null(void) {
    return realloc(NULL, HUGE_SIZE) == NULL;
}

static void fail(int rounds) {
    void* freed = leak_kept();
    void* kept = leak_kept();
    int failed = 0;
    for (int i = 0; i < rounds; i++) {
        failed += fail_realloc(kept) + fail_reallocarray(kept) + fail_null() + fail_realloc(freed);
    }
    truth_check(failed == 4 * rounds, "a huge realloc succeeded");
    truth_note("failed_reallocs", failed);
    truth_free_tagged(freed); // after its failures: gone like any other block
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    leak_null();
    leak_zero();
    leak_chain();
    for (int i = 0; i < 10; i++) {
        leak_grown(make_malloc(100));
        leak_grown(make_calloc(200));
        leak_grown(make_aligned(300));
        leak_shrunk(make_malloc(5000));
        leak_shrunk(make_calloc(300000)); // mapped on its own, so moved by mremap or by copying
        leak_array(make_malloc(32));
        free_by_realloc(make_malloc(70));
    }
    make_malloc(77); // its own leak, beside those that others took over
    truth_note("in_place", leak_in_place(make_malloc(100)));
    fail(25);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
