// Finds the unwind information of an object and makes its table: of .eh_frame, and of .debug_frame, compressed or not, for code that the
// first says nothing of. Foreign bytes: elfutils finds and unpacks the sections, sizes are limited; a hostile file costs time, never a
// crash. Reads the file; memory: the sections, and their table. May be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "proc/elf_handle.hpp"
#include "unwind/table.hpp"

namespace memtrace {

/// Sections larger than this, unpacked, are not read.
constexpr std::uint64_t kMaxFrameSection = std::uint64_t{256} << 20;

/// A section, as it lies in the file.
struct SectionPlace {
    std::uint64_t address = 0; ///< as linked
    std::uint64_t size = 0;    ///< 0: there is none
    friend bool operator==(const SectionPlace&, const SectionPlace&) = default;
};

/// What says whether a cached table is of this very object; cheap to read.
struct ObjectIdentity {
    std::string build_id; ///< hex; empty: the object has none, and no table of it is cached
    SectionPlace eh_frame;
    SectionPlace debug_frame;
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
    /// Reads the sections and compiles them. Nothing where there is none that makes sense.
    [[nodiscard]] std::optional<UnwindTable> build() const;

private:
    struct Segment {
        std::uint64_t file_offset;
        std::uint64_t file_size;
        std::uint64_t address;
    };
    UnwindObject() = default;
    static Result<UnwindObject> read(UnwindObject object);
    [[nodiscard]] ElfHandle open() const;

    int fd_ = -1;
    std::string image_;
    ObjectIdentity identity_;
    std::vector<Segment> segments_; ///< executable ones
};

} // namespace memtrace
