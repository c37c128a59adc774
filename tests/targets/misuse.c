/*
 * Does with objects, references and a resource what is wrong, each thing once and in a function of its own, and tells of it by the probes of
 * include/memtrace/probes.h. No memory is at stake: the objects are static.
 */
#include "memtrace/probes.h"
#include "truth.h"

struct object {
    char bytes[64];
};
static struct object objects[8];
static void* handles[16];

static void begin(struct object* object, const char* type, void** handle) {
    memtrace_object_create(object, sizeof(*object), type);
    memtrace_ref_acquire(object, handle, 1, 1);
}

static void end(struct object* object, void** handle) {
    memtrace_ref_release(object, handle, 1, 0);
    memtrace_object_destroy(object);
}

LEAKING static void bug_count_drift(void) { /* its own count skips one */
    begin(&objects[0], "Drift", &handles[0]);
    memtrace_ref_acquire(&objects[0], &handles[1], 1, 3);
}

LEAKING static void bug_below_zero(void) {
    begin(&objects[1], "Below", &handles[2]);
    memtrace_ref_release(&objects[1], &handles[2], 1, (uint64_t)-1);
}

LEAKING static void bug_use_after_destroy(void) {
    begin(&objects[2], "Used", &handles[3]);
    end(&objects[2], &handles[3]);
    memtrace_ref_acquire(&objects[2], &handles[4], 1, 1);
}

LEAKING static void bug_destroyed_while_held(void) {
    begin(&objects[3], "Held", &handles[5]);
    memtrace_object_destroy(&objects[3]);
}

LEAKING static void bug_release_after_destroy(void) {
    begin(&objects[4], "Late", &handles[6]);
    end(&objects[4], &handles[6]);
    memtrace_ref_release(&objects[4], &handles[7], 1, 0);
}

LEAKING static void bug_release_without_acquire(void) {
    begin(&objects[5], "Unasked", &handles[8]);
    memtrace_ref_release(&objects[5], &handles[9], 1, 0);
}

LEAKING static void bug_never_destroyed(void) {
    begin(&objects[6], "Forgotten", &handles[10]);
    memtrace_ref_release(&objects[6], &handles[10], 1, 0);
}

LEAKING static void bug_use_after_release(void) {
    memtrace_resource_acquire("cursor", 1, 0, 64, "select 1");
    memtrace_resource_release("cursor", 1);
    memtrace_resource_touch("cursor", 1);
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    bug_count_drift();
    bug_below_zero();
    bug_use_after_destroy();
    bug_destroyed_while_held();
    bug_release_after_destroy();
    bug_release_without_acquire();
    bug_never_destroyed();
    bug_use_after_release();
    truth_finish(TRUTH_SITES);
}
