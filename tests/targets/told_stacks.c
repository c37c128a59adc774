// Tells of a resource that is used, from --stacks N places that differ in their stacks, in rounds: one at "go" and one more for each line "more"
// or "again". Each round has stacks of its own, but for those of "again", which are those of the first. `note told N` after each; ends at the end
// of its input.
#include "memtrace/probes.h"

#include "ways.h"

enum { kBits = 20 };

static LEAKING void at_the_end(void) {
    memtrace_resource_touch("cursor", 1);
}

int main(int argc, char** argv) {
    const unsigned stacks = (unsigned)truth_option(argc, argv, "--stacks", 9000);
    unsigned told = 0, way = 0;
    char text[64];
    truth_ready(argc, argv);
    memtrace_resource_acquire("cursor", 1, 0, 0, "");
    do {
        for (unsigned i = 0; i < stacks; i++) {
            go_by(way + i, kBits);
        }
        told += stacks;
        truth_note("told", told);
        if (!truth_read_line(text, sizeof(text))) {
            break;
        }
        way = strcmp(text, "again") == 0 ? 0 : told;
    } while (strcmp(text, "more") == 0 || strcmp(text, "again") == 0);
    truth_finish(TRUTH_SITES);
}
