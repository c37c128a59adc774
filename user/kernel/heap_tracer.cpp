#include "kernel/heap_tracer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/signal_guard.hpp"
#include "bpf/memtrace.skel.h"
#include "bpf/signature.h"
#include "kernel/dead_stacks.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/map_reader.hpp"
#include "kernel/pending_returns.hpp"
#include "kernel/probe_plan.hpp"
#include "kernel/process_slots.hpp"
#include "kernel/process_table.hpp"
#include "kernel/program_timer.hpp"
#include "kernel/record_ring.hpp"
#include "kernel/sampling_tables.hpp"
#include "kernel/unwind_shards.hpp"
#include "kernel/uprobe_link.hpp"

namespace memtrace {

namespace {

enum class ProbeRole : std::uint8_t { allocation, free, hook };

/// The probes of one object that run the same program.
struct ProgramTargets {
    ProbeRole role;
    int program_fd;
    UprobeTarget target;
    std::shared_ptr<const UniqueFd> file; ///< that target.path leads to
    std::vector<UniqueFd> links;          ///< empty: not attached now
};

/// Probes of one process, in the order of attaching.
struct AttachedProcess {
    bool used = false;
    std::int32_t pid = 0;
    std::vector<ProgramTargets> programs;
    bool allocations = true; ///< as watch() was told last
    bool frees = true;

    [[nodiscard]] bool wants(ProbeRole role) const {
        return role == ProbeRole::hook || (role == ProbeRole::free ? frees : allocations);
    }
};

/// The programs whose time counts, in the order in which the timer has them.
/// With sessions the second one serves returns too.
enum TimedProgram : std::size_t { kTimedFree, kTimedEnter, kTimedReturn };

} // namespace

struct HeapTracer::Impl {
    memtrace_bpf* skeleton = nullptr;
    ProcessTable slots;
    RecordRing ring;
    TracerLimits limits;
    AttachMethod method = AttachMethod::uprobe_multi;
    std::vector<AttachedProcess> processes; ///< by slot
    HitCosts costs;
    bool writes_user = false;
    ProbePlanner planner{LongNops::stepped};
    ProgramTimer timer;
    std::optional<UnwindShards> shards;
    // Images that have ended, and whose blocks and sites lie in the maps still: looking for them is a walk over a whole map.
    std::set<mt_process_key> dead_in_live;
    std::set<mt_process_key> dead_in_sites;
    std::uint64_t dead_calls = 0; ///< of dead_in_live, that may have left a block
    std::optional<DeadStacks> dead_stacks;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        const SignalGuard guard;
        processes.clear();
        ring = {};
        memtrace_bpf__destroy(skeleton);
    }

    [[nodiscard]] int fd(const bpf_map* map) const { return bpf_map__fd(map); }
    [[nodiscard]] ProgramCosts program_costs() const {
        const bool sessions = method == AttachMethod::uprobe_session;
        return {timer.mean_ns(kTimedEnter), timer.mean_ns(sessions ? kTimedEnter : kTimedReturn), timer.mean_ns(kTimedFree),
                sessions};
    }

    void make_overflow_site(mt_process_key key) {
        const std::uint64_t site_key = MT_OVERFLOW_SITE_KEY(key);
        mt_site overflow{};
        overflow.process = key;
        overflow.function = MT_SITE_OVERFLOW;
        bpf_map_update_elem(fd(skeleton->maps.sites), &site_key, &overflow, BPF_ANY);
    }

    void forget_stacks() {
        if (!dead_stacks->many()) {
            return;
        }
        dead_stacks->take_out();
        std::set<std::uint64_t> named;
        const auto status = read_map<std::uint64_t, mt_site>(fd(skeleton->maps.sites),
                                                             [&](auto, const mt_site& site) { named.insert(site.stack); });
        dead_stacks->settle(status ? &named : nullptr);
    }

