// Leaks at a steady rate (--rate BYTES_PER_S, --size N) beside balanced churn, for --duration S seconds or until "stop" is read.
#define _GNU_SOURCE
#include <poll.h>
#include <time.h>

#include "truth.h"

enum { kTickMs = 10, kChurnPerTick = 200, kWindow = 64 };

static long long now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static LEAKING void leak_steadily(size_t bytes) {
    TRUTH_HERE(site);
    truth_check(truth_alloc(&site, malloc(bytes), bytes) != NULL, "out of memory");
}

// Blocks that live for a while, and all go: growth at first, none later.
static void* window[kWindow];

static LEAKING void balanced_churn(void) {
    TRUTH_HERE(site);
    static unsigned next;
    void** slot = &window[next++ % kWindow];
    if (*slot) {
        truth_free_tagged(*slot);
    }
    size_t bytes = 32 + next % 5 * 100;
    *slot = truth_alloc_tagged(&site, malloc(bytes), bytes);
}

static void end_churn(void) {
    for (int i = 0; i < kWindow; i++) {
        if (window[i]) {
            truth_free_tagged(window[i]);
        }
    }
}

// Sleeps for a tick, or less when a line comes in. True when it is "stop".
static int stopped(void) {
    static int input_ended;
    struct pollfd input = {input_ended ? -1 : STDIN_FILENO, POLLIN, 0};
    char text[64];
    if (poll(&input, 1, kTickMs) <= 0) {
        return 0;
    }
    input_ended = !truth_read_line(text, sizeof(text));
    return !strcmp(text, "stop");
}

int main(int argc, char** argv) {
    long long rate = truth_option(argc, argv, "--rate", 1 << 20);
    long long size = truth_option(argc, argv, "--size", 1024);
    long long duration = truth_option(argc, argv, "--duration", 10);
    truth_check(size > 0, "--size is zero");
    truth_ready(argc, argv);
    long long start = now_ns(), leaked = 0, elapsed = 0;
    do {
        elapsed = now_ns() - start;
        long long due = (long long)((double)elapsed * 1e-9 * (double)rate);
        for (; leaked + size <= due; leaked += size) {
            leak_steadily((size_t)size);
        }
        for (int i = 0; i < kChurnPerTick; i++) {
            balanced_churn();
        }
    } while (elapsed < duration * 1000000000LL && !stopped());
    end_churn();
    truth_note("elapsed_ms", elapsed / 1000000);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
