// A shared object that is an allocator under the usual names: loaded by `dlopen_late --allocator` after "go".
#include "../arena.h"

#define EXPORTED __attribute__((noipa, visibility("default")))

EXPORTED void* malloc(size_t bytes) {
    return arena_allocate(bytes, 16);
}

EXPORTED void free(void* block) {
    arena_release(block);
}

EXPORTED void* calloc(size_t count, size_t size) {
    return arena_zeroed(count, size);
}

EXPORTED void* realloc(void* block, size_t bytes) {
    return arena_resize(block, bytes);
}
