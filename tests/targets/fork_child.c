// Children of every kind: forked ones that allocate and free what they inherited, a vforked and a spawned one that exec at once.
// Nothing that a child does changes what the parent holds.
#define _GNU_SOURCE
#include <spawn.h>
#include <sys/wait.h>

#include "self.h"
#include "truth.h"

enum { kInherited = 50, kRounds = 10 };

static void* inherited[kInherited];

static LEAKING void leak_before_fork(void) {
    TRUTH_HERE(site);
    for (size_t i = 0; i < kInherited; i++) {
        inherited[i] = truth_alloc(&site, malloc(100 + i), 100 + i);
    }
}

static LEAKING void leak_after_fork(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(512)), 512);
}

static LEAKING void allocate_in_child(void) {
    for (size_t i = 0; i < 200; i++) {
        truth_escape(malloc(1000 + i));
    }
}

__attribute__((noreturn)) static void run_child(void) {
    for (int i = 0; i < kInherited; i++) {
        free(inherited[i]); // in its own copy of the heap
    }
    allocate_in_child();
    _exit(7);
}

static int status_of(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void fork_one(void) {
    pid_t child = fork();
    if (child == 0) {
        run_child();
    }
    truth_check(child > 0 && status_of(child) == 7, "the forked child");
}

static void vfork_one(void) {
    const char* path = self_path();
    pid_t child = vfork();
    if (child == 0) {
        execl(path, "fork_child", "--child", (char*)NULL);
        _exit(8);
    }
    truth_check(child > 0 && status_of(child) == 6, "the vforked child");
}

static void spawn_one(void) {
    static char name[] = "fork_child", option[] = "--child";
    char* const arguments[] = {name, option, NULL};
    char* const environment[] = {NULL};
    pid_t child = 0;
    truth_check(posix_spawn(&child, self_path(), NULL, NULL, arguments, environment) == 0, "posix_spawn");
    truth_check(status_of(child) == 6, "the spawned child");
}

int main(int argc, char** argv) {
    if (truth_flag(argc, argv, "--child")) {
        allocate_in_child();
        _exit(6);
    }
    truth_ready(argc, argv);
    leak_before_fork();
    for (int i = 0; i < kRounds; i++) {
        fork_one();
        leak_after_fork();
        vfork_one();
        leak_after_fork();
        spawn_one();
        leak_after_fork();
    }
    truth_note("children", 3 * kRounds);
    truth_finish(TRUTH_LIVE);
}
