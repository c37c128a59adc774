// Leaks a block and maps a page, which it gives back, from --stacks N (default 15000) places that differ in their stacks.
#include <sys/mman.h>

#include "truth.h"

enum { kBits = 14, kPage = 4096 };

static void use(unsigned way, int bits);

// Two of them, so that each bit of `way` is a place in the stack.
static LEAKING void left(unsigned way, int bits) {
    use(way, bits);
    truth_opaque(0);
}
static LEAKING void right(unsigned way, int bits) {
    use(way, bits);
    truth_opaque(0);
}
static LEAKING void leak_at_last(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(48)), 48);
}
static LEAKING void map_at_last(void) {
    char* page = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    truth_check(page != MAP_FAILED, "mmap");
    munmap(page, kPage);
}
static LEAKING void use(unsigned way, int bits) {
    if (bits == 0) {
        leak_at_last();
        map_at_last();
    } else if (way & 1) {
        left(way >> 1, bits - 1);
    } else {
        right(way >> 1, bits - 1);
    }
    truth_opaque(0);
}

int main(int argc, char** argv) {
    const long long stacks = truth_option(argc, argv, "--stacks", 15000);
    truth_check(stacks <= 1 << kBits, "so many ways");
    truth_ready(argc, argv);
    for (unsigned way = 0; way < stacks; way++) {
        use(way, kBits);
    }
    truth_finish(TRUTH_LIVE);
}
