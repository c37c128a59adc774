#include "kernel/page_tracer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "bpf/pages.skel.h"
#include "kernel/dead_stacks.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/map_reader.hpp"
#include "kernel/process_slots.hpp"
#include "kernel/record_ring.hpp"

namespace memtrace {

namespace {

struct SkeletonCloser {
    void operator()(pages_bpf* skeleton) const { pages_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<pages_bpf, SkeletonCloser>;

/// The parts that a kernel may offer one without the other.
struct Parts {
    bool resident = true;
    bool mappings = true;
};

constexpr const char* kMappingExits[] = {"sys_exit_mmap", "sys_exit_mremap", "sys_exit_brk"};

std::vector<bpf_program*> mapping_programs(const Skeleton& skeleton) {
    const auto& programs = skeleton->progs;
    return {programs.munmap_enter, programs.mremap_enter, programs.brk_enter, programs.mapping_exit};
}

Skeleton load_parts(const PageLimits& limits, const std::optional<StackMaps>& maps, const Parts& parts) {
    Skeleton skeleton(pages_bpf__open());
    if (skeleton == nullptr) {
        return nullptr;
    }
    bpf_program__set_autoload(skeleton->progs.pages_exec, true);
    bpf_program__set_autoload(skeleton->progs.resident_changed, parts.resident);
    for (auto* program : mapping_programs(skeleton)) {
        bpf_program__set_autoload(program, parts.mappings);
    }
    bpf_map__set_max_entries(skeleton->maps.page_processes, limits.max_processes);
    bpf_map__set_max_entries(skeleton->maps.page_locals, limits.max_processes);
    bpf_map__set_max_entries(skeleton->maps.page_counters, limits.max_processes);
    bpf_map__set_max_entries(skeleton->maps.page_sites, limits.max_sites);
    bpf_map__set_max_entries(skeleton->maps.page_stacks, limits.max_stacks);
    if (maps && !share_stack_maps(skeleton->obj, *maps)) {
        return nullptr;
    }
    skeleton->rodata->max_frames = limits.max_frames;
    skeleton->rodata->mmap_number = SYS_mmap;
    skeleton->rodata->mremap_number = SYS_mremap;
    skeleton->rodata->page_bytes = static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE));
    return pages_bpf__load(skeleton.get()) == 0 ? std::move(skeleton) : nullptr;
}

} // namespace

struct PageTracer::Impl {
    Skeleton skeleton;
    std::vector<bpf_link*> links;
    RecordRing ring;
    std::string source; ///< "touched memory, mmap, ..."
    ProcessSlots slots;
    std::optional<DeadStacks> dead_stacks;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        for (auto* link : links) {
            bpf_link__destroy(link);
        }
    }

    [[nodiscard]] static int fd(const bpf_map* map) { return bpf_map__fd(map); }

    bool attach(bpf_program* program) { return keep(bpf_program__attach(program)); }

    bool keep(bpf_link* link) {
        if (link != nullptr) {
            links.push_back(link);
        }
        return link != nullptr;
    }

    /// All of them or none: a part that sees mappings only begin would be worse than none.
    bool attach_all(const std::vector<bpf_program*>& programs) {
        const auto before = links.size();
        const auto attach_one = [this](bpf_program* program) {
            return program == skeleton->progs.mapping_exit
                       ? std::all_of(
                             std::begin(kMappingExits), std::end(kMappingExits),
                             [&](const char* exit) { return keep(bpf_program__attach_tracepoint(program, "syscalls", exit)); })
                       : attach(program);
        };
        if (std::all_of(programs.begin(), programs.end(), attach_one)) {
            return true;
        }
        std::for_each(links.begin() + static_cast<std::ptrdiff_t>(before), links.end(), bpf_link__destroy);
        links.resize(before);
        return false;
    }

    [[nodiscard]] Status attach_parts(const Parts& parts) {
        if (!attach(skeleton->progs.pages_exec)) {
            return fail_errno("cannot follow exec", errno);
        }
        if (parts.resident && attach_all({skeleton->progs.resident_changed})) {
            source = "touched memory";
        }
        if (parts.mappings && attach_all(mapping_programs(skeleton))) {
            source += std::string(source.empty() ? "" : ", ") + "mmap, munmap, mremap, brk";
        }
        return source.empty() ? fail_errno("no tracepoint of the pages tier can be attached", errno) : Status();
    }

    void make_overflow_site(mt_process_key key) {
        const std::uint64_t site_key = MT_PAGE_OVERFLOW_KEY(key);
        mt_page_site site{};
        site.process = key;
        bpf_map_update_elem(fd(skeleton->maps.page_sites), &site_key, &site, BPF_ANY);
    }

    void forget_sites(mt_process_key process) {
        erase_from_map<std::uint64_t, mt_page_site>(fd(skeleton->maps.page_sites), [&](auto, const auto& site) {
            if (site.process != process) {
                return false;
            }
            dead_stacks->add(site.stack);
            return true;
        });
    }
};

PageTracer::PageTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageTracer::~PageTracer() = default;
PageTracer::PageTracer(PageTracer&&) noexcept = default;
PageTracer& PageTracer::operator=(PageTracer&&) noexcept = default;

