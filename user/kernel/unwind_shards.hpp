// The kernel half's shards: unwind tables and address spaces (bpf/unwind_table.h). A shard is a map of its own, as large as what it
// holds; it is visible to the kernel half whole or not at all. Putting one in, and taking one out, waits until no program is in the
// middle of a walk: some 10 ms. One thread at a time, but bytes().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

class UnwindShards {
public:
    /// `outer_fd`: the map of maps, of `capacity` entries; must outlive this. Shard 0 stays empty: MT_NO_SHARD.
    UnwindShards(int outer_fd, std::uint32_t capacity);

    /// Takes `count` numbers, which are then the caller's: to put something there, or to give them back by remove(). Numbers come again as
    /// late as can be: walks of a space are remembered by its number (bpf/recall.h).
    Result<std::vector<std::uint32_t>> take(std::size_t count);
    /// Makes a shard of each of `contents`, whole blocks, and puts them in together. Where it fails, none is there.
    Status put(const std::vector<std::uint32_t>& numbers, const std::vector<std::vector<std::uint32_t>>& contents);
    /// When it returns no walk looks at them any more, and the numbers may be taken again.
    void remove(const std::vector<std::uint32_t>& numbers);

    /// Memory of all shards. From any thread.
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

private:
    int outer_fd_;
    std::deque<std::uint32_t> free_;   ///< numbers; the one that was given back last comes last
    std::vector<std::uint64_t> sizes_; ///< by number
    std::atomic<std::uint64_t> bytes_{0};
};

} // namespace memtrace
