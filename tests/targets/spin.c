// malloc/free pairs as fast as they go, for measuring what tracing costs: --threads N, --seconds S (default 2), --size N.
// --hold: the seconds begin when a line is read, so that a tracer can be attached to, and settle in, a program that is busy.
// --late: before that, on another line, a library that is an allocator itself is loaded (`note loaded 1`); then it gives `note late N` blocks.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

#include "crew.h"
#include "self.h"

enum { kBatch = 256 }; // pairs between two looks at the clock

static size_t size;
static long long seconds;
static int held;
static long long pairs, spent_ns, cpu_ns; // measured, summed over the threads
static long long held_pairs;              // before that

static long long clock_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static LEAKING void spin_batch(void) {
    for (int i = 0; i < kBatch; i++) {
        free(truth_escape(malloc(size)));
    }
}

static void spin(int index) {
    (void)index;
    long long before = 0, done = 0;
    while (__atomic_load_n(&held, __ATOMIC_RELAXED)) {
        spin_batch();
        before += kBatch;
    }
    long long start = clock_ns(CLOCK_MONOTONIC), now = start, cpu_start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    do {
        spin_batch();
        done += kBatch;
        now = clock_ns(CLOCK_MONOTONIC);
    } while (now - start < seconds * 1000000000LL);
    __atomic_add_fetch(&held_pairs, before, __ATOMIC_RELAXED);
    __atomic_add_fetch(&pairs, done, __ATOMIC_RELAXED);
    __atomic_add_fetch(&spent_ns, now - start, __ATOMIC_RELAXED);
    __atomic_add_fetch(&cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start, __ATOMIC_RELAXED);
}

// Tenths are enough: a pair takes 20 ns untraced.
static void say_tenths(const char* key, long long tenths) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, key);
    truth_add_number(&line, tenths / 10);
    truth_add_text(&line, ".");
    truth_add_number(&line, tenths % 10);
    truth_write(&line);
}

static void use_late_allocator(void) {
    enum { kBlocks = 40 };
    char text[64];
    void* library = dlopen(self_beside("liballocator.so"), RTLD_NOW | RTLD_LOCAL);
    truth_check(library != NULL, "dlopen");
    void* (*late_malloc)(size_t) = (void* (*)(size_t))dlsym(library, "malloc");
    truth_check(late_malloc != NULL, "malloc");
    truth_note("loaded", 1);
    truth_read_line(text, sizeof(text));
    for (int i = 0; i < kBlocks; i++) {
        truth_escape(late_malloc(size));
    }
    truth_note("late", kBlocks);
}

int main(int argc, char** argv) {
    static struct crew crew;
    int threads = (int)truth_option(argc, argv, "--threads", 1);
    seconds = truth_option(argc, argv, "--seconds", 2);
    size = (size_t)truth_option(argc, argv, "--size", 64);
    held = truth_flag(argc, argv, "--hold");
    setup_crew(&crew, threads, spin);
    truth_ready(argc, argv);
    crew_start(&crew);
    if (held) {
        char text[64];
        truth_read_line(text, sizeof(text));
        if (truth_flag(argc, argv, "--late")) {
            use_late_allocator();
        }
        __atomic_store_n(&held, 0, __ATOMIC_RELAXED);
    }
    crew_wait(&crew);
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "pairs ");
    truth_add_number(&line, pairs);
    truth_write(&line);
    say_tenths("ns_per_pair ", spent_ns * 10 / pairs); // time of one thread per pair of its own
    say_tenths("cpu_ns_per_pair ", cpu_ns * 10 / pairs);
    truth_note("allocs", held_pairs + pairs);
    truth_note("frees", held_pairs + pairs);
    truth_finish(TRUTH_LIVE);
}
