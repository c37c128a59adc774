#include "preload/next_allocator.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

namespace memtrace::preload {
namespace {

std::atomic<std::size_t> arena_used{0};

// In front of each block.
struct alignas(16) Header {
    std::size_t size;
};

__attribute__((tls_model("initial-exec"))) thread_local bool looking = false;

template <typename Function>
void look_up(Function*& function, const char* name) {
    // A relaxed store of a pointer: another thread sees it or looks for the same itself.
    auto* const found = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
    __atomic_store_n(&function, found, __ATOMIC_RELEASE);
}

[[noreturn]] void give_up() {
    constexpr char kWhy[] = "libmemtrace_alloc.so: there is no malloc behind it: is the program linked statically?\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, kWhy, sizeof kWhy - 1);
    std::abort();
}

} // namespace

NextAllocator next_allocator;
alignas(64) unsigned char arena[kArenaBytes];

bool find_next_allocator() {
    if (looking) {
        return false;
    }
    looking = true;
    const int before = errno;
    look_up(next_allocator.calloc, "calloc");
    look_up(next_allocator.realloc, "realloc");
    look_up(next_allocator.posix_memalign, "posix_memalign");
    look_up(next_allocator.aligned_alloc, "aligned_alloc");
    look_up(next_allocator.memalign, "memalign");
    look_up(next_allocator.valloc, "valloc");
    look_up(next_allocator.malloc_usable_size, "malloc_usable_size");
    look_up(next_allocator.free_sized, "free_sized");
    look_up(next_allocator.free_aligned_sized, "free_aligned_sized");
    look_up(next_allocator.free, "free");
    look_up(next_allocator.malloc, "malloc");
    errno = before;
    looking = false;
    if (!next_allocator.malloc || !next_allocator.free || !next_allocator.calloc || !next_allocator.realloc) {
        give_up();
    }
    return true;
}

void* arena_alloc(std::size_t size, std::size_t alignment) {
    if (alignment < alignof(Header)) {
        alignment = alignof(Header);
    }
    if (size < kArenaBytes && alignment < kArenaBytes) {
        const std::size_t room = sizeof(Header) + size + alignment;
        const std::size_t at = arena_used.fetch_add(room, std::memory_order_relaxed);
        if (at < kArenaBytes && room <= kArenaBytes - at) {
            const auto block = (reinterpret_cast<std::uintptr_t>(arena) + at + sizeof(Header) + alignment - 1) & ~(alignment - 1);
            reinterpret_cast<Header*>(block)[-1].size = size;
            return reinterpret_cast<void*>(block);
        }
    }
    errno = ENOMEM;
    return nullptr;
}

std::size_t arena_size_of(const void* block) {
    return static_cast<const Header*>(block)[-1].size;
}

} // namespace memtrace::preload
