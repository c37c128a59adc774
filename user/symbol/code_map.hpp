// The executable bytes of an ELF file, by virtual address: what follows_call() looks at. Reads the file itself, a few bytes at a
// time, without libelf: it is asked for each frame of each new stack, before anything is known to be worth parsing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace memtrace {

class CodeMap {
public:
    /// Reads the program headers behind `fd`, which stays the caller's and must outlive the map. Files other than 64-bit
    /// little-endian ELF, or damaged ones, give an empty map.
    explicit CodeMap(int fd);

    [[nodiscard]] bool empty() const { return segments_.empty(); }
    [[nodiscard]] bool is_x86_64() const { return is_x86_64_; }

    /// True where `address` lies in an executable segment.
    [[nodiscard]] bool contains(std::uint64_t address) const { return segment_of(address) != nullptr; }

    /// The bytes right before `address`, at most out.size() of them, fewer at the start of a segment; placed at the start of `out`.
    /// Nothing where the file holds none.
    std::optional<std::size_t> read_before(std::uint64_t address, std::span<std::uint8_t> out) const;

    /// True where a call instruction may end at `address`: it does, or the architecture or the bytes are out of reach.
    [[nodiscard]] bool call_may_end_at(std::uint64_t address) const;

private:
    struct Segment {
        std::uint64_t address = 0;
        std::uint64_t memory_size = 0;
        std::uint64_t file_offset = 0;
        std::uint64_t file_size = 0;
    };
    [[nodiscard]] const Segment* segment_of(std::uint64_t address) const;

    int fd_;
    bool is_x86_64_ = false;
    std::vector<Segment> segments_; ///< executable ones, few
};

} // namespace memtrace
