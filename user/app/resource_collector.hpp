// Descriptors, threads and timers that the kernel gives to the processes followed, turned into events: the part of the collector that looks
// at the resources tier. What was there before, and what went or came unheard, is found in /proc. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "app/image_change.hpp"
#include "app/record_stacks.hpp"
#include "base/result.hpp"
#include "kernel/resource_tracer.hpp"
#include "model/events.hpp"
#include "model/held_resources.hpp"

namespace memtrace {

/// "descriptors, threads, timers", or a part of it.
std::string family_names(ResourceFamilies families);

class ResourceCollector {
public:
    using Sink = std::function<void(const Event&)>;
    /// Makes a stack of a process known to the model.
    using InternStack = std::function<StackId(std::int32_t pid, const mt_stack&)>;

    /// `tracer`, which tells of `families`, must outlive this.
    ResourceCollector(ResourceTracer& tracer, ResourceFamilies families, Sink sink, InternStack intern)
        : tracer_(tracer), families_(families), sink_(std::move(sink)), intern_(std::move(intern)) {}

    /// Follows a process that the model knows as `id`, and tells what it holds already.
    Status follow(std::int32_t pid, ProcessId id);
    /// The process has execed, and goes on as `id`.
    void follow_image(std::int32_t pid, ProcessId id);
    void deactivate(std::int32_t pid);
    void end(std::int32_t pid);

    /// Takes the records that wait, and tells what they say.
    void read_records();
    /// The same, then looks whether /proc agrees.
    void tick();
    /// Adds this tier's counters to those of the heap.
    void add_counters(std::int32_t pid, mt_counters& counters);

    [[nodiscard]] int records_fd() const { return tracer_.records_fd(); }

private:
    struct Followed {
        ProcessId id;
        mt_process_key key = 0;
        bool active = true;
        std::array<std::optional<HeldResources>, MT_RESOURCE_FAMILIES> held; ///< none: not followed
        RecordStacks::Known stacks;
        EarlyRecords<mt_named_resource_record> early;
        ImageCounters counters;
        std::uint64_t found = 0; ///< that were not heard of
        std::uint64_t descriptor_limit = 0;
        bool look = false;      ///< a record asks for it
        unsigned disagreed = 0; ///< ticks in a row in which /proc counted otherwise
        std::uint64_t records_lost = 0;
    };
    using Moving = std::array<std::unordered_set<std::uint32_t>, MT_RESOURCE_FAMILIES>;

    void begin(std::int32_t pid, Followed& process, ProcessId id, mt_process_key key);
    void tell_started(std::int32_t pid, Followed& process);
    /// Takes the records that wait: those of images heard of go to `visit`.
    void drain(const std::function<void(std::int32_t, Followed&, const mt_named_resource_record&)>& visit);
    void apply(std::int32_t pid, Followed& process, const mt_named_resource_record& record);
    StackId stack_of(std::int32_t pid, Followed& process, const mt_resource_record& head);
    /// Tells what /proc has and this has not, or the other way. Returns how many these are.
    std::uint64_t compare(std::int32_t pid, Followed& process);
    bool should_look(std::int32_t pid, Followed& process);

    ResourceTracer& tracer_;
    ResourceFamilies families_;
    Sink sink_;
    InternStack intern_;
    std::map<std::int32_t, Followed> followed_;
    RecordStacks stacks_{ResourceLimits{}.max_stacks};
    std::uint64_t ticks_ = 0;
};

} // namespace memtrace
