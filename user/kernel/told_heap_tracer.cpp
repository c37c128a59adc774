#include "kernel/told_heap_tracer.hpp"

#include <bpf/libbpf.h>

#include <cerrno>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "bpf/signature.h"
#include "bpf/told_heap.skel.h"
#include "kernel/bpf_link.hpp"
#include "kernel/libbpf_log.hpp"
#include "kernel/program_timer.hpp"
#include "kernel/stack_maps.hpp"

namespace memtrace {

namespace {

struct SkeletonCloser {
    void operator()(told_heap_bpf* skeleton) const { told_heap_bpf__destroy(skeleton); }
};

} // namespace

struct ToldHeapTracer::Impl {
    std::unique_ptr<told_heap_bpf, SkeletonCloser> skeleton;
    std::map<std::int32_t, std::vector<BpfLink>> held; ///< by process
    ProgramTimer timer;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    /// Probes first: detaching one takes what the skeleton holds.
    ~Impl() { held.clear(); }

    Status load(const HeapMaps& maps, std::uint32_t max_frames) {
        skeleton.reset(told_heap_bpf__open());
        if (skeleton == nullptr) {
            return fail("the programs for otel_memory cannot be opened (" + libbpf_log_tail() + ")");
        }
        if (auto status = share_maps(skeleton->obj, kHeapMaps, maps); !status) {
            return status;
        }
        // Of the heap's object alone: its own threads, and its events.
        bpf_map__set_autocreate(skeleton->maps.threads, false);
        bpf_map__set_autocreate(skeleton->maps.events, false);
        skeleton->rodata->max_frames = max_frames;
        if (told_heap_bpf__load(skeleton.get()) != 0) {
            return fail("the kernel refused the programs for otel_memory (" + libbpf_log_tail() + ")");
        }
        timer = ProgramTimer({bpf_program__fd(skeleton->progs.told_alloc), bpf_program__fd(skeleton->progs.told_free)});
        return {};
    }
};

ToldHeapTracer::ToldHeapTracer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ToldHeapTracer::~ToldHeapTracer() = default;
ToldHeapTracer::ToldHeapTracer(ToldHeapTracer&&) noexcept = default;
ToldHeapTracer& ToldHeapTracer::operator=(ToldHeapTracer&&) noexcept = default;

Result<ToldHeapTracer> ToldHeapTracer::load(const HeapMaps& maps, std::uint32_t max_frames) {
    capture_libbpf_log();
    auto impl = std::make_unique<Impl>();
    if (auto status = impl->load(maps, max_frames); !status) {
        return tl::unexpected(status.error());
    }
    return ToldHeapTracer(std::move(impl));
}

Status ToldHeapTracer::attach(mt_process_key process, std::int32_t pid, const std::string& path, std::uint16_t function) {
    mt_signature signature{};
    signature.function = function;
    signature.slot = static_cast<std::uint16_t>(MT_PROCESS_SLOT(process));
    const bpf_program* const programs[] = {impl_->skeleton->progs.told_free, impl_->skeleton->progs.told_alloc};
    std::vector<BpfLink> links;
    for (std::size_t i = 0; i < kToldHeapProbes.size(); ++i) {
        auto link = attach_usdt(programs[i], pid, path, kToldHeapProvider, kToldHeapProbes[i], mt_signature_pack(signature));
        if (!link) {
            return tl::unexpected(link.error());
        }
        links.push_back(std::move(*link));
    }
    auto& held = impl_->held[pid];
    std::move(links.begin(), links.end(), std::back_inserter(held));
    return {};
}

void ToldHeapTracer::remove_process(std::int32_t pid) {
    impl_->held.erase(pid);
}

void ToldHeapTracer::update_costs(std::uint64_t now_ns) {
    impl_->timer.update(now_ns);
}

/// An allocation takes its stack, a free does not: they come in pairs, in the long run.
double ToldHeapTracer::program_ns() const {
    const double alloc_ns = impl_->timer.mean_ns(0);
    const double free_ns = impl_->timer.mean_ns(1);
    return free_ns > 0 && alloc_ns > 0 ? (alloc_ns + free_ns) / 2 : alloc_ns + free_ns;
}

} // namespace memtrace
