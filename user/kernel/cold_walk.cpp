#include "kernel/cold_walk.hpp"

#include <algorithm>

// All steps one after the other, then a return: who wants fewer enters later. The argument walks the data. Every cell of it is a
// generator of pseudo-random numbers (Numerical Recipes' quick one), of which the highest bit decides the branch.
extern "C" void memtrace_cold_walk(void* data);

#if defined(__x86_64__)
#define MEMTRACE_STEP                                                                                                            \
    "imul $1664525, (%rdi), %eax\n add $1013904223, %eax\n mov %eax, (%rdi)\n add $576, %rdi\n"                                  \
    "test %eax, %eax\n js 1f\n nop\n jmp 1f\n.balign 64\n1:\n"
#elif defined(__aarch64__)
#define MEMTRACE_STEP                                                                                                            \
    "ldr w9, [x0]\n mov w10, #0x660d\n movk w10, #0x19, lsl #16\n mul w9, w9, w10\n mov w10, #0xf35f\n"                          \
    "movk w10, #0x3c6e, lsl #16\n add w9, w9, w10\n str w9, [x0]\n add x0, x0, #576\n"                                           \
    "tbnz w9, #31, 1f\n nop\n b 1f\n.balign 64\n1:\n"
#else
#error "unknown architecture"
#endif

__asm__(".pushsection .text\n.balign 64\n.globl memtrace_cold_walk\n.hidden memtrace_cold_walk\n"
        ".type memtrace_cold_walk, %function\nmemtrace_cold_walk:\n.rept 2048\n" MEMTRACE_STEP
        ".endr\nret\n.size memtrace_cold_walk, . - memtrace_cold_walk\n.balign 64\n.popsection\n");

namespace memtrace {

namespace {

constexpr std::size_t kStepBytes = 64; ///< of code
constexpr std::size_t kStride = 576;   ///< of data; nine cache lines, so that they spread over all sets

} // namespace

ColdWalk::ColdWalk() : data_(kMaxSteps * kStride / sizeof(std::uint64_t)) {
    std::uint64_t seed = 1;
    for (auto& cell : data_) {
        seed *= 6364136223846793005u;
        cell = seed >> 32;
    }
}

void ColdWalk::run(std::size_t steps) {
    const auto skipped = kMaxSteps - std::min(steps, kMaxSteps);
    auto* const entry = reinterpret_cast<char*>(&memtrace_cold_walk) + skipped * kStepBytes;
    reinterpret_cast<decltype(&memtrace_cold_walk)>(entry)(data_.data());
}

} // namespace memtrace
