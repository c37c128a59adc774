// Who has which slot of a kernel half's tables, and the key that goes with it (bpf/types.h). One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "bpf/types.h"

namespace memtrace {

/// The key of the slot's next owner, after one whose key was `last`; 0 = it had none.
constexpr mt_process_key next_process_key(mt_process_key last, std::uint32_t slot) {
    return ((last & ~0xffffu) + 0x10000u) | slot;
}

/// Generations never repeat: what is left of a slot's last owner is not taken for the next one's.
class ProcessSlots {
public:
    explicit ProcessSlots(std::size_t count = 0) : used_(count), last_(count) {}

    [[nodiscard]] std::size_t size() const { return used_.size(); }
    /// A key for a process to come, of a slot that is free; nothing where none is. Its own with take().
    [[nodiscard]] std::optional<mt_process_key> offer() const {
        const auto free = std::find(used_.begin(), used_.end(), false);
        if (free == used_.end()) {
            return std::nullopt;
        }
        const auto slot = static_cast<std::uint32_t>(free - used_.begin());
        return next_process_key(last_[slot], slot);
    }
    void take(mt_process_key key) {
        used_[MT_PROCESS_SLOT(key)] = true;
        advance(key);
    }
    /// The key that the slot's owner was known by last.
    [[nodiscard]] mt_process_key last(mt_process_key key) const { return last_[MT_PROCESS_SLOT(key)]; }
    /// An exec has given it this one.
    void advance(mt_process_key key) { last_[MT_PROCESS_SLOT(key)] = key; }
    void give_back(mt_process_key key) {
        advance(key);
        used_[MT_PROCESS_SLOT(key)] = false;
    }

private:
    std::vector<bool> used_;           ///< by slot
    std::vector<mt_process_key> last_; ///< by slot
};

} // namespace memtrace
