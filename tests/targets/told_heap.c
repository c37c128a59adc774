// An allocator of its own that tells of a sample of its blocks by the OpenTelemetry memory contract, otel_memory:alloc(ptr, size, weighted bytes)
// and otel_memory:free(ptr), with nothing but <sys/sdt.h>. Poisson over bytes, one mark in --interval BYTES, and nothing while nobody listens.
// Blocks of three sizes leak, --count N of each, and as many come and go. --older N blocks are there before "go".
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#include <math.h>
#include <sys/mman.h>
#include <time.h>

#include "truth.h"

// The kernel counts listeners here.
__attribute__((section(".probes"))) volatile unsigned short otel_memory_alloc_semaphore;
__attribute__((section(".probes"))) volatile unsigned short otel_memory_free_semaphore;

static struct {
    char* next;
    char* end;
} arena;

static double interval;
static double to_next_mark;
static unsigned long long random_state;

// (0, 1]
static double uniform(void) {
    unsigned long long z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return ((double)((z ^ (z >> 31)) >> 11) + 1) * 0x1p-53;
}

// A block's head says whether it was told of.
struct head {
    size_t told;
    size_t padding;
};

static __attribute__((noinline)) void* arena_alloc(size_t bytes) {
    const size_t whole = (sizeof(struct head) + bytes + 15) & ~(size_t)15;
    truth_check(arena.next + whole <= arena.end, "the arena is full");
    struct head* head = (struct head*)arena.next;
    arena.next += whole;
    head->told = 0;
    if (otel_memory_alloc_semaphore) {
        if (to_next_mark < (double)bytes) {
            const unsigned long long weighted = (unsigned long long)llround((double)bytes / -expm1(-(double)bytes / interval));
            to_next_mark = -log(uniform()) * interval;
            head->told = 1;
            STAP_PROBE3(otel_memory, alloc, head + 1, bytes, weighted);
        } else {
            to_next_mark -= (double)bytes;
        }
    }
    return head + 1;
}

static __attribute__((noinline)) void arena_free(void* block) {
    struct head* head = (struct head*)block - 1;
    if (head->told && otel_memory_free_semaphore) {
        STAP_PROBE1(otel_memory, free, block);
    }
}

static LEAKING void leak_small(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, arena_alloc(40), 40);
}
static LEAKING void leak_medium(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, arena_alloc(700), 700);
}
static LEAKING void leak_large(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, arena_alloc(9000), 9000);
}
static LEAKING void balanced(void) {
    arena_free(arena_alloc(2000));
}
static LEAKING void setup_older(void) {
    arena_alloc(1000);
}

int main(int argc, char** argv) {
    struct timespec now;
    const long long count = truth_option(argc, argv, "--count", 20000);
    const long long older = truth_option(argc, argv, "--older", 0);
    const size_t size = (size_t)(count * (40 + 700 + 9000 + 2000 + 4 * 32) + older * 1032 + 4096);
    interval = (double)truth_option(argc, argv, "--interval", 65536);
    clock_gettime(CLOCK_MONOTONIC, &now);
    random_state = (unsigned long long)now.tv_nsec * 1000003u + (unsigned long long)getpid();
    to_next_mark = -log(uniform()) * interval;
    arena.next = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    truth_check(arena.next != MAP_FAILED, "no memory");
    arena.end = arena.next + size;
    for (long long i = 0; i < older; i++) {
        setup_older();
    }
    truth_ready(argc, argv);
    for (long long i = 0; i < count; i++) {
        leak_small();
        leak_medium();
        leak_large();
        balanced();
    }
    truth_finish(TRUTH_LIVE);
}
