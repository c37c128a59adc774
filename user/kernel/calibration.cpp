#include "kernel/calibration.hpp"

#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "base/clock.hpp"
#include "kernel/working_set.hpp"
#include "proc/maps.hpp"

// Probed in this very process. In assembly, because it is their first instructions that count.
extern "C" {
void memtrace_probe_none();
void memtrace_probe_emulated();
void memtrace_probe_stepped();
void memtrace_probe_return();
void memtrace_probe_long_nop();
void memtrace_probe_session();
}

#if defined(__x86_64__)
#define MEMTRACE_EMULATED "push %rbp\n pop %rbp\n ret\n"
#define MEMTRACE_STEPPED "test %rdi,%rdi\n ret\n"
#define MEMTRACE_LONG_NOP ".byte 0x0f,0x1f,0x44,0x00,0x00\n ret\n"
#elif defined(__aarch64__)
#define MEMTRACE_EMULATED "b 1f\n 1: ret\n"
#define MEMTRACE_STEPPED "mov x9, x0\n ret\n"
#define MEMTRACE_LONG_NOP "ret\n" // there is none
#else
#error "unknown architecture"
#endif

#define MEMTRACE_FUNCTION(name, code)                                                                                            \
    ".balign 64\n.globl " #name "\n.hidden " #name "\n.type " #name ", %function\n" #name ":\n" code ".size " #name              \
    ", . - " #name "\n"
__asm__(".pushsection .text\n" MEMTRACE_FUNCTION(memtrace_probe_none, MEMTRACE_EMULATED)
            MEMTRACE_FUNCTION(memtrace_probe_emulated, MEMTRACE_EMULATED)
                MEMTRACE_FUNCTION(memtrace_probe_stepped, MEMTRACE_STEPPED)
                    MEMTRACE_FUNCTION(memtrace_probe_return, MEMTRACE_EMULATED)
                        MEMTRACE_FUNCTION(memtrace_probe_session, MEMTRACE_EMULATED)
                            MEMTRACE_FUNCTION(memtrace_probe_long_nop, MEMTRACE_LONG_NOP) ".balign 64\n.popsection\n");

