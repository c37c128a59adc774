/*
 * What a traced program knows about itself, and how it says it. The protocol is in the README.md of this folder.
 *
 * C and C++. No stdio and no allocation in here: either would put blocks into the heap that the truth does not know of.
 * Counting is atomic, so any thread may count for any site. Sizes are bytes as requested from the allocator.
 *
 * A leaking function is marked LEAKING (its name must stay in the stack), opens with TRUTH_HERE(site), and passes each pointer
 * that it got from the allocator through truth_alloc(). Functions named setup_* allocate before "go" and have no truth.
 */
#ifndef MEMTRACE_TESTS_TRUTH_H
#define MEMTRACE_TESTS_TRUTH_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* noipa: neither inlined, cloned (malloc.constprop.0 is another name) nor merged with its twin. */
#if defined(__has_attribute) && __has_attribute(noipa)
#define LEAKING __attribute__((noipa))
#else
#define LEAKING __attribute__((noinline))
#endif

/* A function that allocates. Balances that return to zero are not printed. */
struct truth_site {
    const char* function;
    long long bytes;
    long long count;
    long long allocs;
    long long frees;
    int listed;
    struct truth_site* next;
};

/* Declares the calling function's own site. */
#define TRUTH_HERE(site) static struct truth_site site = {__func__, 0, 0, 0, 0, 0, NULL}

/* What truth_finish() may promise beyond the leaking functions. */
enum {
    TRUTH_SITES = 0, /* libc allocates on its own behalf as well: only the functions are known */
    TRUTH_LIVE = 1,  /* nothing else has allocated and kept since "go": the total is known */
    TRUTH_CALLS = 2, /* nothing else has called the allocator at all since "go": the number of calls is known */
};

static struct truth_site* truth_sites;
static int truth_waits;

/* One line of output, written by a single write(2). */
struct truth_line {
    char text[256];
    size_t length;
};

static inline void truth_add_text(struct truth_line* line, const char* text) {
    while (*text && line->length < sizeof(line->text) - 1) {
        line->text[line->length++] = *text++;
    }
}

static inline void truth_add_number(struct truth_line* line, long long value) {
    char digits[24];
    size_t at = sizeof(digits) - 1;
    unsigned long long rest = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) {
        digits[--at] = '-';
    }
    truth_add_text(line, digits + at);
}

static inline void truth_write(struct truth_line* line) {
    line->text[line->length++] = '\n';
    const char* from = line->text;
    while (line->length) {
        ssize_t written = write(STDOUT_FILENO, from, line->length);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            _exit(3); /* nobody reads any more */
        }
        from += written;
        line->length -= (size_t)written;
    }
}

static inline void truth_say(const char* text) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, text);
    truth_write(&line);
}

static inline void truth_note(const char* key, long long value) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "note ");
    truth_add_text(&line, key);
    truth_add_text(&line, " ");
    truth_add_number(&line, value);
    truth_write(&line);
}

/* The pattern did not take place as meant: the truth would be a lie. */
__attribute__((noreturn)) static inline void truth_broken(const char* what) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "broken ");
    truth_add_text(&line, what);
    truth_write(&line);
    _exit(4);
}

static inline void truth_check(int holds, const char* what) {
    if (!holds) {
        truth_broken(what);
    }
}

