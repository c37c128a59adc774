// The least that tracing can cost here: empty BPF programs at the very places where memtrace's would be.
//
//   floor [--multi | --perf-event] [--delay NS] PID...    prints "attached N probes by METHOD"; detaches when its standard input ends
//
// --delay makes each program run for so long: how much the target loses for each nanosecond that a hit takes.
//
// By session links where the kernel has them (one program for entry and return), else by uprobe_multi, else by perf_event.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "kernel/features.hpp"
#include "kernel/probe_plan.hpp"
#include "kernel/uprobe_link.hpp"
#include "proc/allocators.hpp"
#include "proc/maps.hpp"

namespace memtrace {

namespace {

enum class FloorMethod { session, multi, perf_event };

constexpr const char* kMethodNames[] = {"session", "uprobe_multi", "perf_event"};

constexpr std::int32_t kMaxClockReads = 5'000; ///< the verifier follows each of them
constexpr std::int32_t kMaxDelayNs = 50'000;

/// "return 0".
std::vector<bpf_insn> empty_program() {
    return {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
    };
}

/// The same after reading the clock until `delay_ns` have passed.
std::vector<bpf_insn> delaying_program(std::int32_t delay_ns) {
    const bpf_insn read_clock{.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_ktime_get_ns};
    std::vector<bpf_insn> code{
        read_clock,
        {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6, .src_reg = BPF_REG_0, .off = 0, .imm = 0},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_7, .src_reg = 0, .off = 0, .imm = kMaxClockReads},
        read_clock,
        {.code = BPF_ALU64 | BPF_SUB | BPF_X, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_6, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_JGE | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 2, .imm = delay_ns},
        {.code = BPF_ALU64 | BPF_SUB | BPF_K, .dst_reg = BPF_REG_7, .src_reg = 0, .off = 0, .imm = 1},
        {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_7, .src_reg = 0, .off = -5, .imm = 0},
    };
    for (const auto& instruction : empty_program()) {
        code.push_back(instruction);
    }
    return code;
}

/// For links of this attach type (0: of perf events).
Result<UniqueFd> load_program(int attach_type, std::int32_t delay_ns) {
    const auto code = delay_ns > 0 ? delaying_program(delay_ns) : empty_program();
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = static_cast<bpf_attach_type>(attach_type));
    UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "floor", "GPL", code.data(), code.size(), &options));
    if (!program) {
        return fail_errno("the kernel refused the program", errno);
    }
    return program;
}

/// Owns what it attaches.
class Floor {
public:
    Floor(FloorMethod method, std::int32_t delay_ns) : method_(method), delay_ns_(delay_ns) {}
    Status load();
    Status attach(std::int32_t pid, ProbePlanner& planner);
    [[nodiscard]] std::size_t probes() const { return probes_; }

private:
    Status attach_object(std::int32_t pid, const ProbeObject& object, const ProbePlan& plan);
    Status link_entries(const UprobeTarget& target);
    Status link_both(const UprobeTarget& target);

    FloorMethod method_;
    std::int32_t delay_ns_;
    UniqueFd entry_;   ///< program for entries and, but for sessions, returns
    UniqueFd session_; ///< program for both
    std::vector<UniqueFd> links_;
    std::size_t probes_ = 0;
};

Status Floor::load() {
    auto entry = load_program(method_ == FloorMethod::perf_event ? 0 : kAttachTypeUprobeMulti, delay_ns_);
    if (!entry) {
        return tl::unexpected(entry.error());
    }
    entry_ = std::move(*entry);
    if (method_ != FloorMethod::session) {
        return {};
    }
    auto session = load_program(kAttachTypeUprobeSession, delay_ns_);
    if (!session) {
        return tl::unexpected(session.error());
    }
    session_ = std::move(*session);
    return {};
}

Status Floor::link_entries(const UprobeTarget& target) {
    const auto method = method_ == FloorMethod::perf_event ? AttachMethod::perf_event : AttachMethod::uprobe_multi;
    auto links = attach_uprobes(entry_.get(), method, target);
    if (!links) {
        return tl::unexpected(links.error());
    }
    probes_ += target.offsets.size();
    std::move(links->begin(), links->end(), std::back_inserter(links_));
    return {};
}