namespace memtrace {

namespace {

using Function = void (*)();

constexpr int kRounds = 24;
constexpr int kSteppedRounds = 6; ///< 0.6 ms each
constexpr int kCallsPerRound = 50;
constexpr int kApartCalls = 12;
constexpr std::size_t kApartSteps[] = {64, 128, 256, 512, 2'048}; ///< 0.2 to 8 us where this was written
constexpr std::uint8_t kCallOpcode = 0xe8;

/// Time of one call, nanoseconds: the smallest of some rounds, which is what interruptions do not disturb.
double time_calls(Function function, int rounds = kRounds) {
    double best = 0;
    for (int round = 0; round < rounds; ++round) {
        const auto begin = monotonic_ns();
        for (int i = 0; i < kCallsPerRound; ++i) {
            function();
        }
        const double each = static_cast<double>(monotonic_ns() - begin) / kCallsPerRound;
        best = round == 0 ? each : std::min(best, each);
    }
    return best;
}

/// The same for a call after `steps` of own work, and both together.
double time_apart(WorkingSet& work, std::size_t steps, Function function) {
    const auto begin = monotonic_ns();
    for (int i = 0; i < kApartCalls; ++i) {
        work.run(steps);
        function();
    }
    return static_cast<double>(monotonic_ns() - begin) / kApartCalls;
}

/// What the probe on memtrace_probe_emulated costs more than `hot_ns` after own work. Taken from the time of both together: what
/// the work loses to the hit is in it. A return comes soon after its entry, which has paid for it: none is measured.
std::vector<GapCost> measure_gaps(double hot_ns) {
    std::vector<GapCost> gaps;
    WorkingSet work;
    double at_least = 0; // more work between hits makes none cheaper; noise might
    for (const auto steps : kApartSteps) {
        double own = time_apart(work, steps, memtrace_probe_none);
        double both = time_apart(work, steps, memtrace_probe_emulated);
        for (int round = 1; round < kRounds; ++round) {
            own = std::min(own, time_apart(work, steps, memtrace_probe_none));
            both = std::min(both, time_apart(work, steps, memtrace_probe_emulated));
        }
        at_least = std::max(at_least, both - own - hot_ns);
        gaps.push_back({own, at_least});
    }
    return gaps;
}

Result<UprobeTarget> target_of(std::initializer_list<Function> functions) {
    const auto mappings = read_maps(::getpid());
    if (!mappings) {
        return tl::unexpected(mappings.error());
    }
    UprobeTarget target{::getpid(), "/proc/self/exe", {}, {}, false};
    for (const auto function : functions) {
        const auto address = reinterpret_cast<std::uint64_t>(function);
        const auto mapping = std::find_if(mappings->begin(), mappings->end(),
                                          [&](const Mapping& m) { return address >= m.start && address < m.end; });
        if (mapping == mappings->end()) {
            return fail("cannot find our own code");
        }
        target.offsets.push_back(address - mapping->start + mapping->file_offset);
        target.cookies.push_back(0);
    }
    return target;
}

LongNops classify_long_nops(double each_ns, const HitCosts& costs) {
#if defined(__x86_64__)
    if (each_ns < (costs.emulated_ns + costs.stepped_ns) / 2) {
        // The kernel has put its call there, or left the breakpoint.
        const auto* code = reinterpret_cast<const volatile std::uint8_t*>(&memtrace_probe_long_nop);
        return *code == kCallOpcode ? LongNops::rewritten : LongNops::emulated;
    }
#else
    (void)each_ns;
    (void)costs;
#endif
    return LongNops::stepped;
}

} // namespace

void call_probe_target() {
    memtrace_probe_emulated();
}

Result<HitCosts> measure_hit_costs(int program_fd, AttachMethod method, std::vector<UniqueFd>& links) {
    auto entries = target_of({memtrace_probe_emulated, memtrace_probe_stepped, memtrace_probe_return, memtrace_probe_long_nop});
    auto returns = target_of({memtrace_probe_return});
    if (!entries || !returns) {
        return tl::unexpected(entries ? returns.error() : entries.error());
    }
    returns->is_return = true;
    const double bare = time_calls(memtrace_probe_emulated);
    for (const auto* target : {&entries.value(), &returns.value()}) {
        auto attached = attach_uprobes(program_fd, method, *target);
        if (!attached) {
            return tl::unexpected(attached.error());
        }
        std::move(attached->begin(), attached->end(), std::back_inserter(links));
    }
    HitCosts costs;
    costs.emulated_ns = time_calls(memtrace_probe_emulated) - bare;
    costs.stepped_ns = time_calls(memtrace_probe_stepped, kSteppedRounds) - bare;
    costs.return_ns = time_calls(memtrace_probe_return) - bare - costs.emulated_ns;
    costs.long_nops = classify_long_nops(time_calls(memtrace_probe_long_nop, kSteppedRounds) - bare, costs);
    costs.gaps = measure_gaps(costs.emulated_ns);
    return costs;
}

Status measure_session_costs(int program_fd, std::uint32_t* wants_return, std::vector<UniqueFd>& links, HitCosts& costs) {
    const auto target = target_of({memtrace_probe_session});
    if (!target) {
        return tl::unexpected(target.error());
    }
    const double bare = time_calls(memtrace_probe_session);
    auto link = create_uprobe_multi_link(program_fd, kAttachTypeUprobeSession, *target);
    if (!link) {
        return tl::unexpected(link.error());
    }
    links.push_back(std::move(*link));
    *const_cast<volatile std::uint32_t*>(wants_return) = 0; // a page that the kernel half shares
    costs.declined_ns = time_calls(memtrace_probe_session) - bare;
    *const_cast<volatile std::uint32_t*>(wants_return) = 1;
    costs.return_ns = time_calls(memtrace_probe_session) - bare - costs.declined_ns;
    return {};
}

} // namespace memtrace
