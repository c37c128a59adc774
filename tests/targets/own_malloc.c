// A program with an allocator of its own: it exports the malloc family, libc's is never called.
#define _GNU_SOURCE
#include "arena.h"
#include "truth.h"

#define EXPORTED __attribute__((noipa, visibility("default")))

EXPORTED void* malloc(size_t bytes) {
    return arena_allocate(bytes, 16);
}

EXPORTED void free(void* block) {
    arena_release(block);
}

EXPORTED void* calloc(size_t count, size_t size) {
    return arena_zeroed(count, size);
}

EXPORTED void* realloc(void* block, size_t bytes) {
    return arena_resize(block, bytes);
}

EXPORTED int posix_memalign(void** out, size_t align, size_t bytes) {
    if (align < sizeof(void*) || (align & (align - 1))) {
        return EINVAL;
    }
    void* block = arena_allocate(bytes, align);
    if (!block) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

EXPORTED void* aligned_alloc(size_t align, size_t bytes) {
    return arena_allocate(bytes, align);
}

EXPORTED void* memalign(size_t align, size_t bytes) {
    return arena_allocate(bytes, align);
}

EXPORTED size_t malloc_usable_size(void* block) {
    return block ? arena_header_of(block).usable : 0;
}

static LEAKING void leak_malloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 50; i++) {
        void* block = truth_alloc(&site, malloc(truth_opaque(120)), 120);
        if (i % 5) {
            truth_free(&site, block, 120);
        }
    }
}

static LEAKING void leak_calloc(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, calloc(truth_opaque(9), 11), 99);
    truth_check(!truth_escape(calloc(truth_opaque(SIZE_MAX / 2), 3)), "an overflowing calloc succeeded");
}

static LEAKING void leak_realloc(void) {
    TRUTH_HERE(site);
    void* block = truth_alloc(&site, realloc(NULL, truth_opaque(20)), 20);
    truth_gone(&site, 20);
    block = truth_alloc(&site, realloc(block, truth_opaque(20000)), 20000);
    truth_gone(&site, 20000);
    truth_alloc(&site, realloc(block, truth_opaque(10)), 10);
}

static LEAKING void leak_aligned(void) {
    TRUTH_HERE(site);
    void* block = NULL;
    truth_check(posix_memalign(&block, 512, truth_opaque(60)) == 0 && (uintptr_t)block % 512 == 0, "posix_memalign");
    truth_alloc(&site, block, 60);
    block = truth_alloc(&site, aligned_alloc(4096, truth_opaque(4096)), 4096);
    truth_check((uintptr_t)block % 4096 == 0, "aligned_alloc");
    truth_free(&site, block, 4096);
}

static LEAKING void leak_strdup(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, strdup("libc's own calls land here too"), sizeof("libc's own calls land here too"));
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    leak_malloc();
    leak_calloc();
    leak_realloc();
    leak_aligned();
    leak_strdup();
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
