// free(NULL), a million times (--count N): no free, and not to be paid for like one.
#include "truth.h"

static LEAKING void free_nothing(long long count) {
    for (long long i = 0; i < count; i++) {
        free(truth_escape(NULL));
    }
}

static LEAKING void leak_one(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(48)), 48);
}

int main(int argc, char** argv) {
    long long count = truth_option(argc, argv, "--count", 1000000);
    truth_ready(argc, argv);
    leak_one();
    free_nothing(count);
    leak_one();
    truth_note("null_frees", count);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
