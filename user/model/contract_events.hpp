// The events of the contract tier: what a program tells of itself by probes (include/memtrace/probes.h, and recipes for programs that
// have probes of their own). Part of the stream of model/events.hpp, and as they are. Every one is told, in the order in which it happened,
// unless references are sampled or a counter of the kernel half says that some were lost.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace memtrace {

/// The contract tier follows the process too: nothing else is told of objects, references, resources and pools where this is not.
struct ContractStarted {
    ProcessId process;
    std::vector<std::string> sources; ///< which probes, for people
    /// Objects, and with each all that happens to it: a power of two. Told again when it changes; what is in a sample is in all larger ones.
    std::uint32_t sampled_one_in = 1;
};

/// Where and when something was told.
struct ContractOrigin {
    ProcessId process;
    std::uint64_t mono_ns = 0;
    std::int32_t tid = 0;
    StackId stack; ///< none: it could not be kept
    friend bool operator==(const ContractOrigin&, const ContractOrigin&) = default;
};

enum class ObjectAction : std::uint8_t {
    created,
    alive, ///< announced: it has existed since before tracing
    destroyed
};

struct ObjectTold {
    ContractOrigin origin;
    ObjectAction action = ObjectAction::created;
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;  ///< 0 where it is destroyed
    std::string type;         ///< empty where it is destroyed
    std::uint64_t strong = 0; ///< alive: references that it has
    std::uint64_t weak = 0;
};

enum class ReferenceAction : std::uint8_t { acquired, released, moved };

struct ReferenceTold {
    ContractOrigin origin;
    ReferenceAction action = ReferenceAction::acquired;
    std::uint64_t object = 0; ///< its address
    std::uint64_t handle = 0; ///< address of the pointer that holds it (moved: from now on)
    std::uint64_t from = 0;   ///< moved: the handle that held it before
    bool strong = true;
    std::uint64_t count = 0; ///< of its kind that the object has now, as the program says. Not told of `moved`
};

enum class StorageAction : std::uint8_t { acquired, released, moved };

/// Memory, a container's, that nothing leads to but what lies at `holder`.
struct StorageTold {
    ContractOrigin origin;
    StorageAction action = StorageAction::acquired;
    std::uint64_t address = 0; ///< of the memory; 0 where it is moved
    std::uint64_t bytes = 0;   ///< acquired
    std::uint64_t holder = 0;  ///< acquired, moved: from now on; 0: nobody is known
    std::uint64_t from = 0;    ///< moved: the holder of all of it before
};

enum class ResourceAction : std::uint8_t { acquired, alive, touched, released };

struct ResourceTold {
    ContractOrigin origin;
    ResourceAction action = ResourceAction::acquired;
    std::string kind;
    std::uint64_t id = 0;     ///< unique within the kind while the resource lives
    std::uint64_t parent = 0; ///< id of the resource, of any kind, that it belongs to; 0 = none
    std::uint64_t bytes = 0;
    std::string name;
    std::uint64_t age_ns = 0;  ///< alive: held since so long before
    std::uint64_t idle_ns = 0; ///< alive: last used so long before
    bool of_kernel = false;    ///< the kernel gave it out: a descriptor, a thread, a timer. Seen there, not told by the program
};

/// The resources tier follows the process too: resources of the kernel are told.
struct ResourcesStarted {
    ProcessId process;
    std::vector<std::string> sources;   ///< which, for people
    std::uint64_t descriptor_limit = 0; ///< descriptors that it may have at once, 0 = not known. Told again when it changes
};

/// What is known of a kind of resources beforehand. Kinds of which it is not told belong to the thread that acquires, have no limits, and
/// everything of them is told.
struct ResourceKindDefined {
    ProcessId process;
    std::string kind;
    std::uint64_t max_age_ns = 0;  ///< held for longer is reported; 0 = no limit
    std::uint64_t max_idle_ns = 0; ///< unused for longer is reported; 0 = no limit
    bool complete = true;          ///< all that acquires and releases is told: a second release is an error, not a gap
    bool acquirer_owns = true;     ///< else a resource belongs to nobody until it is used
};

/// When resources are said to be leaked or unusually old, of all processes of the run. Told where it is other than this. Durations in ns.
struct ResourceThresholds {
    /// Released ones of the kind, at least. Fewer have no 99th percentile: it would be the oldest of them.
    std::uint64_t min_released = 100;
    /// Older, and longer unused, than so many times the 99th percentile of the kind's own. Lifetimes have long tails, a log-normal one
    /// with a sigma of 1 has one in 50,000 beyond 6 times its 99th percentile: our choice, on the safe side.
    double factor = 10;
    /// However short-lived the kind is.
    std::uint64_t min_age_ns = 60'000'000'000;
    /// After the end of its thread or its parent, and of a pool without anything put back: no less than threads take to tell.
    std::uint64_t settle_ns = 2'000'000'000;
    /// Releases of the kind, none of them after the end of a thread or parent, that make one that is held then a sure leak.
    std::uint64_t sure_released = 8;
    /// Fewer acquired at one place are no trend.
    std::uint64_t min_acquired = 10;
    /// Where most are released, numbers go up and down with the load: a rise must be so sure, and last so long, to be suspected.
    double busy_p = 1e-6;
    double busy_s = 60;
    bool operator==(const ResourceThresholds&) const = default;
};

enum class PoolAction : std::uint8_t { got, put, waited, limited };

struct PoolTold {
    ContractOrigin origin;
    PoolAction action = PoolAction::got;
    std::uint64_t pool = 0; ///< its address
    std::string name;
    std::uint64_t in_use = 0;
    std::uint64_t limit = 0; ///< 0 = none
};

/// An emergency cleanup, asked for by a tracer, began or ended.
struct CleanupTold {
    ContractOrigin origin;
    bool ended = false;
    std::uint32_t level = 0;    ///< 1 low, 2 high, 3 critical
    std::uint64_t bytes = 0;    ///< to be freed; ended: freed
    std::uint64_t released = 0; ///< ended: so many resources
};

/// A thread of a process that the contract tier follows has ended. What it held and did not give back is nobody's.
struct ThreadEnded {
    ProcessId process;
    std::uint64_t mono_ns = 0;
    std::int32_t tid = 0;
};

/// Where handles lie and what they mean for who holds whom, looked up for a report. Replaces what was told of that handle before.
enum class HandlePlace : std::uint8_t {
    unknown,
    root,  ///< a stack, a global, a register: it holds whatever the program does
    object ///< in `owner`, a tracked object, or in memory that only `owner` leads to
};

struct HandlePlaced {
    ProcessId process;
    std::uint64_t handle = 0;
    HandlePlace place = HandlePlace::unknown;
    std::uint64_t owner = 0; ///< address of the tracked object
};

} // namespace memtrace
