/*
 * Tells of objects, references, resources and a pool by the probes of include/memtrace/probes.h, and says what it told.
 *
 *     contract [--pairs N] [--older N] [--threads N]
 *
 * --older N     N objects and as many resources exist since before "go", and are announced
 * --pairs N     N references are acquired and released; "ns_per_pair" says how long each pair took
 * --threads N   threads that come and go, each of which acquires one reference that stays
 * It answers emergency requests until its input ends: it looks for them every millisecond.
 */
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "memtrace/probes.h"
#include "truth.h"

#define OBJECTS 8
#define CLEANUP_BYTES 65536

struct object {
    uint64_t strong;
    char filler[56];
};

static struct object older[64];
static struct object objects[OBJECTS];
static struct object* handles[OBJECTS];
static size_t older_count;
static struct {
    int wanted;
} pool;

static void announce(void* context) {
    (void)context;
    for (size_t i = 0; i < older_count; i++) {
        memtrace_object_alive(&older[i], sizeof(older[i]), "Older", 1, 0);
        memtrace_resource_alive("session", 100 + i, 0, 10, "older session", 5000000000ull, 1000000000ull);
    }
}
static struct memtrace_announcer announcer = {announce, 0, 0};

LEAKING static void hold(struct object* object, struct object** handle) {
    *handle = object;
    memtrace_ref_acquire(object, handle, 1, ++object->strong);
}

LEAKING static void drop(struct object** handle) {
    struct object* object = *handle;
    memtrace_ref_release(object, handle, 1, --object->strong);
    *handle = NULL;
}

/* Each kind of probe, a known number of times. */
LEAKING static void tell_each(void) {
    struct object* moved = NULL;
    for (int i = 0; i < OBJECTS; i++) {
        memtrace_object_create(&objects[i], sizeof(objects[i]), "Session");
        hold(&objects[i], &handles[i]);
    }
    moved = handles[0];
    handles[0] = NULL;
    memtrace_ref_move(moved, &handles[0], &moved, 1);
    drop(&moved);
    memtrace_object_destroy(&objects[0]);
    memtrace_resource_acquire("cursor", 1, 0, 4096, "select 1");
    memtrace_resource_touch("cursor", 1);
    memtrace_resource_acquire("cursor", 2, 1, 512, NULL);
    memtrace_resource_release("cursor", 2);
    memtrace_pool_limit(&pool, "connections", 0, 2);
    memtrace_pool_get(&pool, "connections", 1, 2);
    memtrace_pool_get(&pool, "connections", 2, 2);
    memtrace_pool_wait(&pool, "connections", 2, 2);
    memtrace_pool_put(&pool, "connections", 1, 2);
}

static double pairs(long count) {
    struct timespec begin, end;
    struct object* handle = NULL;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count; i++) {
        hold(&objects[1], &handle);
        drop(&handle);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
}

static void* come_and_go(void* handle) {
    hold(&objects[2], handle);
    return NULL;
}

static void serve_requests(void) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    int served = 0;
    while (poll(&input, 1, 1) == 0) {
        int level = memtrace_emergency_level();
        if (level && level != served) {
            memtrace_cleanup_start(level, CLEANUP_BYTES);
            memtrace_cleanup_end(level, CLEANUP_BYTES / 2, 3);
        }
        served = level;
    }
}

int main(int argc, char** argv) {
    const long pair_count = truth_option(argc, argv, "--pairs", 0);
    const long threads = truth_option(argc, argv, "--threads", 0);
    static struct object* held[64];
    older_count = (size_t)truth_option(argc, argv, "--older", 0);
    truth_check(older_count <= 64 && threads <= 64, "arguments");
    memtrace_add_announcer(&announcer);
    truth_ready(argc, argv);
    tell_each();
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        truth_check(pthread_create(&thread, NULL, come_and_go, &held[i]) == 0, "thread");
        pthread_join(thread, NULL);
    }
    if (pair_count) {
        truth_note("ns_per_pair", (long long)(pairs(pair_count) / (double)pair_count));
    }
    truth_note("object_address", (long long)(uintptr_t)&objects[1]);
    truth_note("semaphore_acquire", (long long)(uintptr_t)&memtrace_ref_acquire_semaphore);
    truth_note("semaphore_announce", (long long)(uintptr_t)&memtrace_announce_semaphore);
    truth_print(TRUTH_SITES);
    serve_requests();
    return 0;
}
