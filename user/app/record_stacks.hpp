// The stacks that the records of a tier name by the kernel half's keys: each is read once and told to the model. So its room in the kernel half
// can be given to another; one that comes again is kept there again, and forgotten again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/ids.hpp"

namespace memtrace {

class RecordStacks {
public:
    /// Of one image of a process that are told with all their addresses: programs find new ways to the same places as long as they run.
    static constexpr std::size_t kMostOfProcess = 65'536;

    /// Those of one image of a process.
    class Known {
        friend class RecordStacks;
        struct Entry {
            StackId id;
            std::uint32_t round = 0; ///< in which it was noted last
        };
        std::unordered_map<std::uint64_t, Entry> by_key_;
    };

    /// `room`: for how many stacks the kernel half has some.
    explicit RecordStacks(std::size_t room) : room_(room) {}

    /// The stack of a record that names `key`, 0: none was kept, and its innermost address `code`; none where that is 0. `tell(key)` makes it
    /// known to the model, by its innermost address alone where the key is 0.
    template <typename Tell>
    StackId find(Known& process, std::uint64_t key, std::uint64_t code, const Tell& tell) {
        if (code == 0) {
            return {};
        }
        auto& known = process.by_key_;
        const bool whole = key != 0 && (known.size() < kMostOfProcess || known.contains(key));
        // One by its innermost address alone goes by that, which is no hash of a stack.
        auto [entry, fresh] = known.try_emplace(whole ? key : code);
        auto& stack = entry->second;
        if (fresh) {
            stack.id = tell(whole ? key : 0);
        }
        if (key != 0 && (!whole || stack.round != round_)) {
            kept_.insert(key);
        }
        stack.round = round_;
        return stack.id;
    }

    /// Those that the kernel half is to forget now: none until half of its room is taken. No record that waits to be read may name one.
    std::set<std::uint64_t> take_to_forget() {
        if (kept_.size() < room_ / 2) {
            return {};
        }
        ++round_;
        return std::exchange(kept_, {});
    }

private:
    std::size_t room_;
    std::uint32_t round_ = 1;
    std::set<std::uint64_t> kept_; ///< that have been found in this round
};

} // namespace memtrace
