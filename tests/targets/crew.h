/*
 * Threads that exist before "go" and never end. pthread_create() and the end of a thread both allocate and free inside libc;
 * a crew keeps that out of the traced phase.
 *
 *   struct crew crew;
 *   setup_crew(&crew, 8, work);    // before truth_ready(); work(index) runs once, in each thread
 *   crew_run(&crew);               // after it; returns when every thread has done its work
 */
#ifndef MEMTRACE_TESTS_CREW_H
#define MEMTRACE_TESTS_CREW_H

#include <pthread.h>

#include "truth.h"

struct crew {
    pthread_barrier_t start;
    pthread_barrier_t end;
    void (*work)(int);
    int next_index;
};

static inline void* crew_thread(void* argument) {
    struct crew* crew = (struct crew*)argument;
    int index = __atomic_fetch_add(&crew->next_index, 1, __ATOMIC_RELAXED);
    pthread_barrier_wait(&crew->start);
    crew->work(index);
    pthread_barrier_wait(&crew->end);
    for (;;) {
        pause();
    }
    return NULL;
}

static inline void setup_crew(struct crew* crew, int threads, void (*work)(int)) {
    crew->work = work;
    crew->next_index = 0;
    pthread_barrier_init(&crew->start, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&crew->end, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        truth_check(pthread_create(&thread, NULL, crew_thread, crew) == 0, "pthread_create");
    }
}

static inline void crew_start(struct crew* crew) {
    pthread_barrier_wait(&crew->start);
}

static inline void crew_wait(struct crew* crew) {
    pthread_barrier_wait(&crew->end);
}

static inline void crew_run(struct crew* crew) {
    crew_start(crew);
    crew_wait(crew);
}

#endif
