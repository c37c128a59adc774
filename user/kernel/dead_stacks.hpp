// Stacks in a map of the kernel half that may be wanted no more: those of sites and records that are gone. Others may name the same ones, and the
// programs look a stack up, or store it, a moment before they make what names it. So stacks are taken out for good only when all that ran
// meanwhile have ended and nothing names them:
//
//   add ...      what is gone named it
//   take_out     copied, deleted; then the programs that run are waited for: what they have found or stored is named by now
//   settle       what is named goes back
//
// One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "base/result.hpp"
#include "bpf/types.h"

namespace memtrace {

/// Returns once all programs that ran when it was called have ended.
Status wait_for_programs();

class DeadStacks {
public:
    /// `map_fd`: stacks by their hashes, room for as many.
    DeadStacks(int map_fd, std::size_t room) : map_fd_(map_fd), room_(room) {}

    /// 0: none.
    void add(std::uint64_t key);
    /// So many that their room is worth the wait, some 20 ms.
    [[nodiscard]] bool many() const { return keys_.size() >= room_ / 8; }

    void take_out();
    /// One that is taken out; also later, where it found no room any more.
    [[nodiscard]] std::optional<mt_stack> find(std::uint64_t key) const;
    /// `named`: all stacks that anything names; null: that could not be found out, so all go back.
    void settle(const std::set<std::uint64_t>* named);

private:
    int map_fd_;
    std::size_t room_;
    std::set<std::uint64_t> keys_;
    std::map<std::uint64_t, mt_stack> copies_; ///< of those that are taken out
    bool waited_ = false;
};

} // namespace memtrace
