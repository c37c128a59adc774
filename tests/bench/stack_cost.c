// Pairs of malloc and free at the end of a stack of some frames, without frame pointers: prints nanoseconds a pair.
//
//   stack_cost FRAMES PAIRS
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

__attribute__((noipa)) static void pairs(long count) {
    for (long i = 0; i < count; i++) {
        void* block = malloc(64);
        __asm__ volatile("" : "+r"(block));
        free(block);
    }
}

__attribute__((noipa)) static long descend(long frames, long count) {
    if (frames == 0) {
        pairs(count);
        return 0;
    }
    const long below = descend(frames - 1, count);
    __asm__ volatile(""); // work after the call: it is neither a tail call nor a loop
    return below + frames;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fputs("usage: stack_cost FRAMES PAIRS\n", stderr);
        return 2;
    }
    const long frames = strtol(argv[1], NULL, 10);
    const long count = strtol(argv[2], NULL, 10);
    descend(frames, count / 10);
    const double begin = now_ns();
    descend(frames, count);
    printf("%.1f\n", (now_ns() - begin) / (double)count);
    return 0;
}