/// Entry and return of functions that give out blocks.
Status Floor::link_both(const UprobeTarget& target) {
    if (method_ == FloorMethod::session && !target.offsets.empty()) {
        auto link = create_uprobe_multi_link(session_.get(), kAttachTypeUprobeSession, target);
        if (!link) {
            return tl::unexpected(link.error());
        }
        probes_ += 2 * target.offsets.size();
        links_.push_back(std::move(*link));
        return {};
    }
    auto returns = target;
    returns.is_return = true;
    if (auto status = link_entries(returns); !status) {
        return status;
    }
    return link_entries(target);
}

Status Floor::attach_object(std::int32_t pid, const ProbeObject& object, const ProbePlan& plan) {
    UprobeTarget entries{pid, object.open_path, {}, {}, false};
    UprobeTarget both = entries;
    const auto add = [](UprobeTarget& to, std::uint64_t function, const Placement& placement) {
        to.offsets.push_back(function + placement.offset);
        to.cookies.push_back(0);
    };
    for (std::size_t i = 0; i < object.points.size(); ++i) {
        const auto& point = object.points[i];
        add(function_table()[point.function].is_free() ? entries : both, point.file_offset, plan.points[i]);
    }
    for (std::size_t i = 0; i < object.hooks.size(); ++i) {
        add(entries, object.hooks[i].file_offset, plan.hooks[i]);
    }
    if (auto status = link_entries(entries); !status) {
        return status;
    }
    return link_both(both);
}

Status Floor::attach(std::int32_t pid, ProbePlanner& planner) {
    const auto mappings = read_maps(pid);
    if (!mappings) {
        return tl::unexpected(mappings.error());
    }
    std::set<FileIdentity> seen;
    const auto objects = find_probe_objects(pid, *mappings, "auto", seen);
    if (!objects) {
        return tl::unexpected(objects.error());
    }
    for (const auto& object : *objects) {
        if (auto status = attach_object(pid, object, planner.plan(object)); !status) {
            return status;
        }
    }
    return {};
}

Status run(const std::vector<std::int32_t>& pids, FloorMethod at_best, std::int32_t delay_ns) {
    const auto features = detect_features();
    FloorMethod method = at_best;
    if (method == FloorMethod::session && !features.uprobe_session) {
        method = FloorMethod::multi;
    }
    if (method == FloorMethod::multi && !features.uprobe_multi) {
        method = FloorMethod::perf_event;
    }
    Floor floor(method, delay_ns);
    if (auto status = floor.load(); !status) {
        return status;
    }
    ProbePlanner planner(features.costs.long_nops);
    for (const auto pid : pids) {
        if (auto status = floor.attach(pid, planner); !status) {
            return status;
        }
    }
    std::printf("attached %zu probes by %s\n", floor.probes(), kMethodNames[static_cast<int>(method)]);
    std::fflush(stdout);
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return {};
}

} // namespace

} // namespace memtrace

int main(int argc, char** argv) {
    using memtrace::FloorMethod;
    FloorMethod at_best = FloorMethod::session;
    std::int32_t delay_ns = 0;
    std::vector<std::int32_t> pids;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--multi" || word == "--perf-event") {
            at_best = word == "--multi" ? FloorMethod::multi : FloorMethod::perf_event;
        } else if (word == "--delay" && i + 1 < argc) {
            delay_ns = std::atoi(argv[++i]);
        } else {
            pids.push_back(std::atoi(argv[i]));
        }
    }
    if (pids.empty() || pids.front() <= 0 || delay_ns < 0 || delay_ns > memtrace::kMaxDelayNs) {
        std::fputs("usage: floor [--multi | --perf-event] [--delay NS] PID...    NS: up to 50000\n", stderr);
        return 2;
    }
    if (auto status = memtrace::run(pids, at_best, delay_ns); !status) {
        std::fprintf(stderr, "floor: %s\n", status.error().message.c_str());
        return 1;
    }
    return 0;
}