    void configure() {
        bpf_map__set_max_entries(skeleton->maps.live, limits.max_live);
        bpf_map__set_max_entries(skeleton->maps.sites, limits.max_sites);
        bpf_map__set_max_entries(skeleton->maps.stacks, limits.max_stacks);
        bpf_map__set_max_entries(skeleton->maps.processes, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.slots, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.counters, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.unwind_shards, max_shards());
        skeleton->rodata->max_frames = limits.max_frames;
        skeleton->rodata->may_write_user = writes_user;
        fill_draws(skeleton->rodata->sample_draws);
        fill_weights(skeleton->rodata->sample_weights);
        const auto& progs = skeleton->progs;
        const bool sessions = method == AttachMethod::uprobe_session;
        bpf_program__set_autoload(progs.alloc_call, sessions);
        bpf_program__set_autoload(progs.alloc_enter, !sessions);
        bpf_program__set_autoload(progs.alloc_return, !sessions);
        if (method == AttachMethod::perf_event) {
            return;
        }
        for (auto* program : {progs.alloc_enter, progs.alloc_return, progs.free_enter, progs.unwind_enter, progs.jump_enter,
                              progs.library_changed}) {
            bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(kAttachTypeUprobeMulti));
        }
        bpf_program__set_expected_attach_type(progs.alloc_call, static_cast<bpf_attach_type>(kAttachTypeUprobeSession));
    }

    /// One for the ranges of each process, a new one beside the old one while it takes its place, and as many for tables; the rest so that a
    /// number comes again late (UnwindShards::take).
    [[nodiscard]] std::uint32_t max_shards() const { return 4 * limits.max_processes + 4096; }

    Status load() {
        skeleton = memtrace_bpf__open();
        if (skeleton == nullptr) {
            return fail_errno("cannot open the kernel half", errno);
        }
        configure();
        if (const int error = memtrace_bpf__load(skeleton); error != 0) {
            return fail_errno("the kernel refused the tracing programs (" + libbpf_log_tail() + ")", -error);
        }
        skeleton->links.process_exec = bpf_program__attach(skeleton->progs.process_exec);
        skeleton->links.process_fork = bpf_program__attach(skeleton->progs.process_fork);
        if (skeleton->links.process_exec == nullptr || skeleton->links.process_fork == nullptr) {
            return fail_errno("cannot follow process events", errno);
        }
        auto events = RecordRing::open(skeleton->maps.events, "process events");
        if (!events) {
            return tl::unexpected(events.error());
        }
        ring = std::move(*events);
        auto table = ProcessTable::map(fd(skeleton->maps.processes), limits.max_processes);
        if (!table) {
            return tl::unexpected(table.error());
        }
        slots = std::move(*table);
        processes.resize(limits.max_processes);
        dead_stacks.emplace(fd(skeleton->maps.stacks), limits.max_stacks);
        shards.emplace(fd(skeleton->maps.unwind_shards), max_shards());
        planner = ProbePlanner(costs.long_nops);
        const auto& progs = skeleton->progs;
        timer = method == AttachMethod::uprobe_session
                    ? ProgramTimer({bpf_program__fd(progs.free_enter), bpf_program__fd(progs.alloc_call)})
                    : ProgramTimer({bpf_program__fd(progs.free_enter), bpf_program__fd(progs.alloc_enter),
                                    bpf_program__fd(progs.alloc_return)});
        return {};
    }

    /// The programs for one object, in the order in which they must be attached: see HeapTracer::attach.
    [[nodiscard]] std::vector<ProgramTargets> plan(mt_process_key key, std::int32_t pid, const ProbeObject& object) {
        const UprobeTarget empty{pid, object.open_path, {}, {}, false, false};
        ProgramTargets unwinds{ProbeRole::hook, bpf_program__fd(skeleton->progs.unwind_enter), empty, object.fd, {}};
        ProgramTargets frees{ProbeRole::free, bpf_program__fd(skeleton->progs.free_enter), empty, object.fd, {}};
        ProgramTargets returns{ProbeRole::allocation, bpf_program__fd(skeleton->progs.alloc_return), empty, object.fd, {}};
        ProgramTargets entries{ProbeRole::allocation, bpf_program__fd(skeleton->progs.alloc_enter), empty, object.fd, {}};
        ProgramTargets calls{ProbeRole::allocation, bpf_program__fd(skeleton->progs.alloc_call), empty, object.fd, {}};
        ProgramTargets jumps{ProbeRole::hook, bpf_program__fd(skeleton->progs.jump_enter), empty, object.fd, {}};
        ProgramTargets libraries{ProbeRole::hook, bpf_program__fd(skeleton->progs.library_changed), empty, object.fd, {}};
        returns.target.is_return = true;
        calls.target.is_session = true;
        const auto add = [key](ProgramTargets& to, std::uint64_t entry, const Placement& placement,
                               const FunctionSignature& signature, std::uint16_t function) {
            const auto s = relocated(signature, placement);
            const auto slot = static_cast<std::uint16_t>(MT_PROCESS_SLOT(key));
            to.target.offsets.push_back(entry + placement.offset);
            to.target.cookies.push_back(mt_signature_pack({s.size, s.count, s.ptr, s.out, function, slot}) |
                                        (placement.cost == HitCost::stepped ? MT_COOKIE_STEPPED : 0));
        };
        const auto& placements = planner.plan(object);
        for (std::size_t i = 0; i < object.hooks.size(); ++i) {
            const auto& hook = object.hooks[i];
            auto& to = hook.kind == HookKind::unwind ? unwinds : hook.kind == HookKind::jump ? jumps : libraries;
            add(to, hook.file_offset, placements.hooks[i], {}, 0);
        }
        for (std::size_t i = 0; i < object.points.size(); ++i) {
            const auto& point = object.points[i];
            const auto& signature = function_table()[point.function];
            if (signature.is_free()) {
                add(frees, point.file_offset, placements.points[i], signature, point.function);
                continue;
            }
            const auto function = pack_function(point.function, object.label);
            if (method == AttachMethod::uprobe_session) {
                add(calls, point.file_offset, placements.points[i], signature, function);
                continue;
            }
            // Both at one place: one trap serves them.
            add(returns, point.file_offset, placements.points[i], signature, function);
            add(entries, point.file_offset, placements.points[i], signature, function);
        }
        std::vector<ProgramTargets> steps;
        for (auto* step : {&unwinds, &jumps, &frees, &calls, &returns, &entries, &libraries}) {
            if (!step->target.offsets.empty()) {
                steps.push_back(std::move(*step));
            }
        }
        return steps;
    }

    Status attach(ProgramTargets& step) const {
        auto links = attach_uprobes(step.program_fd, method, step.target);
        if (!links) {
            return tl::unexpected(links.error());
        }
        step.links = std::move(*links);
        return {};
    }
};

