// What the kernel has given to a process and not taken back: descriptors, threads, timers, by number. Turns what is heard of them, by
// records and by a look at /proc, into what the model is told (ResourceTold): each is acquired or announced, then released, in that
// order. Passive, no I/O; one thread owns it.
//
//   a number is acquired     it was free: or it was released unheard, which the kernel knows better
//   ... over an announced    the same one, heard of late
//   a number is released     before it was acquired last: of the one before, which is known to have gone
//   /proc does not have it   it has gone unheard
//   /proc alone has it       announced: its site is not known
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/contract_events.hpp"

namespace memtrace {

class HeldResources {
public:
    using Tell = std::function<void(const ResourceTold&)>;
    struct About {
        std::string kind;
        std::string name;
    };
    /// What is known of a number that /proc has; an empty kind: it has gone meanwhile.
    using Describe = std::function<About(std::uint32_t id)>;

    explicit HeldResources(Tell tell) : tell_(std::move(tell)) {}

    void acquired(std::uint32_t id, const About& about, const ContractOrigin& origin);
    void released(std::uint32_t id, const ContractOrigin& origin);
    /// /proc has `listed`, after the moment of `origin`. Those in `moving` were heard of while it was read: what was heard goes. Returns
    /// how many were not as they were known.
    std::uint64_t compare(const std::vector<std::uint32_t>& listed, const std::unordered_set<std::uint32_t>& moving,
                          const ContractOrigin& origin, const Describe& describe);
    [[nodiscard]] std::size_t size() const { return held_.size(); }

private:
    struct Held {
        std::string kind;
        std::uint64_t since_ns = 0;
        bool announced = false;
    };

    void tell(ResourceAction action, const std::string& kind, std::uint32_t id, const std::string& name,
              const ContractOrigin& origin);

    Tell tell_;
    std::unordered_map<std::uint32_t, Held> held_;
};

} // namespace memtrace
