// Becomes another program under the same pid: what the first one leaked is gone with its address space. The truth is of the second.
#include "self.h"
#include "truth.h"

static LEAKING void leak_before_exec(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 20; i++) {
        truth_alloc(&site, malloc(truth_opaque(1000)), 1000);
    }
}

static LEAKING void leak_after_exec(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 30; i++) {
        truth_alloc(&site, malloc(truth_opaque(300)), 300);
    }
}

int main(int argc, char** argv) {
    static char name[] = "exec_self", second[] = "--second", wait_option[] = "--wait";
    if (!truth_flag(argc, argv, "--second")) {
        truth_ready(argc, argv);
        leak_before_exec();
        char* const arguments[] = {name, second, truth_waits ? wait_option : NULL, NULL};
        execv(self_path(), arguments);
        truth_broken("execv");
    }
    truth_waits = truth_flag(argc, argv, "--wait"); // at the end only: it is under way already
    leak_after_exec();
    truth_note("pid", getpid());
    truth_finish(TRUTH_SITES); // the dynamic loader allocates at start
}
