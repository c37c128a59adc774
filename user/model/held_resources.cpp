#include "model/held_resources.hpp"

namespace memtrace {

void HeldResources::tell(ResourceAction action, const std::string& kind, std::uint32_t id, const std::string& name,
                         const ContractOrigin& origin) {
    tell_({origin, action, kind, id, 0, 0, name, 0, 0, true});
}

void HeldResources::acquired(std::uint32_t id, const About& about, const ContractOrigin& origin) {
    auto [entry, fresh] = held_.try_emplace(id);
    auto& held = entry->second;
    if (!fresh && !held.announced) {
        if (origin.mono_ns < held.since_ns) {
            return; // two threads made the number anew by dup2, and were heard in the other order
        }
        tell(ResourceAction::released, held.kind, id, "", {origin.process, origin.mono_ns, origin.tid, {}});
    } else if (!fresh && held.kind != about.kind) { // announced as another kind: that one has gone
        tell(ResourceAction::released, held.kind, id, "", {origin.process, origin.mono_ns, origin.tid, {}});
    }
    held = {about.kind, origin.mono_ns, false};
    tell(ResourceAction::acquired, about.kind, id, about.name, origin);
}

void HeldResources::released(std::uint32_t id, const ContractOrigin& origin) {
    const auto found = held_.find(id);
    if (found == held_.end() || origin.mono_ns < found->second.since_ns) {
        return;
    }
    tell(ResourceAction::released, found->second.kind, id, "", origin);
    held_.erase(found);
}

std::uint64_t HeldResources::compare(const std::vector<std::uint32_t>& listed, const std::unordered_set<std::uint32_t>& moving,
                                     const ContractOrigin& origin, const Describe& describe) {
    std::uint64_t found_out = 0;
    const std::unordered_set<std::uint32_t> there(listed.begin(), listed.end());
    std::vector<std::uint32_t> gone;
    for (const auto& [id, held] : held_) {
        if (!there.contains(id) && !moving.contains(id)) {
            gone.push_back(id);
        }
    }
    for (const auto id : gone) {
        tell(ResourceAction::released, held_[id].kind, id, "", origin);
        held_.erase(id);
        ++found_out;
    }
    for (const auto id : listed) {
        if (held_.contains(id) || moving.contains(id)) {
            continue;
        }
        if (const auto about = describe(id); !about.kind.empty()) {
            held_[id] = {about.kind, origin.mono_ns, true};
            tell(ResourceAction::alive, about.kind, id, about.name, origin);
            ++found_out;
        }
    }
    return found_out;
}

} // namespace memtrace
