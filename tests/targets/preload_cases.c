// What a malloc family has to get right, for libmemtrace_alloc.so: preload_cases CASE [N]. Prints "pid" and waits for a line, does CASE, prints
// "ok" or what is wrong. Not of the protocol of truth.h: it runs with semaphores raised by hand, and over other allocators.
//
//   family    every function of it: alignment, contents, usable size, failures      fork      children of a process whose threads allocate
//   threads   blocks that another thread frees, threads that come and go            tls       allocations in destructors of thread-specific data
//   signals   a handler that interrupts allocations                               sample N  N blocks in 3 sizes: prints their bytes, waits, frees them
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                                       \
            exit(1);                                                                                                             \
        }                                                                                                                        \
    } while (0)

enum { kThreads = 6, kRounds = 20000, kExchange = 64 };

// Memory from before main, which is freed after it began.
static char* early;
__attribute__((constructor)) static void before_main(void) {
    early = malloc(1000);
    early = realloc(early, 5000);
    strcpy(early, "early");
}

static void wait_for_line(void) {
    char line[16];
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin));
}

static int all_are(const unsigned char* bytes, size_t size, int value) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value) {
            return 0;
        }
    }
    return 1;
}

// A number that the compiler knows nothing of: else it has an opinion on what cannot be allocated.
static size_t opaque(size_t number) {
    __asm__ volatile("" : "+r"(number));
    return number;
}

static void check_block(void* block, size_t size, size_t alignment) {
    CHECK(block);
    CHECK((uintptr_t)block % alignment == 0);
    CHECK(malloc_usable_size(block) >= size);
    memset(block, 0x5a, size);
    free(block);
}

static void check_resizing(size_t size) {
    unsigned char* block = malloc(size);
    memset(block, 7, size);
    block = realloc(block, 3 * size + 1);
    CHECK(block && all_are(block, size, 7));
    block = reallocarray(block, 2, size);
    CHECK(block && all_are(block, size, 7));
    errno = 0;
    uintptr_t before = (uintptr_t)block;
    CHECK(!reallocarray(block, opaque(SIZE_MAX / 2), 3) && errno == ENOMEM);
    errno = 0;
    CHECK(!realloc((void*)opaque(before), opaque(SIZE_MAX / 4)) && errno == ENOMEM);
    block = (unsigned char*)opaque(before);
    CHECK(all_are(block, size, 7)); // it is still there
    free(block);
}

static void family(void) {
    for (int round = 0; round < 200; round++) {
        for (size_t size = 1; size < 300000; size = size * 3 + 1) {
            check_block(malloc(size), size, size < 16 ? 8 : 16);
            unsigned char* zeroed = calloc(size, 3);
            CHECK(zeroed && all_are(zeroed, 3 * size, 0));
            free(zeroed);
            for (size_t alignment = 16; alignment <= 8192; alignment *= 8) {
                void* block = NULL;
                CHECK(posix_memalign(&block, alignment, size) == 0);
                check_block(block, size, alignment);
                check_block(aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment), size, alignment);
                check_block(memalign(alignment, size), size, alignment);
            }
            check_resizing(size);
        }
        check_block(valloc(100), 100, 4096);
        check_block(pvalloc(100), 100, 4096);
    }
    void* block = NULL;
    CHECK(posix_memalign(&block, 3, 10) == EINVAL);
    CHECK(!calloc(opaque(SIZE_MAX / 2), 4)); // not every allocator says ENOMEM
    free(NULL);
    CHECK(malloc_usable_size(NULL) == 0);
    block = realloc(NULL, 100);
    CHECK(block);
    free(block);
    CHECK(strcmp(early, "early") == 0);
    free(early);
}

static unsigned next_random(unsigned* state) {
    return *state = *state * 1664525u + 1013904223u;
}

static void* exchange[kExchange];

