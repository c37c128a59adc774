// libmemtrace_alloc.so: the malloc family, in front of the one that the program has. See README.md here.
//
// On the path of every allocation: while nobody traces, a function is two loads, one branch that is not taken, and a jump. malloc_usable_size is
// not here: the one behind knows its own blocks, and those of the arena are known to the dynamic linker alone.
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "memtrace/sampler.hpp"
#include "preload/next_allocator.hpp"

#define PUBLIC extern "C" __attribute__((visibility("default")))
#define COLD __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

namespace {

using memtrace::preload::arena_alloc;
using memtrace::preload::arena_size_of;
using memtrace::preload::found;
using memtrace::preload::in_arena;
using memtrace::preload::next_allocator;

/// Whether nothing was sampled, and the arena not used: what is given back is none of ours.
inline bool nothing_to_tell() {
    return memtrace::detail::sampled_blocks.empty();
}

inline bool traced() {
    return MEMTRACE_OTEL_ENABLED(alloc);
}

inline void* sampled(void* block, std::size_t size) {
    if (block) {
        memtrace::sample_alloc(block, size);
    }
    return block;
}

/// An aligned block, by a function that the allocator behind may lack.
template <typename Function, typename... Arguments>
void* aligned(Function* next, std::size_t alignment, std::size_t size, Arguments... arguments) {
    if (!found()) {
        return arena_alloc(size, alignment);
    }
    if (!next) {
        errno = ENOMEM;
        return nullptr;
    }
    return sampled(next(arguments...), size);
}

std::size_t page_bytes() {
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// realloc() of a block of the arena: a new one, the old one stays.
void* leave_arena(void* block, std::size_t size) {
    void* const fresh = malloc(size);
    if (fresh) {
        const auto old = arena_size_of(block);
        std::memcpy(fresh, block, old < size ? old : size);
    }
    return fresh;
}

// Its end is told before the address can be another's; if it did not end, it is told anew.
COLD void* realloc_sampled(void* block, std::size_t size) {
    void* const moved = next_allocator.realloc(block, size);
    if (moved || size == 0) {
        return sampled(moved, size);
    }
    const int why = errno;
    const auto held = next_allocator.malloc_usable_size ? next_allocator.malloc_usable_size(block) : 0;
    if (held == 0) {
        return nullptr;
    }
    memtrace::detail::tell_sample(block, held, memtrace::detail::weight_of(held, memtrace::sample_interval()));
    errno = why;
    return nullptr;
}

__attribute__((constructor)) void read_settings() {
    if (const char* const text = std::getenv("MEMTRACE_SAMPLE_INTERVAL")) {
        char* end = nullptr;
        const auto bytes = std::strtoull(text, &end, 10);
        if (*text >= '0' && *text <= '9' && *end == '\0' && bytes > 0) { // strtoull takes -1 for the largest number
            memtrace::set_sample_interval(bytes);
        }
    }
}

} // namespace

// What is rare is out of the way, so that the rest needs no stack frame.

namespace {

COLD void* malloc_slowly(std::size_t size) {
    return sampled(next_allocator.malloc(size), size);
}

COLD void* calloc_slowly(std::size_t count, std::size_t size) {
    return sampled(next_allocator.calloc(count, size), count * size); // which did not overflow, if there is a block
}

COLD void free_slowly(void* block) {
    if (!in_arena(block)) {
        memtrace::sample_free(block);
        next_allocator.free(block);
    }
}

COLD void* realloc_slowly(void* block, std::size_t size) {
    if (in_arena(block)) {
        return leave_arena(block, size);
    }
    return memtrace::sample_free(block) ? realloc_sampled(block, size) : sampled(next_allocator.realloc(block, size), size);
}

} // namespace

PUBLIC void* malloc(std::size_t size) {
    return LIKELY(!traced()) ? next_allocator.malloc(size) : malloc_slowly(size);
}

PUBLIC void* calloc(std::size_t count, std::size_t size) {
    return LIKELY(!traced()) ? next_allocator.calloc(count, size) : calloc_slowly(count, size);
}

PUBLIC void free(void* block) {
    if (LIKELY(nothing_to_tell())) {
        next_allocator.free(block);
    } else {
        free_slowly(block);
    }
}

PUBLIC void* realloc(void* block, std::size_t size) {
    return LIKELY(nothing_to_tell() && !traced()) ? next_allocator.realloc(block, size) : realloc_slowly(block, size);
}

PUBLIC void* reallocarray(void* block, std::size_t count, std::size_t size) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return nullptr;
    }
    return realloc(block, bytes);
}

PUBLIC int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
    if (!found()) {
        *block = arena_alloc(size, alignment);
        return *block ? 0 : ENOMEM;
    }
    if (!next_allocator.posix_memalign) {
        return ENOMEM;
    }
    const int failure = next_allocator.posix_memalign(block, alignment, size);
    if (failure == 0) {
        sampled(*block, size);
    }
    return failure;
}

PUBLIC void* aligned_alloc(std::size_t alignment, std::size_t size) {
    found();
    return aligned(next_allocator.aligned_alloc, alignment, size, alignment, size);
}

PUBLIC void* memalign(std::size_t alignment, std::size_t size) {
    found();
    return aligned(next_allocator.memalign, alignment, size, alignment, size);
}

PUBLIC void* valloc(std::size_t size) {
    found();
    return aligned(next_allocator.valloc, page_bytes(), size, size);
}

// By memalign: jemalloc has no pvalloc, and a block of the next allocator but one is none that it can free.
PUBLIC void* pvalloc(std::size_t size) {
    const auto page = page_bytes();
    std::size_t whole = 0;
    if (__builtin_add_overflow(size, page - 1, &whole)) {
        errno = ENOMEM;
        return nullptr;
    }
    whole = whole / page * page;
    found();
    return aligned(next_allocator.memalign, page, size, page, whole ? whole : page);
}

// C23. Sizes are a help to the allocator, no more.
PUBLIC void free_sized(void* block, std::size_t) {
    free(block);
}
PUBLIC void free_aligned_sized(void* block, std::size_t, std::size_t) {
    free(block);
}
