// Collector, the fourth part: heaps that programs tell of themselves.
#include <algorithm>
#include <cmath>

#include "app/collector.hpp"
#include "app/message.hpp"
#include "base/clock.hpp"

namespace memtrace {

namespace {

bool is_windowed(TraceMode mode) {
    return mode == TraceMode::windowed || mode == TraceMode::pages;
}

/// The mean distance of samples of which a block of `size` bytes stands for `weight`: weight = size / (1 - exp(-size / interval)). 0 where
/// it would have been kept for certain.
std::uint64_t told_interval(std::uint64_t size, std::uint64_t weight) {
    const double kept = static_cast<double>(size) / static_cast<double>(weight);
    return size == 0 || size >= weight ? 0
                                       : static_cast<std::uint64_t>(std::lround(-static_cast<double>(size) / std::log1p(-kept)));
}

} // namespace

void Collector::watch_told_heaps(ToldHeap::Load load) {
    told_.emplace(std::move(load), pack_function(kToldFunctionIndex, allocator_index(kToldAllocator)));
}

bool Collector::prefers_told(const Followed& process, bool has_libraries) const {
    if (options_.allocator != "auto") {
        return options_.allocator == kToldAllocator;
    }
    return is_windowed(knobs_.mode) || (has_libraries && process.started.sources.empty());
}

Status Collector::look_for_told_heap(std::int32_t pid, Followed& process, const std::vector<Mapping>& mappings,
                                     bool has_libraries) {
    if (!told_) {
        return {};
    }
    const auto known = told_->sources(pid).size();
    auto status = told_->look(pid, process.key, mappings);
    if (status && told_->can_listen(pid) && prefers_told(process, has_libraries)) {
        status = listen(pid, process);
        if (!status && options_.allocator != kToldAllocator) { // probes on its allocator do
            say("process " + std::to_string(pid) +
                " tells of its heap itself, and cannot be listened to: " + status.error().message);
            return {};
        }
        return status;
    }
    const auto sources = told_->sources(pid);
    process.started.sources.insert(process.started.sources.end(), sources.begin() + static_cast<std::ptrdiff_t>(known),
                                   sources.end());
    return status;
}

Status Collector::listen(std::int32_t pid, Followed& process) {
    if (auto status = told_->listen(pid, process.key); !status) {
        return status;
    }
    const auto sources = told_->sources(pid);
    process.started.sources.insert(process.started.sources.end(), sources.begin(), sources.end());
    process.unwatched_ns = monotonic_ns(); // what probes on its allocator have seen may be freed unseen
    return set_probes(pid, process);
}

/// Told of as soon as the records say more than is known, by a hundredth: the last bits are those of rounded weights.
void Collector::note_told_interval(Followed& process, const mt_live_block& block) {
    const auto interval = told_interval(block.size, block.interval & ~MT_TOLD_WEIGHT);
    if (interval > process.told_interval + process.told_interval / 100) {
        process.told_interval = interval;
        tell_mode(process);
    }
}

/// The probes of otel_memory lie in the allocator, not in what calls it: takes off the frames in the library that told, where it is one.
void Collector::cut_to_caller(std::int32_t pid, Followed& process, mt_stack& stack) {
    const auto library = locate(pid, process, stack.address[0]);
    if (!library || !library->module || library->module == process.program) {
        return;
    }
    std::uint32_t inside = 1;
    for (; inside < stack.depth; ++inside) {
        const auto frame = locate(pid, process, stack.address[inside]);
        if (!frame || frame->module != library->module) {
            break;
        }
    }
    if (inside == stack.depth) {
        return; // it is all there is
    }
    stack.depth -= inside;
    stack.certain = static_cast<std::uint16_t>(stack.certain - std::min<std::uint32_t>(stack.certain, inside));
    std::copy_n(stack.address + inside, stack.depth, stack.address);
}

} // namespace memtrace
