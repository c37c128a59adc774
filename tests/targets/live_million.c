// A million live blocks (--blocks N) from five call sites: more than a table may hold.
#include "truth.h"

#define LIVE(name, bytes)                                                                                                        \
    static LEAKING void name(void) {                                                                                             \
        TRUTH_HERE(site);                                                                                                        \
        truth_check(truth_alloc(&site, malloc(truth_opaque(bytes)), bytes) != NULL, "out of memory");                            \
    }

LIVE(leak_16, 16)
LIVE(leak_24, 24)
LIVE(leak_40, 40)
LIVE(leak_56, 56)
LIVE(leak_100, 100)

int main(int argc, char** argv) {
    static void (*const sites[])(void) = {leak_16, leak_24, leak_40, leak_56, leak_100, leak_24, leak_16};
    long long blocks = truth_option(argc, argv, "--blocks", 1000000);
    truth_ready(argc, argv);
    for (long long i = 0; i < blocks; i++) {
        sites[i % (long long)(sizeof(sites) / sizeof(sites[0]))]();
    }
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
