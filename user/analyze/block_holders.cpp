#include "analyze/block_holders.hpp"

#include <algorithm>

namespace memtrace {

namespace {

constexpr std::uint64_t kWord = sizeof(std::uint64_t);
constexpr std::size_t kMostLeads = std::size_t{1} << 22;
constexpr std::uint32_t kNobodyYet = kNoIndex;
constexpr std::uint32_t kMany = kNoIndex - 1; ///< or something that is no object
/// What some programs put into the upper bits of a pointer is no part of the address.
constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << 48) - 1;

} // namespace

BlockHolders::BlockHolders(const ReferenceLedger& ledger, std::vector<Block> blocks)
    : ledger_(ledger), objects_(ledger), blocks_(std::move(blocks)), holder_(blocks_.size(), kNobodyYet) {
    std::sort(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) { return a.start < b.start; });
    for (const auto& handle : ledger.handles()) {
        if (handle.object != kNoIndex && ledger.objects()[handle.object].state == TrackedObject::State::live) {
            slots_.push_back({handle.address, handle.object, handle.strong});
        }
    }
    std::sort(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) { return a.address < b.address; });
}

std::uint32_t BlockHolders::block_around(std::uint64_t address) const {
    const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), address,
                                        [](std::uint64_t value, const Block& block) { return value < block.start; });
    if (after == blocks_.begin() || address >= std::max((after - 1)->end, (after - 1)->start + 1)) {
        return kNoIndex;
    }
    return static_cast<std::uint32_t>(after - blocks_.begin() - 1);
}

bool BlockHolders::refers_to(std::uint64_t word, const TrackedObject& object) const {
    const auto block = block_around(object.address);
    return word == object.address || (block != kNoIndex && word >= blocks_[block].start && word < blocks_[block].end);
}

/// The handle that the word is part of: a pointer to the object, and in some a second one to what counts.
const BlockHolders::Slot* BlockHolders::slot_at(std::uint64_t address, std::span<const std::uint64_t> words,
                                                std::size_t i) const {
    const auto find = [&](std::uint64_t at) -> const Slot* {
        const auto first = std::lower_bound(slots_.begin(), slots_.end(), at,
                                            [](const Slot& slot, std::uint64_t a) { return slot.address < a; });
        const bool alone = first != slots_.end() && first->address == at && (first + 1 == slots_.end() || first[1].address != at);
        return alone ? &*first : nullptr;
    };
    const auto refers = [&](const Slot* slot, std::size_t at) {
        return at < words.size() && refers_to(words[at], ledger_.objects()[slot->object]);
    };
    if (const auto* slot = find(address)) { // another may be there by now: it must lead to its object
        return refers(slot, i) || refers(slot, i + 1) ? slot : nullptr;
    }
    if (const auto* slot = i == 0 ? nullptr : find(address - kWord)) {
        return refers(slot, i - 1) ? slot : nullptr;
    }
    return nullptr;
}

void BlockHolders::join(std::uint32_t block, std::uint32_t holder) {
    auto& known = holder_[block];
    if (holder == kNobodyYet || known == holder || known == kMany) {
        return;
    }
    known = known == kNobodyYet ? holder : kMany;
    changed_.push_back(block);
}

void BlockHolders::lead(std::uint64_t address, std::span<const std::uint64_t> words, std::size_t i, bool free_outside,
                        std::uint32_t to) {
    const auto from = block_around(address);
    if (const auto* slot = slot_at(address, words, i)) {
        if (slot->strong) { // who comes this way holds the object
            const bool is_static = block_around(ledger_.objects()[slot->object].address) == kNoIndex;
            join(to, is_static ? kMany : slot->object);
        }
        return;
    }
    if (const auto object = objects_.around(address); object != kNoIndex) {
        join(to, from == kNoIndex ? kMany : object); // a static object is a root
        return;
    }
    if (from == to || (from == kNoIndex && free_outside)) {
        return;
    }
    if (from == kNoIndex) {
        join(to, kMany);
    } else if (leads_.size() < kMostLeads) {
        leads_.push_back({from, to});
    } else {
        overflow_ = true;
    }
}

void BlockHolders::add_root(std::uint64_t word) {
    if (const auto block = block_around(word & kAddressMask); block != kNoIndex) {
        join(block, kMany);
    }
}

void BlockHolders::add_words(std::uint64_t address, std::span<const std::uint64_t> words, bool free_outside) {
    if (blocks_.empty()) {
        return;
    }
    const auto least = blocks_.front().start;
    const auto most = std::max(blocks_.back().end, blocks_.back().start + 1);
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto value = words[i] & kAddressMask;
        if (value < least || value >= most) {
            continue;
        }
        const auto to = block_around(value);
        if (to == kNoIndex) {
            continue;
        }
        if (value != words[i]) {
            join(to, kMany);
        } else {
            lead(address + i * kWord, words, i, free_outside, to);
        }
    }
}

void BlockHolders::spread() {
    while (!changed_.empty()) {
        const auto block = changed_.back();
        changed_.pop_back();
        const auto first = std::lower_bound(leads_.begin(), leads_.end(), block,
                                            [](const Lead& lead, std::uint32_t from) { return lead.from < from; });
        for (auto lead = first; lead != leads_.end() && lead->from == block; ++lead) {
            join(lead->to, holder_[block]);
        }
    }
}

/// What nobody is seen to lead to is held in some way that is not seen, and so is what it leads to.
bool BlockHolders::settle() {
    std::sort(leads_.begin(), leads_.end(), [](const Lead& a, const Lead& b) { return a.from < b.from; });
    spread();
    for (std::uint32_t block = 0; block < holder_.size(); ++block) {
        if (holder_[block] == kNobodyYet) {
            join(block, kMany);
        }
    }
    spread();
    return !overflow_;
}

std::vector<BlockHolders::Held> BlockHolders::held() const {
    std::vector<Held> held;
    const auto& handles = ledger_.handles();
    for (std::uint32_t i = 0; i < handles.size(); ++i) {
        const auto& handle = handles[i];
        if (handle.object == kNoIndex || !handle.strong || objects_.around(handle.address) != kNoIndex ||
            ledger_.storages().around(handle.address) != nullptr) {
            continue;
        }
        const auto block = block_around(handle.address);
        if (block != kNoIndex && holder_[block] < kMany) {
            held.push_back({i, holder_[block]});
        }
    }
    return held;
}

} // namespace memtrace
