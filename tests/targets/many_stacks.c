// Leaks a block and maps a page, which it gives back, from --stacks N (default 15000) places that differ in their stacks.
#include <sys/mman.h>

#include "ways.h"

enum { kBits = 14, kPage = 4096 };

static LEAKING void leak_at_last(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(48)), 48);
}
static LEAKING void map_at_last(void) {
    char* page = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    truth_check(page != MAP_FAILED, "mmap");
    munmap(page, kPage);
}
static LEAKING void at_the_end(void) {
    leak_at_last();
    map_at_last();
}

int main(int argc, char** argv) {
    const long long stacks = truth_option(argc, argv, "--stacks", 15000);
    truth_check(stacks <= 1 << kBits, "so many ways");
    truth_ready(argc, argv);
    for (unsigned way = 0; way < stacks; way++) {
        go_by(way, kBits);
    }
    truth_finish(TRUTH_LIVE);
}
