// What a tier keeps of a process for the moment at which another image takes its place: the kernel half knows of the exec at once, the
// collector a little later, by another ring.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bpf/types.h"

namespace memtrace {

/// Records of an image whose exec has not been heard of yet. Bounded: news of an exec may be lost.
template <typename Record>
class EarlyRecords {
public:
    static constexpr std::size_t kMost = 1 << 14; ///< some milliseconds' worth

    void add(Record record) {
        if (records_.size() < kMost) {
            records_.push_back(std::move(record));
        } else {
            ++lost_;
        }
    }
    /// All that are there, which are then not any more.
    std::vector<Record> take() { return std::exchange(records_, {}); }
    [[nodiscard]] const std::vector<Record>& records() const { return records_; }
    /// For which there was no room, so far.
    [[nodiscard]] std::uint64_t lost() const { return lost_; }

private:
    std::vector<Record> records_;
    std::uint64_t lost_ = 0;
};

/// The kernel half goes on counting where another image takes the place of one: this takes off what was counted by the one before, as last
/// read. What was counted between that and the exec is the new image's then: it may be its own, and a loss must show.
class ImageCounters {
public:
    /// Adds what the image has counted. `all`: as the kernel half has it now.
    void add(const mt_counters& all, mt_counters& to) {
        last_ = all;
        for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
            to.value[i] += all.value[i] - std::min(all.value[i], before_.value[i]);
        }
    }
    void replace_image() { before_ = last_; }

private:
    mt_counters last_{};
    mt_counters before_{};
};

} // namespace memtrace
