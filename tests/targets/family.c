// Every function of libc that hands out memory, each from a function of its own, each leaking some and freeing some.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <wchar.h>

#include "truth.h"

// Counts a block, and frees every third one.
static void settle(struct truth_site* site, int round, void* block, size_t bytes) {
    truth_check(truth_alloc(site, block, bytes) != NULL, site->function);
    if (round % 3 == 2) {
        truth_free(site, block, bytes);
    }
}

static LEAKING void leak_malloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 10; i++) {
        settle(&site, i, malloc(truth_opaque(100)), 100);
    }
    settle(&site, 0, malloc(truth_opaque(0)), 0);
}

static LEAKING void leak_calloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 11; i++) {
        settle(&site, i, calloc(truth_opaque(7), 13), 7 * 13);
    }
}

static LEAKING void leak_realloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 12; i++) {
        void* block = truth_alloc(&site, realloc(NULL, truth_opaque(40)), 40);
        truth_gone(&site, 40);
        settle(&site, i, realloc(block, truth_opaque(4000)), 4000);
    }
}

static LEAKING void leak_reallocarray(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 13; i++) {
        void* block = truth_alloc(&site, reallocarray(NULL, truth_opaque(3), 11), 33);
        truth_gone(&site, 33);
        settle(&site, i, reallocarray(block, truth_opaque(50), 11), 550);
    }
}

static LEAKING void leak_posix_memalign(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 14; i++) {
        void* block = NULL;
        truth_check(posix_memalign(&block, 64, truth_opaque(200)) == 0, "posix_memalign");
        settle(&site, i, block, 200);
    }
}

static LEAKING void leak_aligned_alloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 15; i++) {
        settle(&site, i, aligned_alloc(128, truth_opaque(384)), 384);
    }
}

static LEAKING void leak_memalign(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 16; i++) {
        settle(&site, i, memalign(256, truth_opaque(300)), 300);
    }
}

static LEAKING void leak_valloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 5; i++) {
        settle(&site, i, valloc(truth_opaque(1000)), 1000);
    }
}

// Rounds up to whole pages by itself: what was asked for counts.
static LEAKING void leak_pvalloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 4; i++) {
        settle(&site, i, pvalloc(truth_opaque(5000)), 5000);
    }
}

static LEAKING void leak_strdup(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 17; i++) {
        settle(&site, i, strdup("seventeen characters, and a few more"), sizeof("seventeen characters, and a few more"));
    }
}

static LEAKING void leak_strndup(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 18; i++) {
        settle(&site, i, strndup("only the first twenty of these", truth_opaque(20)), 21);
    }
}

static LEAKING void leak_wcsdup(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 19; i++) {
        settle(&site, i, wcsdup(L"wide"), 5 * sizeof(wchar_t));
    }
}

// getline() says itself how much it asked for.
static LEAKING void leak_getline(FILE* lines) {
    TRUTH_HERE(site);
    for (int i = 0; i < 20; i++) {
        char* line = NULL;
        size_t size = 0;
        truth_check(getline(&line, &size, lines) > 0, "getline");
        settle(&site, i, line, size);
    }
}

// asprintf() may format into a larger buffer first, but what it returns is cut to fit.
static LEAKING void leak_asprintf(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 21; i++) {
        char* text = NULL;
        int length = asprintf(&text, "%0*d", (int)truth_opaque(30 + 20 * (size_t)i), i);
        settle(&site, i, text, (size_t)length + 1);
    }
}

// Lines of 10 to 960 characters: some fit into getline()'s first buffer, most make it reallocate.
static FILE* setup_lines(void) {
    static char buffer[65536];
    char line[1024];
    int fd = memfd_create("lines", 0);
    memset(line, 'x', sizeof(line));
    for (size_t i = 0; i < 20; i++) {
        size_t length = 10 + 50 * i;
        line[length] = '\n';
        truth_check(write(fd, line, length + 1) == (ssize_t)length + 1, "write");
        line[length] = 'x';
    }
    lseek(fd, 0, SEEK_SET);
    FILE* lines = fdopen(fd, "r");
    truth_check(lines != NULL, "fdopen");
    setvbuf(lines, buffer, _IOFBF, sizeof(buffer)); // or the first getline() would allocate one
    return lines;
}

// Here the direct caller of malloc is a function of libc, not the leaking one: the key names ours, the value libc's.
static void say_inner(const char* function, const char* inner) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "note inner_");
    truth_add_text(&line, function);
    truth_add_text(&line, " ");
    truth_add_text(&line, inner);
    truth_write(&line);
}

int main(int argc, char** argv) {
    FILE* lines = setup_lines();
    truth_ready(argc, argv);
    leak_malloc();
    leak_calloc();
    leak_realloc();
    leak_reallocarray();
    leak_posix_memalign();
    leak_aligned_alloc();
    leak_memalign();
    leak_valloc();
    if (!truth_flag(argc, argv, "--no-pvalloc")) { // Valgrind ends a program that calls it
        leak_pvalloc();
    }
    leak_strdup();
    leak_strndup();
    leak_wcsdup();
    leak_getline(lines);
    leak_asprintf();
    say_inner("leak_strdup", "strdup");
    say_inner("leak_strndup", "strndup");
    say_inner("leak_wcsdup", "wcsdup");
    say_inner("leak_getline", "getdelim");
    say_inner("leak_asprintf", "vasprintf");
    truth_finish(TRUTH_LIVE);
}
