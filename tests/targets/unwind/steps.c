// What is run instruction by instruction, to hold unwinding to another unwinder at each of them (tests/unit/unwind_steps_test.cpp).
// Compiled by both compilers, as C and as C++, from -O0 to -O3: one function for each way in which a frame can be laid out. Stops
// itself with a breakpoint before and after.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __cplusplus
#include <stdexcept>
#include <string>
#endif

#define NOINLINE __attribute__((noinline))

static volatile int sink;
static jmp_buf back;

static inline void stop(void) {
    __asm__ volatile("int3");
}

NOINLINE static int leaf(int n) {
    return n * 3 + sink;
}

NOINLINE static int red_zone(int n) {
    volatile int local[16];
    for (int i = 0; i < 16; i++) {
        local[i] = n + i;
    }
    return local[n & 15];
}

NOINLINE static int many_registers(int a, int b, int c, int d) {
    int e = leaf(a), f = leaf(b), g = leaf(c), h = leaf(d);
    int i = leaf(a + e), j = leaf(b + f);
    return leaf(e + f + g + h) + i * j + a * b * c * d;
}

NOINLINE static int early_out(int n) {
    if (n < 5) {
        return n;
    }
    return many_registers(n, n + 1, n + 2, n + 3) + leaf(n);
}

NOINLINE static int dynamic_frame(int n) {
    char* block = (char*)alloca((size_t)n + 16);
    memset(block, n, (size_t)n + 16);
    sink = sink + block[n];
    return leaf(n) + block[3];
}

NOINLINE static int large_frame(int n) {
    volatile char block[100000];
    block[n] = (char)n;
    return leaf(block[n]);
}

/* The compiler realigns the stack: the frame begins where another register said. */
NOINLINE static int realigned(int n) {
    volatile char block[64] __attribute__((aligned(64)));
    block[n & 63] = (char)n;
    return leaf(n) + block[n & 63];
}

NOINLINE static int realigned_dynamic(int n, int a, int b, int c, int d, int e, int f, int g) {
    volatile char block[64] __attribute__((aligned(64)));
    char* more = (char*)alloca((size_t)n + 1);
    more[0] = (char)(a + b + c + d + e + f + g);
    block[n & 63] = more[0];
    sink = sink + more[0];
    return leaf(n) + block[n & 63];
}

NOINLINE static int variadic(int count, ...) {
    va_list list;
    int sum = 0;
    va_start(list, count);
    for (int i = 0; i < count; i++) {
        sum += va_arg(list, int);
    }
    va_end(list);
    return sum;
}

NOINLINE static int recursive(int n) {
    return n == 0 ? leaf(1) : recursive(n - 1) * 2 + leaf(n);
}

NOINLINE static int tail_call(int n) {
    return early_out(n + 4);
}

NOINLINE static int switched(int n) {
    switch (n) {
    case 0:
        return leaf(1);
    case 1:
        return red_zone(2);
    case 2:
        return leaf(3) + 1;
    case 3:
        return variadic(2, 1, 2);
    case 4:
        return dynamic_frame(7);
    default:
        return n;
    }
}

/* A call that does not return may be the last instruction of its function. */
NOINLINE __attribute__((noreturn)) static void jump_back(int n) {
    longjmp(back, n);
}
NOINLINE __attribute__((noreturn)) static void leave(int n) {
    sink = sink + leaf(n);
    jump_back(n + 1);
}
NOINLINE static int left(int n) {
    if (setjmp(back) == 0) {
        leave(n);
    }
    return n;
}

static void on_signal(int number) {
    sink = sink + leaf(number);
}
NOINLINE static int interrupted(int n) {
    raise(SIGUSR1);
    return leaf(n);
}

static int by_value(const void* a, const void* b) {
    return leaf(*(const int*)a) - leaf(*(const int*)b);
}
NOINLINE static int called_back(void) {
    int values[] = {3, 1, 2};
    qsort(values, 3, sizeof(values[0]), by_value);
    return values[0];
}

#ifdef __cplusplus
struct Guard {
    ~Guard() { sink = sink + leaf(2); }
};
NOINLINE static int thrower(int n) {
    const Guard guard;
    if (n > 2) {
        throw std::runtime_error("thrown");
    }
    return n;
}
NOINLINE static int catcher(int n) {
    const Guard guard;
    try {
        return thrower(n) + leaf(n);
    } catch (const std::exception& error) {
        return leaf(static_cast<int>(std::string(error.what()).size()));
    }
}
#endif

int main(void) {
    signal(SIGUSR1, on_signal);
    stop();
    int sum = leaf(1) + red_zone(2) + early_out(3) + early_out(9) + dynamic_frame(20) + large_frame(5) + realigned(6);
    sum += realigned_dynamic(9, 1, 2, 3, 4, 5, 6, 7) + variadic(3, 1, 2, 3) + recursive(4) + tail_call(3) + left(3);
    for (int i = 0; i < 6; i++) {
        sum += switched(i);
    }
    sum += interrupted(2) + called_back();
#ifdef __cplusplus
    sum += catcher(1) + catcher(5);
#endif
    stop();
    return sum == 42;
}
