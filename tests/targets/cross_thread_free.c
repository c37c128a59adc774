// Two threads allocate, two others free: a block's end is seen on another thread, and often another CPU, than its beginning.
#include "crew.h"

enum { kRing = 256, kKeepEvery = 100, kProducers = 2, kConsumers = 2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static void* ring[kRing];
static unsigned filled, taken;
static int producing = kProducers;
static long long items;

static void put(void* block) {
    pthread_mutex_lock(&lock);
    while (filled - taken == kRing) {
        pthread_cond_wait(&not_full, &lock);
    }
    ring[filled++ % kRing] = block;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&lock);
}

// NULL once everything has been produced and taken.
static void* take(void) {
    void* block = NULL;
    pthread_mutex_lock(&lock);
    while (filled == taken && producing) {
        pthread_cond_wait(&not_empty, &lock);
    }
    if (filled != taken) {
        block = ring[taken++ % kRing];
        pthread_cond_signal(&not_full);
    }
    pthread_mutex_unlock(&lock);
    return block;
}

static void stop_producing(void) {
    pthread_mutex_lock(&lock);
    producing--;
    pthread_cond_broadcast(&not_empty);
    pthread_mutex_unlock(&lock);
}

static LEAKING void leak_small(void) {
    TRUTH_HERE(site);
    for (long long i = 0; i < items; i++) {
        size_t bytes = 32 + (size_t)(i % 64);
        put(truth_alloc_tagged(&site, malloc(bytes), bytes));
    }
}

static LEAKING void leak_large(void) {
    TRUTH_HERE(site);
    for (long long i = 0; i < items; i++) {
        size_t bytes = 1024 + (size_t)(i % 7) * 512;
        put(truth_alloc_tagged(&site, calloc(1, bytes), bytes));
    }
}

static LEAKING void consume(void) {
    long long seen = 0;
    for (void* block = take(); block; block = take()) {
        if (++seen % kKeepEvery) {
            truth_free_tagged(block);
        }
    }
}

static void work(int index) {
    if (index >= kProducers) {
        consume();
        return;
    }
    if (index == 0) {
        leak_small();
    } else {
        leak_large();
    }
    stop_producing();
}

int main(int argc, char** argv) {
    static struct crew crew;
    items = truth_option(argc, argv, "--items", 20000);
    setup_crew(&crew, kProducers + kConsumers, work);
    truth_ready(argc, argv);
    crew_run(&crew);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
