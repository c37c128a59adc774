// Source lines and inlined functions from the DWARF of one file, by code address. Built as it is asked: first the ranges of the
// compilation units, then, for a unit that an address lies in, its functions; libdw keeps the unit's lines. So the cost follows
// the units that stacks touch, not the size of the file.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "symbol/code_map.hpp"
#include "symbol/debug_files.hpp"
#include "symbol/interval_map.hpp"
#include "symbol/split_unit.hpp"

namespace memtrace {

/// One function at an address, as the DWARF has it. Pointers live as long as the DwarfIndex; null = not said.
struct SourceFrame {
    const char* linkage_name = nullptr;
    const char* name = nullptr;
    const std::string* scope = nullptr; ///< "ns::Type::", of a function without a linkage name in a language with scopes
    const char* file = nullptr;
    std::uint32_t line = 0;   ///< 0 = not said
    std::uint32_t column = 0; ///< 0 = not said
};

class DwarfIndex {
public:
    /// Reads the DWARF of `file`, which must outlive the index; null where it has none that can be used. `path` is where the file was
    /// found, `code` the executable segments of the module.
    static std::unique_ptr<DwarfIndex> open(ElfImage& file, const std::string& path, const DebugRoots& roots,
                                            const CodeMap& code);

    DwarfIndex(const DwarfIndex&) = delete;
    DwarfIndex& operator=(const DwarfIndex&) = delete;
    ~DwarfIndex();

    /// The functions at `address`, innermost first, each but the last inlined into the next. A single frame without names where only
    /// the line is known; empty where nothing is.
    std::vector<SourceFrame> lookup(std::uint64_t address);

private:
    using DieOffset = Dwarf_Off; ///< in .debug_info
    struct Unit {
        DieOffset die = 0;
        std::unique_ptr<SplitUnit> split; ///< where the functions of a skeleton are
        bool split_looked_for = false;
        std::optional<IntervalMap<DieOffset>> functions; ///< not before the first look-up in the unit
        std::optional<IntervalMap<DieOffset>> nested;    ///< not before the first look-up that `functions` has no answer to
    };

    DwarfIndex(Dwarf* dwarf, const ElfImage& file, const CodeMap& code, SplitFiles split_files);
    void attach_alternate(const std::string& path, const DebugRoots& roots);
    void index_units();
    Unit* unit_of(std::uint64_t address);
    const SplitUnit* split_of(Unit& unit, Dwarf_Die unit_die);
    IntervalMap<DieOffset> index_functions(Dwarf_Die unit_die, bool nested_too);
    std::optional<DieOffset> function_at(Unit& unit, Dwarf_Die unit_die, std::uint64_t address);
    const std::string& scope_of(Dwarf_Die function);
    bool collect_ranges(Dwarf_Die* die, std::uint64_t payload, std::vector<IntervalMap<std::uint64_t>::Interval>& out);

    Dwarf* dwarf_;
    const ElfImage& file_;
    const CodeMap& code_;
    SplitFiles split_files_;
    std::unique_ptr<ElfImage> alternate_image_;
    Dwarf* alternate_ = nullptr;
    std::optional<IntervalMap<std::uint64_t>> unit_ranges_; ///< to indices of units_
    std::vector<Unit> units_;
    std::size_t ranges_read_ = 0;
    std::map<const void*, std::string> scopes_; ///< by what libdw takes for the entry's identity; nodes stay where they are
};

} // namespace memtrace
