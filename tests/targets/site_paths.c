// Many call sites: each is another path of --depth left and right turns through two functions that call each other. --sites N (default
// 50,000) of them hold --blocks N (1,000,000) in all from "go" on. Then, until a line is read, --rate N (2,000) blocks a second are freed
// and allocated anew, site by site; --grow N: the first N sites are given a block more each time round.
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "truth.h"

enum { kMostBlocks = 2000000, kSlice_ms = 10 };

static void* blocks[kMostBlocks];
static long long sites, held, rate, grow, depth;

static LEAKING void* turn_left(unsigned long path, long long left, size_t size);

static LEAKING void* turn_right(unsigned long path, long long left, size_t size) {
    void* block = left == 0  ? malloc(size)
                  : path & 1 ? turn_right(path >> 1, left - 1, size)
                             : turn_left(path >> 1, left - 1, size);
    __asm__ volatile("" : "+r"(block)); // no call is the last thing done
    return block;
}

static LEAKING void* turn_left(unsigned long path, long long left, size_t size) {
    void* block = left == 0  ? malloc(size)
                  : path & 1 ? turn_right(path >> 1, left - 1, size)
                             : turn_left(path >> 1, left - 1, size);
    __asm__ volatile("" : "+r"(block));
    return block;
}

static void* take(long long site) {
    void* block = turn_left((unsigned long)site, depth, (size_t)(32 + site % 7 * 16));
    *(volatile char*)block = 1;
    return block;
}

static int line_waits(int ms) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, ms) > 0;
}

int main(int argc, char** argv) {
    sites = truth_option(argc, argv, "--sites", 50000);
    held = truth_option(argc, argv, "--blocks", 1000000);
    rate = truth_option(argc, argv, "--rate", 2000);
    grow = truth_option(argc, argv, "--grow", 0);
    depth = truth_option(argc, argv, "--depth", 16);
    const long long slice = rate * kSlice_ms / 1000 > 0 ? rate * kSlice_ms / 1000 : 1;
    if (held < 1 || held > kMostBlocks || sites < 1 || sites > 1LL << depth) {
        return 2;
    }
    truth_ready(argc, argv);
    long long done = 0, grown = 0;
    for (; done < held || !line_waits(done % slice == 0 ? kSlice_ms : 0);
         ++done) {                                                    // one place that calls: one site for each path
        const long long at = done < held ? done : done * 7919 % held; // a prime: all of them, in an order of its own
        const int more = done >= held && at % sites < grow;
        free(blocks[at]);
        for (int i = 0; i <= more; ++i) {
            blocks[at] = take(at % sites);
        }
        grown += more;
    }
    truth_note("replaced", done - held);
    truth_note("grown", grown);
    truth_finish(TRUTH_SITES);
}