HeapTracer::HeapTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HeapTracer::~HeapTracer() = default;
HeapTracer::HeapTracer(HeapTracer&&) noexcept = default;
HeapTracer& HeapTracer::operator=(HeapTracer&&) noexcept = default;

Result<HeapTracer> HeapTracer::load(const TracerLimits& limits, AttachMethod method, const KernelFeatures& features) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    impl->limits = limits;
    impl->method = method;
    impl->costs = features.costs;
    impl->writes_user = features.writes_user;
    if (auto status = impl->load(); !status) {
        return tl::unexpected(status.error());
    }
    return HeapTracer(std::move(impl));
}

Result<mt_process_key> HeapTracer::add_process(std::int32_t pid, bool follow) {
    const auto free_slot = std::find_if(impl_->processes.begin(), impl_->processes.end(), [](const auto& p) { return !p.used; });
    if (free_slot == impl_->processes.end()) {
        return fail("more processes than this run can follow (" + std::to_string(impl_->limits.max_processes) + ")");
    }
    const auto slot = static_cast<std::uint32_t>(free_slot - impl_->processes.begin());
    auto& process = impl_->slots[slot];
    process = {next_process_key(process.key, slot), static_cast<std::uint32_t>(pid), 0, follow, 0, 0};
    if (bpf_map_update_elem(impl_->fd(impl_->skeleton->maps.slots), &process.tgid, &slot, BPF_ANY) != 0) {
        return fail_errno("cannot register process " + std::to_string(pid), errno);
    }
    impl_->make_overflow_site(process.key);
    zero_per_cpu<mt_counters>(impl_->fd(impl_->skeleton->maps.counters), slot);
    free_slot->used = true;
    free_slot->pid = pid;
    return process.key;
}

Status HeapTracer::attach(mt_process_key process, std::int32_t pid, const ProbeObject& object) {
    auto& attached = impl_->processes[MT_PROCESS_SLOT(process)];
    for (auto& step : impl_->plan(process, pid, object)) {
        if (auto status = attached.wants(step.role) ? impl_->attach(step) : Status(); !status) {
            return status;
        }
        attached.programs.push_back(std::move(step));
    }
    return {};
}

