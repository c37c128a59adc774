// Functions that do nothing, for a recipe to follow: prints nanoseconds of CPU time a use, and a pair of taking and giving back. Few enough
// for the ring to hold all that they tell.
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { kCalls = 20000 };

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* A function begins with a push, as most do. */
#define BEGIN __asm__ volatile("" : : : "rbx")

__attribute__((noipa)) uint64_t take_one(uint64_t number) {
    BEGIN;
    return number;
}
__attribute__((noipa)) void use_one(uint64_t id) {
    BEGIN;
    (void)id;
}
__attribute__((noipa)) void give_back(uint64_t id) {
    BEGIN;
    (void)id;
}

static double uses(long count) {
    const double begin = now_ns();
    for (long i = 0; i < count; i++) {
        use_one(1);
    }
    return (now_ns() - begin) / (double)count;
}

static double pairs(long count) {
    const double begin = now_ns();
    for (long i = 0; i < count; i++) {
        give_back(take_one((uint64_t)i + 2));
    }
    return (now_ns() - begin) / (double)count;
}

int main(void) {
    take_one(1);
    uses(kCalls / 10);
    pairs(kCalls / 10);
    const double use = uses(kCalls);
    printf("%.1f %.1f\n", use, pairs(kCalls));
    return 0;
}
