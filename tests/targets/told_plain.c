// A producer of OpenTelemetry's memory contract that has never seen memtrace: otel_memory:alloc alone with <sys/sdt.h>, without semaphores, with constants
// as arguments and a size of 32 bits. A block stands for an interval for each mark in it, which may be less than its size. With
// ALLOC_ONLY (told_alloc_only.c) it fires no otel_memory:free, as the contract allows.
#include <sys/sdt.h>

#include <sys/mman.h>

#include "truth.h"

enum { kInterval = 524288, kLarge = 700000, kBlocks = 100, kSmall = 64 };

static LEAKING void leak_large(char* block) {
    DTRACE_PROBE3(otel_memory, alloc, block, kLarge, kInterval);
}

// Known when it runs only.
static LEAKING void leak_small(char* block, unsigned size) {
    DTRACE_PROBE3(otel_memory, alloc, block, size, (long)kInterval);
}

static LEAKING void balanced(char* block) {
    DTRACE_PROBE3(otel_memory, alloc, block, kLarge, kInterval);
#ifndef ALLOC_ONLY
    DTRACE_PROBE1(otel_memory, free, block);
#endif
}

int main(int argc, char** argv) {
    char* next = mmap(NULL, (size_t)3 * kBlocks * kLarge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    truth_check(next != MAP_FAILED, "no room");
    truth_ready(argc, argv);
    for (int i = 0; i < kBlocks; i++) {
        leak_large(next);
        leak_small(next + kLarge, kSmall);
        balanced(next + 2 * kLarge);
        next += 3 * kLarge;
    }
    truth_finish(TRUTH_SITES);
}