/// A signal that ends us while the kernel takes breakpoints out of the target makes it leave them there (until they are hit next).
Status HeapTracer::watch(mt_process_key process, bool allocations, bool frees) {
    const SignalGuard guard;
    auto& attached = impl_->processes[MT_PROCESS_SLOT(process)];
    attached.allocations = allocations;
    attached.frees = frees;
    // A block whose allocation is seen must not be freed unseen: frees come first and go last.
    for (const auto role : {ProbeRole::allocation, ProbeRole::free}) {
        for (auto& step : attached.programs) {
            if (step.role == role && !attached.wants(role)) {
                step.links.clear();
            }
        }
    }
    for (const auto role : {ProbeRole::free, ProbeRole::allocation}) {
        for (auto& step : attached.programs) {
            if (step.role != role || !attached.wants(role) || !step.links.empty()) {
                continue;
            }
            if (auto status = impl_->attach(step); !status) {
                return status;
            }
        }
    }
    return {};
}

bool HeapTracer::has_pending_returns(const std::vector<mt_process_key>& processes) const {
    std::set<std::uint32_t> tgids;
    for (const auto process : processes) {
        tgids.insert(impl_->slots[process].tgid);
    }
    return any_pending_return(impl_->skeleton->progs.list_returns, tgids);
}

void HeapTracer::activate(mt_process_key process) {
    impl_->timer.update(monotonic_ns());
    ProcessTable::store(impl_->slots[process].active, 1u);
}
void HeapTracer::deactivate(mt_process_key process) {
    ProcessTable::store(impl_->slots[process].active, 0u);
}

void HeapTracer::set_sampling(mt_process_key process, std::uint64_t interval) {
    ProcessTable::store(impl_->slots[process].interval, static_cast<__u64>(interval));
}

UnwindShards& HeapTracer::unwind_shards() {
    return *impl_->shards;
}

HeapMaps HeapTracer::heap_maps() const {
    HeapMaps maps{};
    find_maps(impl_->skeleton->obj, kHeapMaps, maps);
    return maps;
}

StackMaps HeapTracer::stack_maps() const {
    return stack_maps_of(impl_->skeleton->obj);
}

void HeapTracer::set_space(mt_process_key process, std::uint32_t shard) {
    ProcessTable::store(impl_->slots[process].space, static_cast<__u64>(MT_SPACE(process, shard)));
}

void HeapTracer::remove_process(mt_process_key process) {
    const std::uint32_t slot = MT_PROCESS_SLOT(process);
    deactivate(process);
    {
        const SignalGuard guard;
        impl_->processes[slot] = AttachedProcess{};
    }
    const auto tgid = impl_->slots[slot].tgid;
    bpf_map_delete_elem(impl_->fd(impl_->skeleton->maps.slots), &tgid);
    forget_image(process);
}

/// Its entries are in nobody's way, so they go when the maps are read anyway; at once where they may be many.
void HeapTracer::forget_image(mt_process_key process) {
    constexpr std::size_t kMostDead = 64;
    const std::uint64_t few_calls = impl_->limits.max_live / 16;
    const auto counters = read_counters(process);
    impl_->dead_in_live.insert(process);
    impl_->dead_in_sites.insert(process);
    impl_->dead_calls += counters.value[MT_COUNTER_hits_return] + counters.value[MT_COUNTER_told_heap_hits];
    if (impl_->dead_in_live.size() >= kMostDead || impl_->dead_calls > few_calls) {
        const auto ignore = [](const auto&, const auto&) {};
        (void)read_live(ignore);
        (void)read_sites(ignore);
    }
}

namespace {

/// As read_map, but entries of `dead` are deleted, and go to `bury` in the place of `visit`; then there are none.
template <typename Key, typename Value, typename Owner, typename Bury, typename Visit>
Status read_living(int map_fd, std::set<mt_process_key>& dead, const Owner& owner, const Bury& bury, const Visit& visit) {
    std::vector<Key> doomed;
    auto status = read_map<Key, Value>(map_fd, [&](const Key& key, const Value& value) {
        if (!dead.empty() && dead.contains(owner(key, value))) {
            doomed.push_back(key);
            bury(value);
        } else {
            visit(key, value);
        }
    });
    delete_keys(map_fd, doomed);
    if (status) {
        dead.clear();
    }
    return status;
}

} // namespace

void HeapTracer::adopt_key(mt_process_key process) {
    impl_->make_overflow_site(process);
}

