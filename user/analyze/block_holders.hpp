// Which tracked object alone leads to a block of the heap: by all words that a process has in its memory and its registers. So the memory of
// containers, which nobody tells of, is known to be that of an object.
//
//   object [ list ] --> block <--> block [ handle ]      both blocks: the object's, as every word that leads there lies in it or in them
//                         ^
//   stack, global, register, another object, memory of which nothing is known: then it is nobody's
//
// A pure function of one look at a process that ran meanwhile. What it says holds where two looks say it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/references.hpp"

namespace memtrace {

class BlockHolders {
public:
    struct Block {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
    };
    /// A handle outside of objects in a block that only one object leads to.
    struct Held {
        std::uint32_t handle = kNoIndex;
        std::uint32_t owner = kNoIndex; ///< object
    };

    /// `blocks`: all that live, in any order.
    BlockHolders(const ReferenceLedger& ledger, std::vector<Block> blocks);

    /// A word in a register, or one that the kernel keeps.
    void add_root(std::uint64_t word);
    /// The words from `address` on. `free_outside`: what is in no block there is free memory, where old pointers mean nothing.
    void add_words(std::uint64_t address, std::span<const std::uint64_t> words, bool free_outside);
    /// After all of that. False: there was too much to follow, and nothing is known.
    [[nodiscard]] bool settle();
    /// In the order of the ledger's handles.
    [[nodiscard]] std::vector<Held> held() const;

private:
    struct Slot { ///< a word or two that are a handle
        std::uint64_t address;
        std::uint32_t object;
        bool strong;
    };
    struct Lead {
        std::uint32_t from;
        std::uint32_t to;
    };

    [[nodiscard]] std::uint32_t block_around(std::uint64_t address) const;
    [[nodiscard]] const Slot* slot_at(std::uint64_t address, std::span<const std::uint64_t> words, std::size_t i) const;
    [[nodiscard]] bool refers_to(std::uint64_t word, const TrackedObject& object) const;
    void lead(std::uint64_t address, std::span<const std::uint64_t> words, std::size_t i, bool free_outside, std::uint32_t to);
    void join(std::uint32_t block, std::uint32_t holder);
    void spread();

    const ReferenceLedger& ledger_;
    ObjectIndex objects_;
    std::vector<Block> blocks_; ///< ascending
    std::vector<Slot> slots_;   ///< ascending
    std::vector<std::uint32_t> holder_;
    std::vector<Lead> leads_;
    std::vector<std::uint32_t> changed_;
    bool overflow_ = false;
};

} // namespace memtrace
