#include "kernel/working_set.hpp"

// (data of the first step, how many steps, where to enter)
extern "C" {
void memtrace_working_set(std::uint64_t* data, std::size_t steps, const char* entry);
void memtrace_working_set_steps(); // not to be called: where the first step is
}

#if defined(__x86_64__)
#define MEMTRACE_ENTER "jmp *%rdx\n"
// The pointer is loaded twice: so a step waits for its line as long as for two that depend on each other.
#define MEMTRACE_STEP                                                                                                            \
    "mov 8(%rdi), %eax\n mov (%rdi), %rdi\n mov (%rdi), %r8\n xor %r8, %rdi\n xor %r8, %rdi\n"                                   \
    "dec %rsi\n jz 9f\n test %eax, %eax\n js 1f\n nop\n jmp 1f\n.balign 64\n1:\n"
#define MEMTRACE_AGAIN "jmp memtrace_working_set_steps\n9: ret\n"
#elif defined(__aarch64__)
#define MEMTRACE_ENTER "br x2\n"
#define MEMTRACE_STEP                                                                                                            \
    "ldr w9, [x0, #8]\n ldr x0, [x0]\n ldr x10, [x0]\n eor x0, x0, x10\n eor x0, x0, x10\n"                                      \
    "subs x1, x1, #1\n b.eq 9f\n tbnz w9, #31, 1f\n nop\n b 1f\n.balign 64\n1:\n"
#define MEMTRACE_AGAIN "b memtrace_working_set_steps\n9: ret\n"
#else
#error "unknown architecture"
#endif

__asm__(".pushsection .text\n.balign 64\n.globl memtrace_working_set\n.hidden memtrace_working_set\n"
        ".type memtrace_working_set, %function\nmemtrace_working_set:\n" MEMTRACE_ENTER
        ".balign 64\n.globl memtrace_working_set_steps\n.hidden memtrace_working_set_steps\nmemtrace_working_set_steps:\n"
        ".rept 512\n" MEMTRACE_STEP ".endr\n" MEMTRACE_AGAIN ".size memtrace_working_set, . - memtrace_working_set\n"
        ".balign 64\n.popsection\n");

namespace memtrace {

namespace {

constexpr std::size_t kStepBytes = 64; ///< of code
constexpr std::size_t kStride = 72;    ///< words of data: nine cache lines, so that they spread over all sets

} // namespace

WorkingSet::WorkingSet() : data_(kSteps * kStride) {
    std::uint64_t seed = 1;
    for (std::size_t step = 0; step < kSteps; ++step) {
        auto* const cell = &data_[step * kStride];
        seed = seed * 6364136223846793005u + 1442695040888963407u; // Knuth's MMIX generator
        cell[0] = reinterpret_cast<std::uint64_t>(&data_[(step + 1) % kSteps * kStride]);
        cell[1] = seed >> 32;
    }
}

void WorkingSet::run(std::size_t steps) {
    if (steps == 0) {
        return;
    }
    const auto* const first = reinterpret_cast<const char*>(&memtrace_working_set_steps);
    memtrace_working_set(&data_[at_ * kStride], steps, first + at_ * kStepBytes);
    at_ = (at_ + steps) % kSteps;
}

} // namespace memtrace
