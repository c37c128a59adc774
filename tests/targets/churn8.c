// Eight threads allocate, resize and free at random (--ops N in all, --seed N), and hand blocks to each other, so that the same
// addresses come and go on every thread. What each leaves behind is counted under its own function.
#include "crew.h"

enum { kThreads = 8, kSlots = 128, kExchange = 64, kKept = 40 };

static long long ops_each;
static unsigned long long seed;
static void* exchange[kExchange];

// xorshift64*: every thread has its own sequence, the same in every run with the same seed.
static unsigned long long next_random(unsigned long long* state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ULL;
}

// Mostly a few small sizes, for the sake of reuse; sometimes a large one.
static size_t pick_size(unsigned long long random) {
    return random % 64 ? 16 + 16 * (random >> 8 & 3) + (random >> 16 & 7) : 1024 + (random >> 8) % 16384;
}

// Swaps the block with one that another thread left.
static void* trade(unsigned long long random, void* block) {
    return __atomic_exchange_n(&exchange[random % kExchange], block, __ATOMIC_ACQ_REL);
}

static void drop(void** slot) {
    if (*slot) {
        truth_free_tagged(*slot);
        *slot = NULL;
    }
}

// One function per thread. The allocator is called right in it: it is frame 0 of everything it leaks.
#define CHURN(name)                                                                                                              \
    static LEAKING void name(int index) {                                                                                        \
        TRUTH_HERE(site);                                                                                                        \
        unsigned long long state = (seed + 1) * 0x9E3779B97F4A7C15ULL + (unsigned)index;                                         \
        void* slots[kSlots] = {NULL};                                                                                            \
        for (long long op = 0; op < ops_each; op++) {                                                                            \
            unsigned long long random = next_random(&state);                                                                     \
            void** slot = &slots[(random >> 40) % kSlots];                                                                       \
            size_t bytes = pick_size(random);                                                                                    \
            if (*slot && random >> 60 < 3) {                                                                                     \
                struct truth_tag old = truth_tag_of(*slot);                                                                      \
                *slot = truth_realloc_tagged(&site, old, realloc(*slot, bytes), bytes);                                          \
            } else if (*slot && random >> 60 < 6) {                                                                              \
                *slot = trade(random >> 32, *slot);                                                                              \
            } else if (*slot) {                                                                                                  \
                drop(slot);                                                                                                      \
            } else if (random >> 60 < 4) {                                                                                       \
                *slot = truth_alloc_tagged(&site, calloc(1, bytes), bytes);                                                      \
            } else {                                                                                                             \
                *slot = truth_alloc_tagged(&site, malloc(bytes), bytes);                                                         \
            }                                                                                                                    \
        }                                                                                                                        \
        for (int i = kKept; i < kSlots; i++) {                                                                                   \
            drop(&slots[i]);                                                                                                     \
        }                                                                                                                        \
        for (int i = 0; i < 3; i++) { /* and some that never were anyone else's */                                               \
            truth_alloc_tagged(&site, malloc(truth_opaque(100 + (size_t)index)), 100 + (size_t)index);                           \
        }                                                                                                                        \
    }

CHURN(leak_churn_0)
CHURN(leak_churn_1)
CHURN(leak_churn_2)
CHURN(leak_churn_3)
CHURN(leak_churn_4)
CHURN(leak_churn_5)
CHURN(leak_churn_6)
CHURN(leak_churn_7)

static void work(int index) {
    static void (*const churns[kThreads])(int) = {leak_churn_0, leak_churn_1, leak_churn_2, leak_churn_3,
                                                  leak_churn_4, leak_churn_5, leak_churn_6, leak_churn_7};
    churns[index](index);
}

int main(int argc, char** argv) {
    static struct crew crew;
    long long ops = truth_option(argc, argv, "--ops", 400000);
    seed = (unsigned long long)truth_option(argc, argv, "--seed", 1);
    ops_each = ops / kThreads;
    setup_crew(&crew, kThreads, work);
    truth_ready(argc, argv);
    crew_run(&crew);
    truth_note("ops", ops_each * kThreads);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
