#include "kernel/resource_tracer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/syscall.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "bpf/resources.skel.h"
#include "kernel/bpf_link.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/map_reader.hpp"
#include "kernel/process_slots.hpp"
#include "kernel/record_ring.hpp"

namespace memtrace {

namespace {

struct SkeletonCloser {
    void operator()(resources_bpf* skeleton) const { resources_bpf__destroy(skeleton); }
};

struct SyscallRole {
    long number;
    mt_syscall_role role;
};

constexpr SyscallRole kDescriptorCalls[] = {
#ifdef SYS_open // the old ones, which newer architectures do without
    {SYS_open, MT_SYSCALL_OPENS},
    {SYS_creat, MT_SYSCALL_OPENS},
    {SYS_epoll_create, MT_SYSCALL_OPENS},
    {SYS_eventfd, MT_SYSCALL_OPENS},
    {SYS_inotify_init, MT_SYSCALL_OPENS},
    {SYS_signalfd, MT_SYSCALL_OPENS_OTHER},
    {SYS_dup2, MT_SYSCALL_OPENS_OTHER},
    {SYS_pipe, MT_SYSCALL_OPENS_TWO},
#endif
    {SYS_openat, MT_SYSCALL_OPENS},
    {SYS_openat2, MT_SYSCALL_OPENS},
    {SYS_open_by_handle_at, MT_SYSCALL_OPENS},
    {SYS_socket, MT_SYSCALL_OPENS},
    {SYS_accept, MT_SYSCALL_OPENS},
    {SYS_accept4, MT_SYSCALL_OPENS},
    {SYS_dup, MT_SYSCALL_OPENS},
    {SYS_epoll_create1, MT_SYSCALL_OPENS},
    {SYS_eventfd2, MT_SYSCALL_OPENS},
    {SYS_timerfd_create, MT_SYSCALL_OPENS},
    {SYS_inotify_init1, MT_SYSCALL_OPENS},
    {SYS_fanotify_init, MT_SYSCALL_OPENS},
    {SYS_memfd_create, MT_SYSCALL_OPENS},
    {SYS_mq_open, MT_SYSCALL_OPENS},
    {SYS_pidfd_open, MT_SYSCALL_OPENS},
    {SYS_pidfd_getfd, MT_SYSCALL_OPENS},
    {SYS_perf_event_open, MT_SYSCALL_OPENS},
    {SYS_userfaultfd, MT_SYSCALL_OPENS},
    {SYS_io_uring_setup, MT_SYSCALL_OPENS},
    {SYS_open_tree, MT_SYSCALL_OPENS},
    {SYS_fsopen, MT_SYSCALL_OPENS},
    {SYS_fspick, MT_SYSCALL_OPENS},
    {SYS_fsmount, MT_SYSCALL_OPENS},
    {SYS_landlock_create_ruleset, MT_SYSCALL_OPENS},
    {SYS_signalfd4, MT_SYSCALL_OPENS_OTHER},
    {SYS_dup3, MT_SYSCALL_OPENS_OTHER},
    {SYS_fcntl, MT_SYSCALL_CONTROLS},
    {SYS_pipe2, MT_SYSCALL_OPENS_TWO},
    {SYS_socketpair, MT_SYSCALL_OPENS_PAIR},
    {SYS_recvmsg, MT_SYSCALL_RECEIVES},
    {SYS_close, MT_SYSCALL_CLOSES},
    {SYS_close_range, MT_SYSCALL_CLOSES_RANGE},
};

constexpr SyscallRole kTimerCalls[] = {
    {SYS_timer_create, MT_SYSCALL_ADDS_TIMER},
    {SYS_timer_delete, MT_SYSCALL_DROPS_TIMER},
};

} // namespace

struct ResourceTracer::Impl {
    std::unique_ptr<resources_bpf, SkeletonCloser> skeleton;
    std::vector<BpfLink> links;
    RecordRing ring;
    ProcessSlots slots;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { links.clear(); } // before the skeleton, which they are of

    [[nodiscard]] static int fd(const bpf_map* map) { return bpf_map__fd(map); }

    [[nodiscard]] std::optional<mt_resource_process> read_process(std::int32_t pid) const {
        mt_resource_process process{};
        if (bpf_map_lookup_elem(fd(skeleton->maps.resource_processes), &pid, &process) != 0) {
            return std::nullopt;
        }
        return process;
    }

    [[nodiscard]] std::vector<bpf_program*> programs(ResourceFamilies families) const {
        const auto& all = skeleton->progs;
        std::vector<bpf_program*> wanted{all.resources_exec};
        if ((families & (family_bit(MT_RESOURCE_DESCRIPTOR) | family_bit(MT_RESOURCE_TIMER))) != 0) {
            wanted.push_back(all.syscall_exit);
        }
        if ((families & family_bit(MT_RESOURCE_THREAD)) != 0) {
            wanted.insert(wanted.end(), {all.thread_begin, all.thread_end});
        }
        return wanted;
    }

