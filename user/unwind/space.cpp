#include "unwind/space.hpp"

#include <algorithm>
#include <cstring>

namespace memtrace {

std::vector<std::uint32_t> encode_space(const std::vector<mt_unwind_range>& ranges) {
    std::vector<mt_unwind_range> kept;
    for (const auto& range : ranges) {
        if (!kept.empty() && range.state != MT_RANGE_READY && kept.back().state == range.state &&
            kept.back().end == range.start) {
            kept.back().end = range.end;
        } else if (kept.size() < MT_MAX_RANGES) {
            kept.push_back(range);
        }
    }
    constexpr std::size_t kPerBlock = MT_BLOCK_WORDS / MT_RANGE_WORDS;
    const std::size_t blocks = 1 + (kept.size() + kPerBlock - 1) / kPerBlock;
    std::vector<std::uint32_t> words(blocks * MT_BLOCK_WORDS);
    words[0] = static_cast<std::uint32_t>(kept.size());
    if (!kept.empty()) {
        std::memcpy(words.data() + MT_BLOCK_WORDS, kept.data(), kept.size() * sizeof(mt_unwind_range));
    }
    return words;
}

} // namespace memtrace
