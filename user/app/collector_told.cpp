// Collector, the fourth part: heaps that programs tell of themselves.
#include <algorithm>

#include "app/collector.hpp"
#include "app/message.hpp"
#include "base/clock.hpp"

namespace memtrace {

namespace {

bool is_windowed(TraceMode mode) {
    return mode == TraceMode::windowed || mode == TraceMode::pages;
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

void Collector::note_told_interval(Followed& process, const mt_live_block& block) {
    if (process.told_interval.add(block.size, block.interval & ~MT_TOLD_WEIGHT)) {
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
