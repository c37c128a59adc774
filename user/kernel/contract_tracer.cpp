#include "kernel/contract_tracer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "bpf/contract.skel.h"
#include "kernel/bpf_link.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/map_reader.hpp"
#include "kernel/process_slots.hpp"
#include "kernel/program_timer.hpp"
#include "kernel/record_ring.hpp"

namespace memtrace {

namespace {

constexpr const char* kProvider = "memtrace";

struct SkeletonCloser {
    void operator()(contract_bpf* skeleton) const { contract_bpf__destroy(skeleton); }
};

struct ProbeInfo {
    const char* name;
    std::uint64_t cookie; ///< but for the object
};
constexpr ProbeInfo kProbes[] = {{nullptr, 0},
#define MT_CONTRACT_INFO(name, arguments, strings, keyed)                                                                        \
    {#name, MT_CONTRACT_COOKIE(MT_CONTRACT_##name, arguments, strings, keyed, 0)},
                                 MT_CONTRACT_PROBES(MT_CONTRACT_INFO)
#undef MT_CONTRACT_INFO
};

constexpr const char* kEmergencyProbes[] = {"emergency_low", "emergency_high", "emergency_critical"};

/// A probe that is attached to.
struct Held {
    std::uint16_t kind = 0; ///< 0: held for its semaphore
    std::uint32_t object = 0;
    BpfLink link;
};

} // namespace

const char* contract_probe_name(std::uint16_t kind) {
    return kind < std::size(kProbes) ? kProbes[kind].name : nullptr;
}

bool is_of_object(std::uint16_t kind) {
    return kind < std::size(kProbes) && (kProbes[kind].cookie >> 24 & 1) != 0;
}

const char* emergency_probe_name(unsigned level) {
    return kEmergencyProbes[std::clamp(level, 1u, 3u) - 1];
}

struct ContractTracer::Impl {
    std::unique_ptr<contract_bpf, SkeletonCloser> skeleton;
    std::vector<BpfLink> links;                       ///< of the tracepoints
    std::map<std::int32_t, std::vector<Held>> probes; ///< by process
    RecordRing ring;
    ProgramTimer timer;
    ProcessSlots slots;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    /// Probes first: detaching one takes what the skeleton holds.
    ~Impl() {
        probes.clear();
        links.clear();
    }

    [[nodiscard]] static int fd(const bpf_map* map) { return bpf_map__fd(map); }

    [[nodiscard]] std::optional<mt_contract_process> read_process(std::int32_t pid) const {
        mt_contract_process process{};
        if (bpf_map_lookup_elem(fd(skeleton->maps.contract_processes), &pid, &process) != 0) {
            return std::nullopt;
        }
        return process;
    }

    Status write_process(std::int32_t pid, const mt_contract_process& process) {
        if (bpf_map_update_elem(fd(skeleton->maps.contract_processes), &pid, &process, BPF_ANY) != 0) {
            return fail_errno("cannot register process " + std::to_string(pid), errno);
        }
        return {};
    }

    Status load(const ContractLimits& limits, const std::optional<StackMaps>& maps) {
        skeleton.reset(contract_bpf__open());
        if (skeleton == nullptr) {
            return fail("the programs of the contract tier cannot be opened (" + libbpf_log_tail() + ")");
        }
        if (maps) {
            if (auto status = share_stack_maps(skeleton->obj, *maps); !status) {
                return status;
            }
        }
        bpf_map__set_max_entries(skeleton->maps.contract_processes, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.contract_counters, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.contract_samples, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.contract_stacks, limits.max_stacks);
        bpf_map__set_max_entries(skeleton->maps.contract_records, limits.ring_bytes);
        skeleton->rodata->max_frames = limits.max_frames;
        skeleton->rodata->wake_up_at = limits.ring_bytes / 4;
        if (contract_bpf__load(skeleton.get()) != 0) {
            return fail("the kernel refused the programs of the contract tier (" + libbpf_log_tail() + ")");
        }
        return {};
    }

    Status attach_tracepoints() {
        for (auto* program : {skeleton->progs.contract_thread_end, skeleton->progs.contract_exec}) {
            BpfLink link(bpf_program__attach(program));
            if (link == nullptr) {
                return fail_errno("cannot follow the ends of threads", errno);
            }
            links.push_back(std::move(link));
        }
        return {};
    }

    Status hold(std::int32_t pid, bpf_program* program, const char* name, const std::string& path, std::uint64_t cookie,
                Held held) {
        auto link = attach_usdt(program, pid, path, kProvider, name, cookie);
        if (!link) {
            return tl::unexpected(link.error());
        }
        held.link = std::move(*link);
        probes[pid].push_back(std::move(held));
        return {};
    }

