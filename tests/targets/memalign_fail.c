// Aligned allocation that fails. posix_memalign says so by its return value and leaves *out alone; here *out holds a block that
// is live and another function's, so a tracer that goes by *out alone gives that block away or counts it twice.
#define _GNU_SOURCE
#include <malloc.h>

#include "truth.h"

#define HUGE_SIZE truth_opaque(SIZE_MAX / 2 - 4096)

static LEAKING void* leak_bystander(void) {
    TRUTH_HERE(site);
    return truth_alloc_tagged(&site, malloc(truth_opaque(222)), 222);
}

static LEAKING int fail_posix_memalign(void** out, size_t align, size_t bytes) {
    return posix_memalign(out, align, bytes);
}

static LEAKING int fail_aligned_alloc(void) {
    return truth_escape(aligned_alloc(64, HUGE_SIZE)) == NULL;
}

static LEAKING int fail_memalign(void) {
    return truth_escape(memalign(4096, HUGE_SIZE)) == NULL;
}

static LEAKING int fail_malloc(void) {
    return truth_escape(malloc(HUGE_SIZE)) == NULL;
}

static LEAKING void leak_aligned(void) {
    TRUTH_HERE(site);
    void* block = NULL;
    truth_check(posix_memalign(&block, 4096, truth_opaque(150)) == 0, "posix_memalign");
    truth_alloc(&site, block, 150);
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    void* bystander = leak_bystander();
    void* freed = leak_bystander();
    long long einval = 0, enomem = 0, null = 0;
    for (int i = 0; i < 100; i++) {
        void* out = bystander;
        einval += fail_posix_memalign(&out, 3, 64) == EINVAL;
        einval += fail_posix_memalign(&out, 0, 64) == EINVAL;
        enomem += fail_posix_memalign(&out, 64, HUGE_SIZE) == ENOMEM;
        truth_check(out == bystander, "posix_memalign failed and wrote to *out");
        out = freed;
        einval += fail_posix_memalign(&out, 48, 64) == EINVAL;
        null += fail_aligned_alloc() + fail_memalign() + fail_malloc();
    }
    truth_check(einval == 300 && enomem == 100 && null == 300, "an allocation that must fail did not");
    truth_free_tagged(freed);
    leak_aligned();
    leak_aligned();
    truth_note("einval", einval);
    truth_note("enomem", enomem);
    truth_note("null", null);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
