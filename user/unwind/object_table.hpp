// Finds the unwind information of an object and makes its table. Foreign bytes: elfutils finds the sections, sizes are limited; a
// hostile file costs time, never a crash. Reads the file; memory: the section, and its table. May be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "unwind/table.hpp"

namespace memtrace {

/// Sections larger than this are not read.
constexpr std::uint64_t kMaxFrameSection = std::uint64_t{256} << 20;

/// What says whether a cached table is of this very object; cheap to read.
struct ObjectIdentity {
    std::string build_id; ///< hex; empty: the object has none, and no table of it is cached
    std::uint64_t section_address = 0;
    std::uint64_t section_size = 0; ///< 0: no unwind information
    bool is_debug_frame = false;
    friend bool operator==(const ObjectIdentity&, const ObjectIdentity&) = default;
};

/// An object with unwind information, in a file or in memory. Move-only; does not own the file.
class UnwindObject {
public:
    /// `fd` must outlive this; its position is not used. Fails where it is no ELF file of this machine.
    static Result<UnwindObject> from_file(int fd);
    /// A whole ELF image, as the vDSO is.
    static Result<UnwindObject> from_memory(std::string image);

    [[nodiscard]] const ObjectIdentity& identity() const { return identity_; }
    /// Address as linked of a file offset in an executable segment; nothing where there is none.
    [[nodiscard]] std::optional<std::uint64_t> linked_address(std::uint64_t file_offset) const;
    /// Reads the section and compiles it. Nothing where it has none that makes sense.
    [[nodiscard]] std::optional<UnwindTable> build() const;

private:
    struct Segment {
        std::uint64_t file_offset;
        std::uint64_t file_size;
        std::uint64_t address;
    };
    UnwindObject() = default;
    static Result<UnwindObject> read(UnwindObject object);

    int fd_ = -1;
    std::string image_;
    ObjectIdentity identity_;
    std::uint64_t section_offset_ = 0;
    std::vector<Segment> segments_; ///< executable ones
};

} // namespace memtrace