    template <typename Doomed>
    void release(std::int32_t pid, const Doomed& doomed) {
        if (const auto found = probes.find(pid); found != probes.end()) {
            std::erase_if(found->second, doomed);
        }
    }
};

ContractTracer::ContractTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ContractTracer::~ContractTracer() = default;
ContractTracer::ContractTracer(ContractTracer&&) noexcept = default;
ContractTracer& ContractTracer::operator=(ContractTracer&&) noexcept = default;

Result<ContractTracer> ContractTracer::load(const ContractLimits& limits, const std::optional<StackMaps>& maps) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    if (auto status = impl->load(limits, maps); !status) {
        return tl::unexpected(status.error());
    }
    if (auto status = impl->attach_tracepoints(); !status) {
        return tl::unexpected(status.error());
    }
    auto ring = RecordRing::open(impl->skeleton->maps.contract_records, "the records of the contract tier");
    if (!ring) {
        return tl::unexpected(ring.error());
    }
    impl->ring = std::move(*ring);
    impl->timer = ProgramTimer({bpf_program__fd(impl->skeleton->progs.contract_probe)});
    impl->slots = ProcessSlots(limits.max_processes);
    return ContractTracer(std::move(impl));
}

Result<mt_process_key> ContractTracer::add_process(std::int32_t pid) {
    const auto key = impl_->slots.offer();
    if (!key) {
        return fail("the contract tier follows no more than " + std::to_string(impl_->slots.size()) + " processes");
    }
    zero_per_cpu<mt_counters>(Impl::fd(impl_->skeleton->maps.contract_counters), MT_PROCESS_SLOT(*key));
    mt_contract_process process{};
    process.key = *key;
    process.active = 1;
    if (auto status = impl_->write_process(pid, process); !status) {
        return tl::unexpected(status.error());
    }
    impl_->slots.take(process.key);
    set_sample(pid, 0); // the slot's last owner may have had another
    return process.key;
}

void ContractTracer::deactivate(std::int32_t pid) {
    if (auto process = impl_->read_process(pid)) {
        process->active = 0;
        (void)impl_->write_process(pid, *process);
    }
}

void ContractTracer::set_sample(std::int32_t pid, std::uint32_t mask) {
    if (const auto process = impl_->read_process(pid)) {
        const std::uint32_t slot = MT_PROCESS_SLOT(process->key);
        bpf_map_update_elem(Impl::fd(impl_->skeleton->maps.contract_samples), &slot, &mask, BPF_ANY);
    }
}

void ContractTracer::remove_process(std::int32_t pid) {
    impl_->probes.erase(pid);
    if (const auto process = impl_->read_process(pid)) {
        bpf_map_delete_elem(Impl::fd(impl_->skeleton->maps.contract_processes), &pid);
        impl_->slots.give_back(process->key);
    }
}

std::optional<mt_process_key> ContractTracer::adopt_image(std::int32_t pid) {
    const auto process = impl_->read_process(pid);
    if (!process) {
        return std::nullopt;
    }
    impl_->slots.advance(process->key);
    return process->key;
}

Status ContractTracer::attach(std::int32_t pid, std::uint16_t kind, const std::string& path, std::uint32_t object) {
    const auto cookie = kProbes[kind].cookie | MT_CONTRACT_COOKIE(0, 0, 0, 0, object);
    return impl_->hold(pid, impl_->skeleton->progs.contract_probe, kProbes[kind].name, path, cookie, {kind, object, {}});
}

void ContractTracer::detach(std::int32_t pid, std::uint16_t kind, std::uint32_t object) {
    impl_->release(pid, [&](const Held& held) { return held.kind == kind && held.object == object; });
}

Status ContractTracer::request_cleanup(std::int32_t pid, unsigned level, const std::string& path) {
    return impl_->hold(pid, impl_->skeleton->progs.contract_request, emergency_probe_name(level), path, 0, {});
}

void ContractTracer::end_cleanup(std::int32_t pid) {
    impl_->release(pid, [](const Held& held) { return held.kind == MT_CONTRACT_NONE; });
}

void ContractTracer::update_costs(std::uint64_t now_ns) {
    impl_->timer.update(now_ns);
}

double ContractTracer::program_ns() const {
    return impl_->timer.mean_ns(0);
}

ContractMaps ContractTracer::maps() const {
    ContractMaps maps{};
    find_maps(impl_->skeleton->obj, kContractMaps, maps);
    return maps;
}

mt_stack ContractTracer::read_stack(std::uint64_t key, std::uint64_t code) const {
    return read_stack_or_code(Impl::fd(impl_->skeleton->maps.contract_stacks), key, code);
}

void ContractTracer::forget_stacks(const std::set<std::uint64_t>& keys) {
    delete_keys(Impl::fd(impl_->skeleton->maps.contract_stacks), keys);
}

mt_counters ContractTracer::read_counters(mt_process_key process) const {
    return read_counter_map(Impl::fd(impl_->skeleton->maps.contract_counters), process);
}

int ContractTracer::records_fd() const {
    return impl_->ring.fd();
}

void ContractTracer::read_records(const std::function<void(std::span<const std::byte>)>& visit) {
    impl_->ring.consume(visit);
}

} // namespace memtrace