Result<PageTracer> PageTracer::load(const PageLimits& limits, const std::optional<StackMaps>& maps) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    Parts parts;
    for (const auto& attempt : {Parts{true, true}, Parts{true, false}, Parts{false, true}}) {
        impl->skeleton = load_parts(limits, maps, attempt);
        if (impl->skeleton != nullptr) {
            parts = attempt;
            break;
        }
    }
    if (impl->skeleton == nullptr) {
        return fail("the kernel refused the programs of the pages tier (" + libbpf_log_tail() + ")");
    }
    if (auto status = impl->attach_parts(parts); !status) {
        return tl::unexpected(status.error());
    }
    auto ring = RecordRing::open(impl->skeleton->maps.page_records, "the records of the pages tier");
    if (!ring) {
        return tl::unexpected(ring.error());
    }
    impl->ring = std::move(*ring);
    impl->slots = ProcessSlots(limits.max_processes);
    impl->dead_stacks.emplace(Impl::fd(impl->skeleton->maps.page_stacks), limits.max_stacks);
    return PageTracer(std::move(impl));
}

const std::string& PageTracer::source() const {
    return impl_->source;
}

Result<mt_process_key> PageTracer::add_process(std::int32_t pid) {
    const auto key = impl_->slots.offer();
    if (!key) {
        return fail("the pages tier follows no more than " + std::to_string(impl_->slots.size()) + " processes");
    }
    zero_per_cpu<mt_page_local>(Impl::fd(impl_->skeleton->maps.page_locals), MT_PROCESS_SLOT(*key));
    zero_per_cpu<mt_counters>(Impl::fd(impl_->skeleton->maps.page_counters), MT_PROCESS_SLOT(*key));
    mt_page_process process{};
    process.key = *key;
    impl_->make_overflow_site(process.key);
    if (bpf_map_update_elem(Impl::fd(impl_->skeleton->maps.page_processes), &pid, &process, BPF_ANY) != 0) {
        return fail_errno("cannot register process " + std::to_string(pid), errno);
    }
    impl_->slots.take(process.key);
    return process.key;
}

/// The kernel half writes its own fields at any time: the value goes in with what they were, so figures may lose what comes in between.
/// Hence only at the beginning, where there is none, and at the end, where none is wanted.
void PageTracer::set_active(std::int32_t pid, bool active) {
    if (auto process = read_process(pid)) {
        process->active = active;
        bpf_map_update_elem(Impl::fd(impl_->skeleton->maps.page_processes), &pid, &*process, BPF_EXIST);
    }
}

void PageTracer::remove_process(std::int32_t pid) {
    if (const auto process = read_process(pid)) {
        bpf_map_delete_elem(Impl::fd(impl_->skeleton->maps.page_processes), &pid);
        impl_->forget_sites(process->key);
        impl_->slots.give_back(process->key);
    }
}

std::optional<mt_process_key> PageTracer::adopt_image(std::int32_t pid) {
    const auto process = read_process(pid);
    if (!process) {
        return std::nullopt;
    }
    if (const auto last = impl_->slots.last(process->key); last != process->key) {
        impl_->forget_sites(last);
        impl_->make_overflow_site(process->key);
        impl_->slots.advance(process->key);
    }
    return process->key;
}

std::optional<mt_page_process> PageTracer::read_process(std::int32_t pid) const {
    mt_page_process process{};
    if (bpf_map_lookup_elem(Impl::fd(impl_->skeleton->maps.page_processes), &pid, &process) != 0) {
        return std::nullopt;
    }
    return process;
}

Status PageTracer::read_sites(const std::function<void(std::uint64_t, const mt_page_site&)>& visit) const {
    return read_map<std::uint64_t, mt_page_site>(Impl::fd(impl_->skeleton->maps.page_sites), visit);
}

mt_stack PageTracer::read_stack(std::uint64_t key, std::uint64_t code) const {
    const auto dead = impl_->dead_stacks->find(key);
    return dead ? *dead : read_stack_or_code(Impl::fd(impl_->skeleton->maps.page_stacks), key, code);
}

void PageTracer::forget_stack(std::uint64_t key) {
    impl_->dead_stacks->add(key);
}

void PageTracer::make_room(const std::function<std::set<std::uint64_t>()>& take_records) {
    auto& stacks = *impl_->dead_stacks;
    if (!stacks.many()) {
        return;
    }
    stacks.take_out();
    auto named = take_records();
    const auto status = read_sites([&](auto, const mt_page_site& site) { named.insert(site.stack); });
    stacks.settle(status ? &named : nullptr);
}

mt_counters PageTracer::read_counters(mt_process_key process) const {
    return read_counter_map(Impl::fd(impl_->skeleton->maps.page_counters), process);
}

int PageTracer::records_fd() const {
    return impl_->ring.fd();
}

void PageTracer::read_records(const std::function<void(const mt_page_record&)>& visit) {
    impl_->ring.consume([&](std::span<const std::byte> record) {
        if (record.size() >= sizeof(mt_page_record)) {
            visit(*reinterpret_cast<const mt_page_record*>(record.data()));
        }
    });
}

} // namespace memtrace
