// What a system call, a page fault, and a mapping cost: ns each, the least of several rounds. See pages.py.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kRounds = 15, kCalls = 100000, kPages = 8192, kMappings = 3000, kPage = 4096 };

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double least(double a, double b) {
    return a == 0 || b < a ? b : a;
}

static char* map(size_t bytes) {
    char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        _exit(1);
    }
    return memory;
}

int main(void) {
    double call = 0, fault = 0, mapping = 0;
    for (int round = 0; round < kRounds; round++) {
        double start = now_ns();
        for (int i = 0; i < kCalls; i++) {
            syscall(SYS_getppid);
        }
        call = least(call, (now_ns() - start) / kCalls);
        char* memory = map((size_t)kPages * kPage);
        madvise(memory, (size_t)kPages * kPage, MADV_NOHUGEPAGE);
        start = now_ns();
        for (size_t i = 0; i < kPages; i++) {
            *(volatile char*)(memory + i * kPage) = 1;
        }
        fault = least(fault, (now_ns() - start) / kPages);
        munmap(memory, (size_t)kPages * kPage);
        start = now_ns();
        for (int i = 0; i < kMappings; i++) {
            munmap(map(2 * kPage), 2 * kPage);
        }
        mapping = least(mapping, (now_ns() - start) / kMappings);
    }
    printf("%.1f %.1f %.1f\n", call, fault, mapping);
    return 0;
}
