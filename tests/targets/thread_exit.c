// Threads that end: by returning, by pthread_exit, by cancellation; and by the latter two out of the middle of an allocation, for
// which the program has a malloc of its own. Their calls in flight end with them. A second generation of threads then runs on the
// same stacks.
#include <pthread.h>
#include <semaphore.h>

#include "truth.h"

enum { kPerKind = 20, kStackBytes = 256 * 1024 };
enum kind { kReturns, kExits, kExitsInFlight, kCancelled, kCancelledInFlight, kKinds };
enum in_flight { kNothing, kExit, kBlock };

extern void* __libc_malloc(size_t bytes);

static __thread volatile enum in_flight in_flight;
static sem_t may_start; // one post per thread
static sem_t blocked;   // one post per thread that waits to be cancelled

static void block_until_cancelled(void) {
    sem_post(&blocked);
    for (;;) {
        pause();
    }
}

// Exported from the executable (-rdynamic), so the whole process uses it.
__attribute__((noipa)) void* malloc(size_t bytes) {
    enum in_flight now = in_flight;
    in_flight = kNothing;
    if (now == kExit) {
        pthread_exit(NULL);
    }
    if (now == kBlock) {
        block_until_cancelled();
    }
    return __libc_malloc(bytes);
}

static LEAKING void call_abandoned(enum in_flight what) {
    in_flight = what;
    truth_escape(malloc(truth_opaque(4096)));
    truth_broken("malloc returned to a thread that had ended");
}

static LEAKING void leak_in_thread(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 10; i++) {
        void* block = truth_alloc(&site, malloc(truth_opaque(128)), 128);
        if (i % 2) {
            truth_free(&site, block, 128);
        }
    }
}

static void* thread_main(void* argument) {
    enum kind kind = (enum kind)(intptr_t)argument;
    sem_wait(&may_start);
    leak_in_thread();
    switch (kind) {
    case kExits:
        pthread_exit(NULL);
    case kExitsInFlight:
        call_abandoned(kExit);
        break;
    case kCancelled:
        block_until_cancelled();
        break;
    case kCancelledInFlight:
        call_abandoned(kBlock);
        break;
    default:
        break;
    }
    return NULL;
}

static LEAKING void leak_second_generation(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(640)), 640);
    truth_free(&site, truth_alloc(&site, malloc(truth_opaque(64)), 64), 64);
}

static void* second_main(void* argument) {
    leak_second_generation();
    return argument;
}

static pthread_t start_thread(void* (*function)(void*), void* argument) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes); // small: libc keeps them all, and frees nothing of theirs
    truth_check(pthread_create(&thread, &attributes, function, argument) == 0, "pthread_create");
    pthread_attr_destroy(&attributes);
    return thread;
}

// pthread_exit and pthread_cancel open the unwinder's library when first used, which allocates.
static void* setup_main(void* argument) {
    (void)argument;
    block_until_cancelled();
    return NULL;
}

static LEAKING void setup_unwinder(void) {
    pthread_t thread = start_thread(setup_main, NULL);
    sem_wait(&blocked);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

static LEAKING void setup_threads(pthread_t threads[kKinds][kPerKind]) {
    for (int i = 0; i < kPerKind; i++) {
        for (int kind = 0; kind < kKinds; kind++) {
            threads[kind][i] = start_thread(thread_main, (void*)(intptr_t)kind);
        }
    }
}

static long long end_first_generation(pthread_t threads[kKinds][kPerKind]) {
    long long cancelled = 0;
    for (int i = 0; i < kKinds * kPerKind; i++) {
        sem_post(&may_start);
    }
    for (int i = 0; i < 2 * kPerKind; i++) {
        sem_wait(&blocked);
    }
    for (int i = 0; i < kPerKind; i++) {
        pthread_cancel(threads[kCancelled][i]);
        pthread_cancel(threads[kCancelledInFlight][i]);
        for (int kind = 0; kind < kKinds; kind++) {
            void* result = NULL;
            pthread_join(threads[kind][i], &result);
            cancelled += result == PTHREAD_CANCELED;
        }
    }
    return cancelled;
}

static LEAKING void leak_after(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(777)), 777);
}

int main(int argc, char** argv) {
    static pthread_t threads[kKinds][kPerKind];
    sem_init(&may_start, 0, 0);
    sem_init(&blocked, 0, 0);
    setup_unwinder();
    setup_threads(threads);
    truth_ready(argc, argv);
    long long cancelled = end_first_generation(threads);
    truth_check(cancelled == 2 * kPerKind, "a thread was not cancelled");
    leak_after();
    for (int i = 0; i < kPerKind; i++) {
        pthread_join(start_thread(second_main, NULL), NULL);
    }
    leak_after();
    truth_note("threads", kKinds * kPerKind + kPerKind);
    truth_note("ended_in_flight", 2 * kPerKind);
    truth_finish(TRUTH_LIVE);
}