/* The compiler must assume that the block is used: it drops malloc/free pairs otherwise. */
static inline void* truth_escape(void* block) {
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

/* A value that the compiler cannot foresee: keeps it from folding, or warning of, sizes that are odd on purpose. */
static inline size_t truth_opaque(size_t value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

static inline void truth_list(struct truth_site* site) {
    if (__atomic_exchange_n(&site->listed, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    site->next = __atomic_load_n(&truth_sites, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&truth_sites, &site->next, site, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
}

/* The allocator gave out `block` to this site. NULL is no allocation. Returns the block. */
static inline void* truth_alloc(struct truth_site* site, void* block, size_t bytes) {
    if (!block) {
        return NULL;
    }
    truth_list(site);
    __atomic_add_fetch(&site->bytes, (long long)bytes, __ATOMIC_RELAXED);
    __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&site->allocs, 1, __ATOMIC_RELAXED);
    return truth_escape(block);
}

/* A block of this site is freed, or has been taken over by a realloc. Does not call free(). */
static inline void truth_gone(struct truth_site* site, size_t bytes) {
    __atomic_sub_fetch(&site->bytes, (long long)bytes, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&site->count, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&site->frees, 1, __ATOMIC_RELAXED);
}

static inline void truth_free(struct truth_site* site, void* block, size_t bytes) {
    truth_gone(site, bytes);
    free(block);
}

/* A block that carries its origin in its first 16 bytes, so that whoever frees it can say whose it was. */
struct truth_tag {
    struct truth_site* site;
    size_t bytes;
};

static inline void* truth_alloc_tagged(struct truth_site* site, void* block, size_t bytes) {
    if (truth_alloc(site, block, bytes)) {
        struct truth_tag tag = {site, bytes};
        memcpy(block, &tag, sizeof(tag));
    }
    return block;
}

static inline struct truth_tag truth_tag_of(const void* block) {
    struct truth_tag tag;
    memcpy(&tag, block, sizeof(tag));
    return tag;
}

static inline void truth_free_tagged(void* block) {
    struct truth_tag tag = truth_tag_of(block);
    truth_free(tag.site, block, tag.bytes);
}

/* `resized` is what realloc made of a block with that tag, in this site. NULL: it failed, and the old one is still there. */
static inline void* truth_realloc_tagged(struct truth_site* site, struct truth_tag old, void* resized, size_t bytes) {
    if (!resized) {
        return NULL;
    }
    truth_gone(old.site, old.bytes);
    return truth_alloc_tagged(site, resized, bytes);
}

/* Reads up to and with the next newline; keeps what fits. Returns 0 at the end of the input. */
static inline int truth_read_line(char* text, size_t size) {
    size_t length = 0;
    for (;;) {
        char c;
        ssize_t got = read(STDIN_FILENO, &c, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || c == '\n') {
            text[length] = 0;
            return got > 0;
        }
        if (length + 1 < size) {
            text[length++] = c;
        }
    }
}

static inline int truth_flag(int argc, char** argv, const char* name) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name)) {
            return 1;
        }
    }
    return 0;
}

/* The number behind the option `name`, or the default. */
static inline long long truth_option(int argc, char** argv, const char* name, long long otherwise) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name)) {
            continue;
        }
        long long value = 0;
        const char* digit = argv[i + 1];
        truth_check(*digit != 0, "an option without a number");
        for (; *digit; digit++) {
            truth_check(*digit >= '0' && *digit <= '9', "an option that is not a number");
            value = value * 10 + (*digit - '0');
        }
        return value;
    }
    return otherwise;
}

/* Everything is set up: says so, and waits for "go" where --wait asks for it. */
static inline void truth_ready(int argc, char** argv) {
    struct truth_line line = {{0}, 0};
    char text[64];
    truth_waits = truth_flag(argc, argv, "--wait");
    truth_add_text(&line, "ready ");
    truth_add_number(&line, getpid());
    truth_write(&line);
    if (truth_waits) {
        truth_read_line(text, sizeof(text));
    }
}

/* Prints the truth: one line per function that leaks, then what `promises` (TRUTH_*) allows to be said of the whole. */
static inline void truth_print(int promises) {
    long long bytes = 0, count = 0, allocs = 0, frees = 0;
    for (struct truth_site* site = __atomic_load_n(&truth_sites, __ATOMIC_ACQUIRE); site; site = site->next) {
        bytes += site->bytes;
        count += site->count;
        allocs += site->allocs;
        frees += site->frees;
        if (!site->count) {
            truth_check(site->bytes == 0, "bytes without blocks");
            continue;
        }
        struct truth_line line = {{0}, 0};
        truth_add_text(&line, "leak ");
        truth_add_text(&line, site->function);
        truth_add_text(&line, " ");
        truth_add_number(&line, site->bytes);
        truth_add_text(&line, " ");
        truth_add_number(&line, site->count);
        truth_write(&line);
    }
    if (promises & TRUTH_CALLS) {
        truth_note("allocs", allocs);
        truth_note("frees", frees);
    }
    if (promises & TRUTH_LIVE) {
        struct truth_line line = {{0}, 0};
        truth_add_text(&line, "live ");
        truth_add_number(&line, bytes);
        truth_add_text(&line, " ");
        truth_add_number(&line, count);
        truth_write(&line);
    }
    truth_say("done");
}

/* Prints the truth, stays until it may go where --wait asks for it, and leaves without running any destructor. */
__attribute__((noreturn)) static inline void truth_finish(int promises) {
    char text[64];
    truth_print(promises);
    if (truth_waits) {
        truth_read_line(text, sizeof(text));
    }
    _exit(0);
}

#endif
