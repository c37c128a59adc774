// Memory without an allocator: maps, touches, gives back, moves the heap's end. Bytes are of whole pages; the functions' truth is what
// they keep (leak_*: mapped, or touched where that is all there is).
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/uio.h>

#include "truth.h"

enum { kPage = 4096 };

static int advice = MADV_NOHUGEPAGE; // a page at a time: the truth is to the page

static char* map_anonymous(size_t bytes) {
    char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    truth_check(memory != MAP_FAILED, "mmap");
    truth_check(madvise(memory, bytes, advice) == 0, "madvise");
    return memory;
}

static void touch(char* memory, size_t bytes) {
    for (size_t at = 0; at < bytes; at += kPage) {
        *(volatile char*)(memory + at) = 1;
    }
}

// Mapped and touched here, and kept.
static LEAKING void leak_touched(size_t pages) {
    TRUTH_HERE(site);
    char* memory = truth_alloc(&site, map_anonymous(pages * kPage), pages * kPage);
    touch(memory, pages * kPage);
}

// Mapped, never touched.
static LEAKING void leak_reserved(size_t pages) {
    TRUTH_HERE(site);
    truth_alloc(&site, map_anonymous(pages * kPage), pages * kPage);
}

// Mapped, touched and unmapped again: in whole, from either end, and out of the middle. A quarter of the last one stays.
static LEAKING void leak_quarter(size_t pages, int rounds) {
    TRUTH_HERE(site);
    size_t bytes = pages * kPage, part = bytes / 4;
    for (int i = 0; i < rounds; i++) {
        char* memory = map_anonymous(bytes);
        touch(memory, bytes);
        truth_check(munmap(memory, bytes) == 0, "munmap");
    }
    char* memory = truth_alloc(&site, map_anonymous(bytes), part);
    touch(memory, bytes);
    truth_check(munmap(memory, part) == 0, "munmap: head");
    truth_check(munmap(memory + 3 * part, part) == 0, "munmap: tail");
    truth_check(munmap(memory + part + kPage, part) == 0, "munmap: middle");
}

// mremap: what it makes is the caller's, as with realloc.
static LEAKING char* leak_moved(size_t pages) {
    TRUTH_HERE(site);
    char* memory = map_anonymous(pages * kPage);
    memory = mremap(memory, pages * kPage, 3 * pages * kPage, MREMAP_MAYMOVE);
    truth_check(memory != MAP_FAILED, "mremap");
    return truth_alloc(&site, memory, 3 * pages * kPage);
}

// Up by twice as much as it keeps.
static LEAKING void leak_break(size_t pages) {
    TRUTH_HERE(site);
    char* memory = sbrk((intptr_t)(2 * pages * kPage));
    truth_check(memory != (void*)-1, "sbrk");
    touch(memory, pages * kPage);
    truth_check(sbrk(-(intptr_t)(pages * kPage)) != (void*)-1, "sbrk: back");
    truth_alloc(&site, memory, pages * kPage);
}

// The kernel touches it, for a system call.
static LEAKING void do_read(char* memory, size_t pages) {
    static char from[kPage];
    struct iovec local = {memory, kPage}, remote = {from, kPage};
    for (size_t i = 0; i < pages; i++, local.iov_base = (char*)local.iov_base + kPage) {
        truth_check(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == kPage, "process_vm_readv");
    }
}

// The heap beside it: of blocks that fit into what is touched already.
static LEAKING void leak_malloc(void) {
    TRUTH_HERE(site);
    for (int i = 0; i < 10; i++) {
        truth_alloc(&site, malloc(truth_opaque(40)), 40);
    }
}

int main(int argc, char** argv) {
    long long pages = truth_option(argc, argv, "--pages", 1000);
    long long rounds = truth_option(argc, argv, "--rounds", 3);
    if (truth_option(argc, argv, "--huge", 0)) {
        advice = MADV_HUGEPAGE;
    }
    memset(truth_escape(malloc(4000)), 1, 4000); // libc sets its heap up
    char* setup = map_anonymous((size_t)pages * kPage);
    touch(setup, kPage); // one page, so that what is there when tracing begins is not nothing
    truth_ready(argc, argv);
    leak_touched((size_t)pages);
    leak_reserved((size_t)pages);
    leak_quarter((size_t)pages, (int)rounds);
    touch(leak_moved((size_t)pages), kPage);
    leak_break((size_t)pages);
    do_read(setup + kPage, (size_t)pages - 1);
    leak_malloc();
    truth_note("page_bytes", kPage);
    truth_note("touched_pages", pages + pages * (rounds + 1) + 1 + pages + (pages - 1));
    truth_note("returned_pages", pages * rounds + pages / 4 * 3);
    truth_finish(TRUTH_SITES);
}
