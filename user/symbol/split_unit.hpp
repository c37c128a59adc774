// The other half of a unit whose DWARF is split (gcc -gsplit-dwarf): its functions stand in a .dwo file, or in the .dwp file that the
// program's have been packed into, its lines and addresses in the program.
//
//   program: skeleton unit (id, name of the .dwo) -> .debug_addr          .dwo, .dwp: unit of that id -> numbers of addresses
//                         |                              |                             |
//                         v                              v                             v
//            a skeleton of ours, in memory: id, addresses, "/proc/self/fd/N"  ->  a copy of that one unit's sections
//
// libdw joins the two, but by itself it would open whatever path the program's skeleton names, and, before 0.191, no .dwp. So it gets a
// skeleton that names a copy in memory, whose sections end as libdw trusts that they do. Foreign bytes: sizes are bounded.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "symbol/debug_files.hpp"
#include "symbol/elf_image.hpp"

namespace memtrace {

/// What a skeleton says of its other half. Views point into the program's sections.
struct Skeleton {
    std::uint64_t id = 0;
    std::uint64_t base = 0;     ///< address that its ranges count from
    std::string name;           ///< of the .dwo
    std::string directory;      ///< that the name is relative to
    std::string_view addresses; ///< its part of .debug_addr, with the header
};

/// What the unit of `die` says of its other half; an empty name where it is no skeleton, or not one of DWARF 5.
Skeleton read_skeleton(Dwarf_Die die, const ElfImage& program);

class SplitUnit {
public:
    /// The largest copy of a unit.
    static constexpr std::uint64_t kMaxBytes = std::uint64_t{256} << 20;

    /// `copy`: a .dwo file. Null: there is no unit of the skeleton's id in it.
    static std::unique_ptr<SplitUnit> join(const Skeleton& skeleton, const std::string& copy);

    SplitUnit(const SplitUnit&) = delete;
    SplitUnit& operator=(const SplitUnit&) = delete;
    ~SplitUnit();

    /// The unit's entry, whose children are the functions.
    [[nodiscard]] Dwarf_Die die() const { return die_; }
    /// What entries of the unit are found in by offset.
    [[nodiscard]] Dwarf* dwarf() const { return dwarf_cu_getdwarf(die_.cu); }

private:
    explicit SplitUnit(std::string skeleton_file) : file_(std::move(skeleton_file)) {}

    std::string file_; ///< our skeleton's
    Elf* elf_ = nullptr;
    Dwarf* dwarf_ = nullptr;
    Dwarf_Die die_{};
};

/// Where the other halves of a program's units are.
class SplitFiles {
public:
    /// Copies of all units of a program together.
    static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;

    /// `path`: where the program was found.
    SplitFiles(std::string path, DebugRoots roots);
    /// In the program's .dwp, beside the program, or where it was compiled. Null: nowhere.
    std::unique_ptr<SplitUnit> find(const Skeleton& skeleton);

private:
    std::string path_;
    DebugRoots roots_;
    bool packed_looked_for_ = false;
    std::unique_ptr<ElfImage> packed_;
    std::uint64_t budget_ = kMaxBytes;
};

} // namespace memtrace