Status HeapTracer::read_sites(const std::function<void(std::uint64_t, const mt_site&)>& visit) const {
    auto status = read_living<std::uint64_t, mt_site>(
        impl_->fd(impl_->skeleton->maps.sites), impl_->dead_in_sites, [](auto, const mt_site& site) { return site.process; },
        [this](const mt_site& site) { impl_->dead_stacks->add(site.stack); }, visit);
    impl_->forget_stacks();
    return status;
}

Status HeapTracer::read_live(const std::function<void(const mt_live_key&, const mt_live_block&)>& visit) const {
    auto status = read_living<mt_live_key, mt_live_block>(
        impl_->fd(impl_->skeleton->maps.live), impl_->dead_in_live, [](const mt_live_key& key, auto) { return key.process; },
        [](const auto&) {}, visit);
    impl_->dead_calls = status ? 0 : impl_->dead_calls;
    return status;
}

std::optional<std::vector<ThreadRegisters>> HeapTracer::read_threads(mt_process_key process) const {
    return read_thread_registers(impl_->skeleton->progs.list_threads, impl_->slots[process].tgid);
}

std::optional<mt_stack> HeapTracer::read_stack(std::uint64_t key) const {
    const auto stack = read_stack_map(impl_->fd(impl_->skeleton->maps.stacks), key);
    return stack ? stack : impl_->dead_stacks->find(key);
}

mt_counters HeapTracer::read_counters(mt_process_key process) const {
    return read_counter_map(impl_->fd(impl_->skeleton->maps.counters), process);
}

void HeapTracer::update_costs(std::uint64_t now_ns) {
    impl_->timer.update(now_ns);
}

ProbeCosts HeapTracer::probe_costs() const {
    const auto& costs = impl_->costs;
    const auto programs = impl_->program_costs();
    return {(programs.sessions ? costs.declined_ns : costs.emulated_ns) + programs.enter_ns, costs.return_ns + programs.return_ns,
            costs.emulated_ns + programs.free_ns, programs.sessions};
}

double HeapTracer::probe_ns(const mt_counters& before, const mt_counters& after, std::uint64_t cpu_ns,
                            const TierCosts& tiers) const {
    const auto hits = [&](mt_counter counter) { return static_cast<double>(after.value[counter] - before.value[counter]); };
    const HitCounts counts{hits(MT_COUNTER_hits_enter),   hits(MT_COUNTER_hits_return),   hits(MT_COUNTER_hits_free),
                           hits(MT_COUNTER_stepped_hits), hits(MT_COUNTER_contract_hits), hits(MT_COUNTER_told_heap_hits),
                           hits(MT_COUNTER_mapped_hits),  hits(MT_COUNTER_mapped_returns)};
    auto programs = impl_->program_costs();
    programs.told_ns = tiers.contract_ns;
    programs.told_heap_ns = tiers.told_heap_ns;
    programs.mapped_ns = tiers.mapped_ns;
    return probe_time_ns(impl_->costs, programs, counts, static_cast<double>(cpu_ns));
}

int HeapTracer::events_fd() const {
    return impl_->ring.fd();
}

void HeapTracer::read_events(const std::function<void(const mt_event&)>& visit) {
    impl_->ring.consume([&](std::span<const std::byte> record) {
        const auto* event = reinterpret_cast<const mt_event*>(record.data());
        if (record.size() >= sizeof(mt_event) && (event->kind != MT_EVENT_UNWIND || record.size() >= sizeof(mt_unwind_event))) {
            visit(*event);
        }
    });
}

mt_weight HeapTracer::weigh(const mt_live_block& block) const {
    mt_weight weight;
    mt_weigh(block.size, block.interval, impl_->skeleton->rodata->sample_weights, &weight);
    return weight;
}

std::uint64_t HeapTracer::kernel_bytes() const {
    std::uint64_t total = impl_->shards->bytes();
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, impl_->skeleton->obj) {
        std::ifstream info("/proc/self/fdinfo/" + std::to_string(bpf_map__fd(map)));
        for (std::string line; std::getline(info, line);) {
            if (line.rfind("memlock:", 0) == 0) {
                total += std::strtoull(line.c_str() + 8, nullptr, 10);
            }
        }
    }
    return total;
}

std::size_t HeapTracer::probes() const {
    std::size_t total = 0;
    for (const auto& process : impl_->processes) {
        for (const auto& step : process.programs) {
            total += step.links.empty() ? 0 : step.target.offsets.size();
        }
    }
    return total;
}

const TracerLimits& HeapTracer::limits() const {
    return impl_->limits;
}

} // namespace memtrace
