// malloc/free pairs as fast as they go, for measuring what tracing costs: --threads N, --seconds S (default 2), --size N.
#include <time.h>

#include "crew.h"

enum { kBatch = 256 }; // pairs between two looks at the clock

static size_t size;
static long long seconds;
static long long pairs, spent_ns; // summed over the threads

static long long now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static LEAKING void spin_batch(void) {
    for (int i = 0; i < kBatch; i++) {
        free(truth_escape(malloc(size)));
    }
}

static void spin(int index) {
    (void)index;
    long long start = now_ns(), now = start, done = 0;
    do {
        spin_batch();
        done += kBatch;
        now = now_ns();
    } while (now - start < seconds * 1000000000LL);
    __atomic_add_fetch(&pairs, done, __ATOMIC_RELAXED);
    __atomic_add_fetch(&spent_ns, now - start, __ATOMIC_RELAXED);
}

// Tenths are enough: a pair takes 20 ns untraced.
static void say_ns_per_pair(long long tenths) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "ns_per_pair ");
    truth_add_number(&line, tenths / 10);
    truth_add_text(&line, ".");
    truth_add_number(&line, tenths % 10);
    truth_write(&line);
}

int main(int argc, char** argv) {
    static struct crew crew;
    int threads = (int)truth_option(argc, argv, "--threads", 1);
    seconds = truth_option(argc, argv, "--seconds", 2);
    size = (size_t)truth_option(argc, argv, "--size", 64);
    setup_crew(&crew, threads, spin);
    truth_ready(argc, argv);
    crew_run(&crew);
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "pairs ");
    truth_add_number(&line, pairs);
    truth_write(&line);
    say_ns_per_pair(spent_ns * 10 / pairs); // time of one thread per pair of its own
    truth_note("allocs", pairs);
    truth_note("frees", pairs);
    truth_finish(TRUTH_LIVE);
}
