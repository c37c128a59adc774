// Leaks at the end of every kind of stack, in code without frame pointers: while an exception passes, in its handler, in a signal's
// handler on a stack of its own, behind a realigned frame, in a callback of libc's, deep in a recursion, in a thread. Each leaking
// function is called by one whose name tells of it.
#include <alloca.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>

#include "truth.h"

// Functions that leave an unwinder without a frame pointer to follow: the compiler uses it for something else.
#define FRAME static __attribute__((noipa))

#define LEAK(name, size)                                                                                                         \
    static LEAKING void name() {                                                                                                 \
        TRUTH_HERE(site);                                                                                                        \
        truth_alloc(&site, malloc(truth_opaque(size)), size);                                                                    \
        asm volatile("");                                                                                                        \
    }
LEAK(leak_while_unwinding, 101)
LEAK(leak_in_handler, 102)
LEAK(leak_in_signal, 103)
LEAK(leak_realigned, 104)
LEAK(leak_in_callback, 105)
LEAK(leak_deep, 106)
LEAK(leak_in_thread, 107)

struct Guard {
    __attribute__((noipa)) ~Guard() { leak_while_unwinding(); }
};
FRAME void thrower(int n) {
    if (n != 0) {
        throw std::runtime_error("thrown");
    }
}
FRAME int guarded(int n) {
    const Guard guard;
    thrower(n);
    return n;
}
FRAME int catcher(int n) {
    try {
        return guarded(n);
    } catch (const std::exception& error) {
        leak_in_handler();
        return static_cast<int>(std::strlen(error.what()));
    }
}

FRAME void on_signal(int) {
    leak_in_signal();
    asm volatile("");
}
FRAME int signalled(int n) {
    raise(SIGUSR1);
    return n + 1;
}

FRAME int realigned(int n) {
    alignas(64) volatile char block[64];
    char* more = static_cast<char*>(alloca(static_cast<std::size_t>(n) + 1));
    block[n & 63] = more[0] = static_cast<char>(n);
    leak_realigned();
    return block[n & 63] + more[0];
}

FRAME int by_value(const void* a, const void* b) {
    leak_in_callback();
    return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}
FRAME int sorter(int n) {
    int values[] = {n, 1};
    qsort(values, 2, sizeof(values[0]), by_value);
    return values[0];
}

FRAME int recursion(int n) {
    if (n == 0) {
        leak_deep();
        return 1;
    }
    return recursion(n - 1) * 3 + n;
}

FRAME void* thread_function(void* argument) {
    leak_in_thread();
    return argument;
}
FRAME void in_thread() {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, thread_function, nullptr) != 0 || pthread_join(thread, nullptr) != 0) {
        abort();
    }
}

int main(int argc, char** argv) {
    static char signal_stack[64 * 1024];
    stack_t own{};
    own.ss_sp = signal_stack;
    own.ss_size = sizeof(signal_stack);
    struct sigaction action{};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    if (sigaltstack(&own, nullptr) != 0 || sigaction(SIGUSR1, &action, nullptr) != 0) {
        return 1;
    }
    truth_ready(argc, argv);
    int sum = catcher(1);
    sum += signalled(1);
    sum += realigned(9);
    sum += sorter(3);
    sum += recursion(20);
    in_thread();
    truth_note("sum", sum);
    truth_finish(TRUTH_SITES);
}
