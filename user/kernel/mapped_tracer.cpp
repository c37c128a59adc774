#include "kernel/mapped_tracer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "base/signal_guard.hpp"
#include "bpf/mapped.skel.h"
#include "kernel/bpf_link.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/probe_plan.hpp"
#include "kernel/program_timer.hpp"
#include "kernel/uprobe_link.hpp"

namespace memtrace {

namespace {

struct SkeletonCloser {
    void operator()(mapped_bpf* skeleton) const { mapped_bpf__destroy(skeleton); }
};

/// What is attached in one process.
struct Held {
    std::vector<UniqueFd> functions;
    std::vector<BpfLink> probes;
};

std::uint8_t arguments_read(const mt_mapped_signature& signature) {
    unsigned wanted = 0;
    for (const unsigned number : {signature.id, signature.parent, signature.bytes, signature.name, signature.unless}) {
        wanted |= number != 0 && number <= kArgumentRegisters ? 1u << number : 0;
    }
    return static_cast<std::uint8_t>(wanted);
}

/// Each argument by the number of the register that holds it at the probe.
mt_mapped_signature relocated(mt_mapped_signature signature, const Placement& placement) {
    for (auto* number : {&signature.id, &signature.parent, &signature.bytes, &signature.name, &signature.unless}) {
        *number = *number <= kArgumentRegisters ? placement.registers[*number] : *number;
    }
    return signature;
}

} // namespace

struct MappedTracer::Impl {
    std::unique_ptr<mapped_bpf, SkeletonCloser> skeleton;
    MappedSettings settings;
    std::map<std::int32_t, Held> held; ///< by process
    ProgramTimer timer;                ///< of those that attach() uses: entries, calls or returns, probes

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    /// Probes first: detaching one takes what the skeleton holds.
    ~Impl() {
        const SignalGuard guard;
        held.clear();
    }

    void configure() {
        skeleton->rodata->max_frames = settings.max_frames;
        skeleton->rodata->wake_up_at = settings.ring_bytes / 4;
        const bool sessions = settings.method == AttachMethod::uprobe_session;
        const auto& progs = skeleton->progs;
        bpf_program__set_autoload(progs.mapped_enter, true);
        bpf_program__set_autoload(progs.mapped_return, !sessions);
        bpf_program__set_autoload(progs.mapped_call, sessions);
        if (settings.method == AttachMethod::perf_event) {
            return;
        }
        for (auto* program : {progs.mapped_enter, progs.mapped_return}) {
            bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(kAttachTypeUprobeMulti));
        }
        bpf_program__set_expected_attach_type(progs.mapped_call, static_cast<bpf_attach_type>(kAttachTypeUprobeSession));
    }

    Status attach_step(const bpf_program* program, const UprobeTarget& target, Held& to) const {
        auto links = attach_uprobes(bpf_program__fd(program), settings.method, target);
        if (!links) {
            return tl::unexpected(links.error());
        }
        std::move(links->begin(), links->end(), std::back_inserter(to.functions));
        return {};
    }

    Status attach_functions(std::int32_t pid, const std::string& path, const MappedTargets& targets, Held& to) const {
        std::vector<FunctionToPlace> wanted;
        for (const auto& function : targets.functions) {
            wanted.push_back({function.file_offset, function.size, arguments_read(function.signature)});
        }
        const auto placements = place_functions(targets.fd, targets.code, wanted, settings.long_nops);
        const UprobeTarget empty{pid, path, {}, {}, false, false};
        auto entries = empty;
        auto calls = empty;
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const auto& function = targets.functions[i];
            auto& target = mt_mapped_returns(&function.signature) ? calls : entries;
            target.offsets.push_back(function.file_offset + placements[i].offset);
            target.cookies.push_back(mt_mapped_pack(relocated(function.signature, placements[i])));
        }
        const auto& progs = skeleton->progs;
        if (auto status = attach_step(progs.mapped_enter, entries, to); !status) {
            return status;
        }
        if (settings.method == AttachMethod::uprobe_session) {
            calls.is_session = true;
            return attach_step(progs.mapped_call, calls, to);
        }
        auto returns = calls;
        returns.is_return = true;
        auto status = attach_step(progs.mapped_return, returns, to);
        return status ? attach_step(progs.mapped_enter, calls, to) : status;
    }

    Status attach_probes(std::int32_t pid, const std::string& path, const MappedTargets& targets, Held& to) const {
        for (const auto& probe : targets.probes) {
            auto link =
                attach_usdt(skeleton->progs.mapped_probe, pid, path, probe.provider, probe.name, mt_mapped_pack(probe.signature));
            if (!link) {
                return tl::unexpected(link.error());
            }
            to.probes.push_back(std::move(*link));
        }
        return {};
    }
};

MappedTracer::MappedTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MappedTracer::~MappedTracer() = default;
MappedTracer::MappedTracer(MappedTracer&&) noexcept = default;
MappedTracer& MappedTracer::operator=(MappedTracer&&) noexcept = default;

Result<MappedTracer> MappedTracer::load(const MappedSettings& settings, const ContractMaps& contract,
                                        const std::optional<StackMaps>& maps) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    impl->settings = settings;
    impl->skeleton.reset(mapped_bpf__open());
    if (impl->skeleton == nullptr) {
        return fail("the programs of the mapped tier cannot be opened (" + libbpf_log_tail() + ")");
    }
    auto status = share_maps(impl->skeleton->obj, kContractMaps, contract);
    if (status && maps) {
        status = share_stack_maps(impl->skeleton->obj, *maps);
    }
    if (!status) {
        return tl::unexpected(status.error());
    }
    impl->configure();
    if (mapped_bpf__load(impl->skeleton.get()) != 0) {
        return fail("the kernel refused the programs of the mapped tier (" + libbpf_log_tail() + ")");
    }
    const auto& progs = impl->skeleton->progs;
    const bool sessions = settings.method == AttachMethod::uprobe_session;
    impl->timer = ProgramTimer({bpf_program__fd(progs.mapped_enter), bpf_program__fd(progs.mapped_probe),
                                bpf_program__fd(sessions ? progs.mapped_call : progs.mapped_return)});
    return MappedTracer(std::move(impl));
}

Status MappedTracer::attach(std::int32_t pid, const MappedTargets& targets) {
    const auto path = "/proc/self/fd/" + std::to_string(targets.fd);
    const SignalGuard guard; // see HeapTracer::watch: what was attached may have to go
    Held held;
    auto status = impl_->attach_probes(pid, path, targets, held);
    status = status ? impl_->attach_functions(pid, path, targets, held) : status;
    if (!status) {
        return status;
    }
    auto& all = impl_->held[pid];
    std::move(held.functions.begin(), held.functions.end(), std::back_inserter(all.functions));
    std::move(held.probes.begin(), held.probes.end(), std::back_inserter(all.probes));
    return {};
}

void MappedTracer::remove_process(std::int32_t pid) {
    const SignalGuard guard;
    impl_->held.erase(pid);
}

void MappedTracer::update_costs(std::uint64_t now_ns) {
    impl_->timer.update(now_ns);
}

double MappedTracer::program_ns() const {
    return std::max({impl_->timer.mean_ns(0), impl_->timer.mean_ns(1), impl_->timer.mean_ns(2)});
}

} // namespace memtrace