static void* churn(void* argument) {
    unsigned state = (unsigned)(uintptr_t)argument;
    for (int round = 0; round < kRounds; round++) {
        size_t size = 1 + (next_random(&state) >> 8) % 2000;
        void* block = state % 5 ? malloc(size) : calloc(1, size);
        CHECK(block);
        memset(block, 1, size);
        free(__atomic_exchange_n(&exchange[(state >> 16) % kExchange], block, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void run_threads(void* (*function)(void*)) {
    pthread_t threads[kThreads];
    for (uintptr_t i = 0; i < kThreads; i++) {
        CHECK(pthread_create(&threads[i], NULL, function, (void*)(i + 1)) == 0);
    }
    for (int i = 0; i < kThreads; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void threads(void) {
    for (int generation = 0; generation < 10; generation++) {
        run_threads(churn);
    }
}

static int over;
static void* churn_until_over(void* argument) {
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        churn(argument);
    }
    return NULL;
}

// A child has one thread, and what the others held at that moment.
static void child(int deep) {
    for (int i = 0; i < 300; i++) {
        free(realloc(malloc((size_t)i + 1), 2000));
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, churn, (void*)1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    if (deep) {
        int status = 0;
        pid_t grandchild = fork();
        if (grandchild == 0) {
            free(malloc(100));
            _exit(0);
        }
        CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    }
    _exit(0);
}

static void forks(void) {
    pthread_t others[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&others[i], NULL, churn_until_over, (void*)(uintptr_t)(i + 1)) == 0);
    }
    for (int i = 0; i < 150; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            child(i % 10 == 0);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(others[i], NULL) == 0);
    }
}

static pthread_key_t key;
static int destroyed;

// Called when the thread's own variables are on their way out; again and again, while it sets the key anew.
static void at_thread_end(void* block) {
    static __thread int times;
    free(block);
    void* next = calloc(1, 100);
    CHECK(next);
    if (++times < 3) {
        CHECK(pthread_setspecific(key, next) == 0);
    } else {
        free(next);
    }
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void* set_key(void* argument) {
    (void)argument;
    CHECK(pthread_setspecific(key, malloc(50)) == 0);
    return NULL;
}

static void tls(void) {
    CHECK(pthread_key_create(&key, at_thread_end) == 0);
    for (int i = 0; i < 200; i++) {
        run_threads(set_key);
    }
    CHECK(destroyed == 3 * 200 * kThreads);
}

static volatile sig_atomic_t interrupted;
static void on_alarm(int number) {
    (void)number;
    interrupted++;
}

static void signals(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 200}, {0, 200}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (interrupted < 500) {
        churn((void*)1);
    }
}

static void sample(int count) {
    static const size_t sizes[] = {100, 3000, 50000};
    unsigned long long bytes = 0;
    void** blocks = malloc((size_t)count * sizeof *blocks);
    wait_for_line();
    for (int i = 0; i < count; i++) {
        size_t size = sizes[i % 3 ? (i % 50 ? 0 : 1) : (i % 90 ? 0 : 2)];
        blocks[i] = malloc(size);
        CHECK(blocks[i]);
        bytes += size;
    }
    printf("bytes %llu\n", bytes);
    wait_for_line();
    for (int i = 0; i < count; i++) {
        free(blocks[i]);
    }
    printf("freed\n");
    wait_for_line();
    free(blocks);
}

int main(int argc, char** argv) {
    const char* name = argc > 1 ? argv[1] : "";
    printf("%d\n", (int)getpid());
    wait_for_line();
    if (strcmp(name, "family") == 0) {
        family();
    } else if (strcmp(name, "threads") == 0) {
        threads();
    } else if (strcmp(name, "fork") == 0) {
        forks();
    } else if (strcmp(name, "tls") == 0) {
        tls();
    } else if (strcmp(name, "signals") == 0) {
        signals();
    } else if (strcmp(name, "sample") == 0) {
        sample(argc > 2 ? atoi(argv[2]) : 1000);
    } else {
        fprintf(stderr, "usage: preload_cases family|threads|fork|tls|signals|sample [N]\n");
        return 2;
    }
    puts("ok");
    return 0;
}
