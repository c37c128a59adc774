// Gone before a tracer has looked twice: leaks, says so and exits at once, without waiting for anyone.
#include "truth.h"

static LEAKING void leak_quickly(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 3; i++) {
        truth_alloc(&site, malloc(truth_opaque(1000)), 1000);
    }
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    leak_quickly();
    truth_print(TRUTH_LIVE | TRUTH_CALLS);
    _exit(0);
}
