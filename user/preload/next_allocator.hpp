// The allocator behind this library: the next definition of each function in the dynamic linker's order. Found once, at the first call
// of any function; until then calls are served from an arena of ours, because dlsym() allocates itself.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memtrace::preload {

/// The four that every program calls are never null: until they are found, they are functions of ours that look for them, so that a call
/// needs no test. The others are null where they are not to be had, and before `ready`.
struct NextAllocator {
    void* (*malloc)(std::size_t);
    void (*free)(void*);
    void* (*calloc)(std::size_t, std::size_t);
    void* (*realloc)(void*, std::size_t);
    int (*posix_memalign)(void**, std::size_t, std::size_t);
    void* (*aligned_alloc)(std::size_t, std::size_t);
    void* (*memalign)(std::size_t, std::size_t);
    void* (*valloc)(std::size_t);
    std::size_t (*malloc_usable_size)(void*);
    bool ready;
};

// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): zero, before anything runs
extern __attribute__((visibility("hidden"))) NextAllocator next_allocator;

/// Fills next_allocator in. False: this very thread is about it already, inside dlsym(): take memory from the arena. Ends the process where
/// there is no allocator at all.
bool find_next_allocator();

/// Whether the allocator behind can be called.
inline bool found() {
    return __builtin_expect(next_allocator.ready, 1) || find_next_allocator();
}

// What dlsym() and early constructors ask for is some hundred bytes.
constexpr std::size_t kArenaBytes = 256 << 10;
// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): zero, before anything runs
extern __attribute__((visibility("hidden"))) unsigned char arena[kArenaBytes];

/// Memory from the arena, from where on memtrace::detail::sampled_blocks is never empty: zeroed, aligned to `alignment`, a power of two. Null, with errno, where it is used up.
void* arena_alloc(std::size_t size, std::size_t alignment);
/// Whether a block came from there; it is never given back.
inline bool in_arena(const void* block) {
    return reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(arena) < kArenaBytes;
}
/// Bytes that a block of the arena has.
std::size_t arena_size_of(const void* block);

} // namespace memtrace::preload
