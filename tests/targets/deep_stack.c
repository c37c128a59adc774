// A leak 200 frames down (--depth N): deeper than a tracer records. With --tier 1 it is of a mapping (whose truth is not told), with --tier 2
// of a resource that the program tells of.
#define _GNU_SOURCE
#include <sys/mman.h>

#include "memtrace/probes.h"
#include "truth.h"

enum { kMalloc, kMapping, kResource };
static long long tier;

static LEAKING void leak_deep(void) {
    static uint64_t resources;
    TRUTH_HERE(site);
    if (tier == kMapping) {
        truth_check(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
    } else if (tier == kResource) {
        memtrace_resource_acquire("deep", ++resources, 0, 1, NULL);
    } else {
        truth_alloc(&site, malloc(truth_opaque(123)), 123);
    }
}

static LEAKING void recurse(long long depth) {
    if (depth > 0) {
        recurse(depth - 1);
    } else {
        leak_deep();
    }
    __asm__ volatile(""); // work after the call: it is no tail call
}

static LEAKING void leak_shallow(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(45)), 45);
}

int main(int argc, char** argv) {
    long long depth = truth_option(argc, argv, "--depth", 200);
    tier = truth_option(argc, argv, "--tier", kMalloc);
    truth_ready(argc, argv);
    for (int i = 0; i < 10; i++) {
        recurse(depth);
        recurse(depth / 2);
        leak_shallow();
    }
    truth_note("depth", depth);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
