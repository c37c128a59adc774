/* Where the running program lies, and what lies beside it. Neither function allocates; neither is thread-safe. */
#ifndef MEMTRACE_TESTS_SELF_H
#define MEMTRACE_TESTS_SELF_H

#include <limits.h>

#include "truth.h"

enum { kSelfNameMax = 63 }; /* longest file name that self_beside() takes */

/* The executable's path. Resolved, because a program run by another one (an emulator, Valgrind) cannot exec /proc/self/exe. */
static inline char* self_path(void) {
    static char path[PATH_MAX + kSelfNameMax + 1];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    truth_check(length > 0, "readlink");
    path[length] = 0;
    return path;
}

/* The path of `name` in the executable's folder. Overwrites what self_path() returned. */
static inline char* self_beside(const char* name) {
    char* path = self_path();
    char* slash = strrchr(path, '/');
    truth_check(slash && strlen(name) <= kSelfNameMax, "self_beside");
    strcpy(slash + 1, name);
    return path;
}

#endif
