// What a system call costs, and a descriptor that is opened and closed: ns each, the least of many rounds so short that some are not
// interrupted. See pages.py.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kRounds = 1000, kCalls = 1000, kDescriptors = 50 };

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double least(double a, double b) {
    return a == 0 || b < a ? b : a;
}

int main(void) {
    double call = 0, event = 0, file = 0;
    for (int round = 0; round < kRounds; round++) {
        double start = now_ns();
        for (int i = 0; i < kCalls; i++) {
            syscall(SYS_getppid);
        }
        call = least(call, (now_ns() - start) / kCalls);
        start = now_ns();
        for (int i = 0; i < kDescriptors; i++) {
            close(eventfd(0, 0));
        }
        event = least(event, (now_ns() - start) / kDescriptors);
        start = now_ns();
        for (int i = 0; i < kDescriptors; i++) {
            close(open("/dev/null", O_RDONLY));
        }
        file = least(file, (now_ns() - start) / kDescriptors);
    }
    printf("%.1f %.1f %.1f\n", call, event, file);
    return 0;
}
