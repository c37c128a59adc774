// A process that will not hold still: it maps and unmaps the text of libc and of a shared object, loads and unloads that object,
// and forks children that allocate and exit, all at once and all while it allocates. --seconds S (default 3).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "crew.h"
#include "self.h"

static long long deadline_ns;
static long long maps, loads, forks;
static int libc_fd, plugin_fd;
static const char* plugin;

static long long now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int time_left(void) {
    return now_ns() < deadline_ns;
}

static void map_and_unmap(void) {
    const size_t bytes = 1 << 20;
    for (; time_left(); maps++) {
        void* text = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, maps % 2 ? plugin_fd : libc_fd, 0);
        truth_check(text != MAP_FAILED, "mmap");
        munmap(text, bytes);
    }
}

static struct truth_site plugin_site = {"leak_in_plugin", 0, 0, 0, 0, 0, NULL};

static void load_and_unload(void) {
    for (; time_left(); loads++) {
        void* library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
        truth_check(library != NULL, "dlopen");
        void* (*leak_in_plugin)(size_t) = (void* (*)(size_t))dlsym(library, "leak_in_plugin");
        void* block = truth_alloc(&plugin_site, leak_in_plugin(80), 80);
        if (loads % 2) {
            truth_free(&plugin_site, block, 80);
        }
        dlclose(library);
    }
}

static LEAKING void allocate_in_child(void) {
    for (size_t i = 0; i < 20; i++) {
        truth_escape(malloc(3000 + i));
    }
}

static void fork_and_wait(void) {
    for (; time_left(); forks++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            allocate_in_child();
            _exit(5);
        }
        truth_check(child > 0, "fork");
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        truth_check(WIFEXITED(status) && WEXITSTATUS(status) == 5, "a child died");
    }
}

static LEAKING void leak_meanwhile(void) {
    TRUTH_HERE(site);
    for (size_t i = 0; time_left(); i++) {
        void* block = truth_alloc(&site, malloc(16 + i % 500), 16 + i % 500);
        if (i % 1000) {
            truth_free(&site, block, 16 + i % 500);
        }
    }
}

static void work(int index) {
    static void (*const jobs[])(void) = {map_and_unmap, load_and_unload, fork_and_wait, leak_meanwhile};
    jobs[index]();
}

int main(int argc, char** argv) {
    static struct crew crew;
    long long seconds = truth_option(argc, argv, "--seconds", 3);
    Dl_info libc;
    truth_check(dladdr((void*)(uintptr_t)gnu_get_libc_version, &libc) != 0, "dladdr");
    plugin = self_beside("libleaky.so");
    libc_fd = open(libc.dli_fname, O_RDONLY | O_CLOEXEC);
    plugin_fd = open(plugin, O_RDONLY | O_CLOEXEC);
    truth_check(libc_fd >= 0 && plugin_fd >= 0, "open");
    setup_crew(&crew, 4, work);
    truth_ready(argc, argv);
    deadline_ns = now_ns() + seconds * 1000000000LL;
    crew_run(&crew);
    truth_note("maps", maps);
    truth_note("loads", loads);
    truth_note("forks", forks);
    truth_finish(TRUTH_SITES); // dlopen allocates on its own behalf
}
