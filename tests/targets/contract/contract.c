/* Fires every probe of the contract, as a C program and, compiled as one, a C++ program.
 * Speaks the protocol of the folder above. */
#include "memtrace/probes.h"

#include "truth.h"

enum { kRounds = 3 };

struct connection {
    struct connection* peer;
    long count;
};

static struct connection first;
static struct connection second;

static void announce(void* context) {
    struct connection* const alive = (struct connection*)context;
    memtrace_object_alive(alive, sizeof *alive, "connection", 1, 0);
    memtrace_resource_alive("cursor", 7, 3, 4096, "SELECT 1", 2000, 1000);
}

static void tell_all(uint64_t round) {
    memtrace_object_create(&first, sizeof first, "connection");
    memtrace_ref_acquire(&first, &second.peer, 1, 1);
    memtrace_ref_move(&first, &second.peer, &first.peer, 1);
    memtrace_ref_release(&first, &first.peer, 1, 0);
    memtrace_storage_acquire(&second, sizeof second, &first.peer);
    memtrace_storage_move(&first.peer, &first.count);
    memtrace_storage_release(&second);
    memtrace_object_destroy(&first);
    memtrace_resource_acquire("cursor", round, 3, 4096, "SELECT 1");
    memtrace_resource_touch("cursor", round);
    memtrace_resource_release("cursor", round);
    memtrace_pool_limit(&second, "workers", 0, 4);
    memtrace_pool_get(&second, "workers", 1, 4);
    memtrace_pool_wait(&second, "workers", 4, 4);
    memtrace_pool_put(&second, "workers", 0, 4);
    memtrace_otel_alloc(&first, sizeof first, 512 * 1024);
    memtrace_otel_free(&first);
    if (memtrace_emergency_level()) {
        memtrace_cleanup_start(memtrace_emergency_level(), 1 << 20);
        memtrace_cleanup_end(memtrace_emergency_level(), 1 << 19, 2);
    }
}

static struct memtrace_announcer announcer = {announce, &second, NULL};

int main(int argc, char** argv) {
    memtrace_add_announcer(&announcer);
    truth_ready(argc, argv);
    for (uint64_t round = 1; round <= kRounds; round++) {
        tell_all(round);
    }
    truth_note("rounds", kRounds);
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
