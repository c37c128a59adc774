/*
 * A small allocator, for programs and libraries that have their own: powers of two, a free list each, cut from one mapping that
 * only grows. Thread-safe by one spin lock; what is freed is reused for the same size class, last in first out.
 */
#ifndef MEMTRACE_TESTS_ARENA_H
#define MEMTRACE_TESTS_ARENA_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { kArenaClasses = 28 }; /* the largest block, header included, is 2^27 bytes */
static const size_t kArenaBytes = (size_t)1 << 30;

/* Lies right below the block; `start` is where the chunk begins, further down where the block is aligned. */
struct arena_header {
    void* start;
    uint32_t size_class;
    uint32_t usable;
};

static struct {
    char lock;
    char* next;
    char* end;
    void* free_lists[kArenaClasses];
} arena;

static inline void arena_lock(void) {
    while (__atomic_test_and_set(&arena.lock, __ATOMIC_ACQUIRE)) {
    }
}

static inline void arena_unlock(void) {
    __atomic_clear(&arena.lock, __ATOMIC_RELEASE);
}

/* A chunk of 2^size_class bytes. NULL when there is no room. */
static inline char* arena_chunk(uint32_t size_class) {
    char* chunk = NULL;
    arena_lock();
    if (!arena.next) {
        void* mapped = mmap(NULL, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped != MAP_FAILED) {
            arena.next = (char*)mapped;
            arena.end = arena.next + kArenaBytes;
        }
    }
    if (arena.free_lists[size_class]) {
        chunk = (char*)arena.free_lists[size_class];
        memcpy(&arena.free_lists[size_class], chunk, sizeof(void*));
    } else if (arena.end - arena.next >= (ptrdiff_t)1 << size_class) {
        chunk = arena.next;
        arena.next += (ptrdiff_t)1 << size_class;
    }
    arena_unlock();
    return chunk;
}

/* `align` is a power of two. NULL and ENOMEM when there is no room. */
static inline void* arena_allocate(size_t bytes, size_t align) {
    const size_t largest = (size_t)1 << (kArenaClasses - 1);
    if (align < 16) {
        align = 16;
    }
    if (bytes > largest || align > largest || bytes + align + sizeof(struct arena_header) > largest) {
        errno = ENOMEM;
        return NULL;
    }
    size_t room = bytes + align + sizeof(struct arena_header);
    uint32_t size_class = 5;
    while ((size_t)1 << size_class < room) {
        size_class++;
    }
    char* chunk = arena_chunk(size_class);
    if (!chunk) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t first = (uintptr_t)chunk + sizeof(struct arena_header);
    char* block = chunk + (((first + align - 1) & ~(align - 1)) - (uintptr_t)chunk);
    size_t usable = ((size_t)1 << size_class) - (size_t)(block - chunk);
    struct arena_header header = {chunk, size_class, (uint32_t)usable};
    memcpy(block - sizeof(header), &header, sizeof(header));
    return block;
}

static inline struct arena_header arena_header_of(const void* block) {
    struct arena_header header;
    memcpy(&header, (const char*)block - sizeof(header), sizeof(header));
    return header;
}

static inline void arena_release(void* block) {
    if (!block) {
        return;
    }
    struct arena_header header = arena_header_of(block);
    arena_lock();
    memcpy(header.start, &arena.free_lists[header.size_class], sizeof(void*));
    arena.free_lists[header.size_class] = header.start;
    arena_unlock();
}

static inline void* arena_resize(void* block, size_t bytes) {
    if (!block) {
        return arena_allocate(bytes, 16);
    }
    if (!bytes) {
        arena_release(block);
        return NULL;
    }
    size_t usable = arena_header_of(block).usable;
    if (bytes <= usable) {
        return block;
    }
    void* moved = arena_allocate(bytes, 16);
    if (moved) {
        memcpy(moved, block, usable);
        arena_release(block);
    }
    return moved;
}

static inline void* arena_zeroed(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void* block = arena_allocate(bytes, 16);
    return block ? memset(block, 0, bytes) : NULL;
}

#endif