    Status load(ResourceFamilies families, const ResourceLimits& limits, const std::optional<StackMaps>& maps) {
        skeleton.reset(resources_bpf__open());
        if (skeleton == nullptr) {
            return fail("the programs of the resources tier cannot be opened (" + libbpf_log_tail() + ")");
        }
        if (maps) {
            if (auto status = share_stack_maps(skeleton->obj, *maps); !status) {
                return status;
            }
        }
        for (auto* program : programs(families)) {
            bpf_program__set_autoload(program, true);
        }
        bpf_map__set_max_entries(skeleton->maps.resource_processes, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.resource_counters, limits.max_processes);
        bpf_map__set_max_entries(skeleton->maps.resource_stacks, limits.max_stacks);
        bpf_map__set_max_entries(skeleton->maps.resource_records, limits.ring_bytes);
        skeleton->rodata->max_frames = limits.max_frames;
        skeleton->rodata->wake_up_at = limits.ring_bytes / 4;
        const auto give_roles = [&](mt_resource_family family, std::span<const SyscallRole> calls) {
            for (const auto& [number, role] : calls) {
                skeleton->rodata->syscall_role[number] = (families & family_bit(family)) != 0 ? role : MT_SYSCALL_NOTHING;
            }
        };
        give_roles(MT_RESOURCE_DESCRIPTOR, kDescriptorCalls);
        give_roles(MT_RESOURCE_TIMER, kTimerCalls);
        if (resources_bpf__load(skeleton.get()) != 0) {
            return fail("the kernel refused the programs of the resources tier (" + libbpf_log_tail() + ")");
        }
        return {};
    }

    Status attach(ResourceFamilies families) {
        for (auto* program : programs(families)) {
            BpfLink link(bpf_program__attach(program));
            if (link == nullptr) {
                const int error = errno;
                return fail_errno(std::string("cannot attach to the tracepoint for ") + bpf_program__name(program), error);
            }
            links.push_back(std::move(link));
        }
        return {};
    }
};

ResourceTracer::ResourceTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ResourceTracer::~ResourceTracer() = default;
ResourceTracer::ResourceTracer(ResourceTracer&&) noexcept = default;
ResourceTracer& ResourceTracer::operator=(ResourceTracer&&) noexcept = default;

Result<ResourceTracer> ResourceTracer::load(ResourceFamilies families, const ResourceLimits& limits,
                                            const std::optional<StackMaps>& maps) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    if (auto status = impl->load(families, limits, maps); !status) {
        return tl::unexpected(status.error());
    }
    if (auto status = impl->attach(families); !status) {
        return tl::unexpected(status.error());
    }
    auto ring = RecordRing::open(impl->skeleton->maps.resource_records, "the records of the resources tier");
    if (!ring) {
        return tl::unexpected(ring.error());
    }
    impl->ring = std::move(*ring);
    impl->slots = ProcessSlots(limits.max_processes);
    return ResourceTracer(std::move(impl));
}

Result<mt_process_key> ResourceTracer::add_process(std::int32_t pid) {
    const auto key = impl_->slots.offer();
    if (!key) {
        return fail("the resources tier follows no more than " + std::to_string(impl_->slots.size()) + " processes");
    }
    zero_per_cpu<mt_counters>(Impl::fd(impl_->skeleton->maps.resource_counters), MT_PROCESS_SLOT(*key));
    const mt_resource_process process{*key, 1};
    if (bpf_map_update_elem(Impl::fd(impl_->skeleton->maps.resource_processes), &pid, &process, BPF_ANY) != 0) {
        return fail_errno("cannot register process " + std::to_string(pid), errno);
    }
    impl_->slots.take(*key);
    return *key;
}

void ResourceTracer::deactivate(std::int32_t pid) {
    if (auto process = impl_->read_process(pid)) {
        process->active = 0;
        bpf_map_update_elem(Impl::fd(impl_->skeleton->maps.resource_processes), &pid, &*process, BPF_EXIST);
    }
}

void ResourceTracer::remove_process(std::int32_t pid) {
    if (const auto process = impl_->read_process(pid)) {
        bpf_map_delete_elem(Impl::fd(impl_->skeleton->maps.resource_processes), &pid);
        impl_->slots.give_back(process->key);
    }
}

std::optional<mt_process_key> ResourceTracer::adopt_image(std::int32_t pid) {
    const auto process = impl_->read_process(pid);
    if (!process) {
        return std::nullopt;
    }
    impl_->slots.advance(process->key);
    return process->key;
}

mt_stack ResourceTracer::read_stack(std::uint64_t key, std::uint64_t code) const {
    return read_stack_or_code(Impl::fd(impl_->skeleton->maps.resource_stacks), key, code);
}

void ResourceTracer::forget_stacks(const std::set<std::uint64_t>& keys) {
    delete_keys(Impl::fd(impl_->skeleton->maps.resource_stacks), keys);
}

mt_counters ResourceTracer::read_counters(mt_process_key process) const {
    return read_counter_map(Impl::fd(impl_->skeleton->maps.resource_counters), process);
}

int ResourceTracer::records_fd() const {
    return impl_->ring.fd();
}

void ResourceTracer::read_records(const std::function<void(std::span<const std::byte>)>& visit) {
    impl_->ring.consume(visit);
}

} // namespace memtrace
