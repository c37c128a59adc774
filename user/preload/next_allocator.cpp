#include "preload/next_allocator.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include "memtrace/sampler.hpp"

namespace memtrace::preload {
namespace {

std::atomic<std::size_t> arena_used{0};

// In front of each block.
struct alignas(16) Header {
    std::size_t size;
};

__attribute__((tls_model("initial-exec"))) thread_local bool looking = false;

template <typename Function>
Function* look_up(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// A pointer that other threads may be about to call by: they see it, or look for the same themselves.
template <typename Function>
void put(Function*& place, Function* function) {
    if (function) {
        __atomic_store_n(&place, function, __ATOMIC_RELEASE);
    }
}

[[noreturn]] void give_up() {
    constexpr char kWhy[] = "libmemtrace_alloc.so: there is no malloc behind it: is the program linked statically?\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, kWhy, sizeof kWhy - 1);
    std::abort();
}

void* first_malloc(std::size_t size) {
    return find_next_allocator() ? next_allocator.malloc(size) : arena_alloc(size, alignof(std::max_align_t));
}

void first_free(void* block) {
    if (find_next_allocator()) { // not: dlsym() frees a null pointer
        next_allocator.free(block);
    }
}

void* first_calloc(std::size_t count, std::size_t size) {
    if (find_next_allocator()) {
        return next_allocator.calloc(count, size);
    }
    std::size_t bytes = 0;
    return __builtin_mul_overflow(count, size, &bytes) ? nullptr : arena_alloc(bytes, alignof(std::max_align_t));
}

void* first_realloc(void* block, std::size_t size) {
    return find_next_allocator() ? next_allocator.realloc(block, size) : nullptr; // not: a block that nobody here gave
}

} // namespace

NextAllocator next_allocator = {first_malloc, first_free, first_calloc, first_realloc, nullptr,
                                nullptr,      nullptr,    nullptr,      nullptr,       false};
alignas(64) unsigned char arena[kArenaBytes];

bool find_next_allocator() {
    if (looking) {
        return false;
    }
    looking = true;
    const int before = errno;
    auto* const next_malloc = look_up<void*(std::size_t)>("malloc");
    auto* const next_free = look_up<void(void*)>("free");
    auto* const next_calloc = look_up<void*(std::size_t, std::size_t)>("calloc");
    auto* const next_realloc = look_up<void*(void*, std::size_t)>("realloc");
    if (!next_malloc || !next_free || !next_calloc || !next_realloc) {
        give_up();
    }
    put(next_allocator.posix_memalign, look_up<int(void**, std::size_t, std::size_t)>("posix_memalign"));
    put(next_allocator.aligned_alloc, look_up<void*(std::size_t, std::size_t)>("aligned_alloc"));
    put(next_allocator.memalign, look_up<void*(std::size_t, std::size_t)>("memalign"));
    put(next_allocator.valloc, look_up<void*(std::size_t)>("valloc"));
    put(next_allocator.malloc_usable_size, look_up<std::size_t(void*)>("malloc_usable_size"));
    put(next_allocator.free, next_free);
    put(next_allocator.calloc, next_calloc);
    put(next_allocator.realloc, next_realloc);
    put(next_allocator.malloc, next_malloc);
    __atomic_store_n(&next_allocator.ready, true, __ATOMIC_RELEASE);
    errno = before;
    looking = false;
    return true;
}

void* arena_alloc(std::size_t size, std::size_t alignment) {
    if (alignment < alignof(Header)) {
        alignment = alignof(Header);
    }
    if (size < kArenaBytes && alignment < kArenaBytes) {
        memtrace::detail::sampled_blocks.never_empty();
        const std::size_t room = sizeof(Header) + size + alignment;
        const std::size_t at = arena_used.fetch_add(room, std::memory_order_relaxed);
        if (at < kArenaBytes && room <= kArenaBytes - at) {
            unsigned char* const from = arena + at + sizeof(Header);
            unsigned char* const block = from + (-reinterpret_cast<std::uintptr_t>(from) & (alignment - 1));
            reinterpret_cast<Header*>(block)[-1].size = size;
            return block;
        }
    }
    errno = ENOMEM;
    return nullptr;
}

std::size_t arena_size_of(const void* block) {
    return static_cast<const Header*>(block)[-1].size;
}

} // namespace memtrace::preload
