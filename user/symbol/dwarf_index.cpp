#include "symbol/dwarf_index.hpp"

#include <dwarf.h>
#include <elfutils/libdwelf.h>

#include <algorithm>
#include <utility>

#include "symbol/dwarf_scope.hpp"
#include "symbol/empty_dwarf.hpp"

namespace memtrace {
namespace {

// Bounds on what a hostile file can make us do. Compilers stay far below them.
constexpr std::size_t kMaxRanges = 32'000'000; // read from one file
constexpr int kMaxNesting = 64;                // of namespaces, or of blocks in a function
constexpr std::size_t kMaxInlined = 256;       // functions inlined into each other at one address

/// Null where there is nothing to be had.
Dwarf* begin_dwarf(ElfImage& file) {
    Dwarf* dwarf = file.has_usable_dwarf() ? dwarf_begin_elf(file.elf(), DWARF_C_READ, nullptr) : nullptr;
    if (dwarf != nullptr) {
        file.terminate_debug_strings();
    }
    return dwarf;
}

/// Calls `visit` for each child of `parent` until it returns false. libdw sees to it that siblings only lead forward.
template <typename Visit>
void for_each_child(Dwarf_Die* parent, Visit visit) {
    Dwarf_Die child;
    if (dwarf_child(parent, &child) != 0) {
        return;
    }
    while (visit(&child) && dwarf_siblingof(&child, &child) == 0) {
    }
}

bool has_ranges(Dwarf_Die* die) {
    return dwarf_hasattr(die, DW_AT_low_pc) != 0 || dwarf_hasattr(die, DW_AT_ranges) != 0;
}

/// Finds the function inlined at `address` directly into `scope`, through any blocks in between.
bool find_inlined(Dwarf_Die* scope, std::uint64_t address, int nesting, Dwarf_Die& found) {
    bool hit = false;
    for_each_child(scope, [&](Dwarf_Die* child) {
        const int tag = dwarf_tag(child);
        if (tag == DW_TAG_inlined_subroutine) {
            if (dwarf_haspc(child, address) > 0) {
                found = *child;
                hit = true;
            }
        } else if (tag == DW_TAG_lexical_block || tag == DW_TAG_try_block || tag == DW_TAG_catch_block) {
            // A block without ranges of its own is as large as its parent.
            if (nesting < kMaxNesting && (dwarf_haspc(child, address) > 0 || !has_ranges(child))) {
                hit = find_inlined(child, address, nesting + 1, found);
            }
        }
        return !hit;
    });
    return hit;
}

/// A string attribute of `die` or of what it is an instance or a definition of; null where there is none.
const char* string_attribute(Dwarf_Die* die, unsigned attribute) {
    Dwarf_Attribute value;
    return dwarf_attr_integrate(die, attribute, &value) != nullptr ? dwarf_formstring(&value) : nullptr;
}

void fill_names(Dwarf_Die* function, SourceFrame& out) {
    out.linkage_name = string_attribute(function, DW_AT_linkage_name);
    if (out.linkage_name == nullptr) {
        out.linkage_name = string_attribute(function, DW_AT_MIPS_linkage_name);
    }
    out.name = string_attribute(function, DW_AT_name);
}

std::uint64_t number_attribute(Dwarf_Die* die, unsigned attribute) {
    Dwarf_Attribute value;
    Dwarf_Word number = 0;
    return dwarf_attr(die, attribute, &value) != nullptr && dwarf_formudata(&value, &number) == 0 ? number : 0;
}

/// Lines and columns; what does not fit is damage.
std::uint32_t small_number(std::uint64_t number) {
    return number <= INT32_MAX ? static_cast<std::uint32_t>(number) : 0;
}

/// Where `inlined` was called from: the line of the next frame outwards. `unit` is the one that it stands in; `lines` has the files of one
/// that is split and has none of its own, else it is the same.
void fill_call_site(Dwarf_Die* unit, Dwarf_Die* lines, Dwarf_Die* inlined, SourceFrame& out) {
    Dwarf_Attribute value;
    Dwarf_Files* files = nullptr;
    std::size_t count = 0;
    Dwarf_Word index = 0;
    if (dwarf_attr(inlined, DW_AT_call_file, &value) != nullptr && dwarf_formudata(&value, &index) == 0 &&
        (dwarf_getsrcfiles(unit, &files, &count) == 0 || dwarf_getsrcfiles(lines, &files, &count) == 0) && index < count) {
        out.file = dwarf_filesrc(files, index, nullptr, nullptr);
    }
    out.line = small_number(number_attribute(inlined, DW_AT_call_line));
    out.column = small_number(number_attribute(inlined, DW_AT_call_column));
}

void fill_line(Dwarf_Die* unit, std::uint64_t address, SourceFrame& out) {
    Dwarf_Line* row = dwarf_getsrc_die(unit, address);
    int line = 0;
    if (row != nullptr && dwarf_lineno(row, &line) == 0) {
        out.file = dwarf_linesrc(row, nullptr, nullptr);
        out.line = line > 0 ? static_cast<std::uint32_t>(line) : 0;
        int column = 0;
        if (dwarf_linecol(row, &column) == 0 && column > 0) {
            out.column = static_cast<std::uint32_t>(column);
        }
    }
}

} // namespace

const std::string& DwarfIndex::scope_of(Dwarf_Die function) {
    const auto [entry, fresh] = scopes_.try_emplace(function.addr);
    if (fresh) {
        entry->second = dwarf_scope(function);
    }
    return entry->second;
}

DwarfIndex::DwarfIndex(Dwarf* dwarf, const ElfImage& file, const CodeMap& code, SplitFiles split_files)
    : dwarf_(dwarf), file_(file), code_(code), split_files_(std::move(split_files)) {}

DwarfIndex::~DwarfIndex() {
    dwarf_end(dwarf_);
    if (alternate_ != nullptr) {
        dwarf_end(alternate_);
    }
}

std::unique_ptr<DwarfIndex> DwarfIndex::open(ElfImage& file, const std::string& path, const DebugRoots& roots,
                                             const CodeMap& code) {
    Dwarf* dwarf = begin_dwarf(file);
    if (dwarf == nullptr) {
        return nullptr;
    }
    std::unique_ptr<DwarfIndex> index(new DwarfIndex(dwarf, file, code, SplitFiles(path, roots)));
    index->attach_alternate(path, roots);
    return index;
}

void DwarfIndex::attach_alternate(const std::string& path, const DebugRoots& roots) {
    const char* name = nullptr;
    const void* build_id = nullptr;
    const ssize_t size = dwelf_dwarf_gnu_debugaltlink(dwarf_, &name, &build_id);
    if (size > 0) {
        auto found = find_alternate_file(roots, path, name,
                                         std::string(static_cast<const char*>(build_id), static_cast<std::size_t>(size)));
        if (found.image) {
            alternate_ = begin_dwarf(*found.image);
            alternate_image_ = std::move(found.image);
        }
    }
    // Left alone, libdw would open whatever path the file names on first use. An empty file in its place keeps it from that.
    dwarf_setalt(dwarf_, alternate_ != nullptr ? alternate_ : empty_dwarf());
}

bool DwarfIndex::collect_ranges(Dwarf_Die* die, std::uint64_t payload, std::vector<IntervalMap<std::uint64_t>::Interval>& out) {
    Dwarf_Addr base = 0;
    Dwarf_Addr start = 0;
    Dwarf_Addr end = 0;
    std::ptrdiff_t offset = 0;
    while ((offset = dwarf_ranges(die, offset, &base, &start, &end)) > 0) {
        if (++ranges_read_ > kMaxRanges) {
            return false;
        }
        // Functions that the linker dropped keep a range, at 0 or another place where no code is.
        if (start < end && (code_.empty() || code_.contains(start))) {
            out.push_back({start, end, payload});
        }
    }
    return true;
}

void DwarfIndex::index_units() {
    std::vector<IntervalMap<std::uint64_t>::Interval> ranges;
    Dwarf_CU* unit = nullptr;
    Dwarf_Die die;
    std::uint8_t type = 0;
    while (dwarf_get_units(dwarf_, unit, &unit, nullptr, &type, &die, nullptr) == 0) {
        if (type != DW_UT_compile && type != DW_UT_skeleton) {
            continue;
        }
        units_.emplace_back().die = dwarf_dieoffset(&die);
        if (!collect_ranges(&die, units_.size() - 1, ranges)) {
            break;
        }
    }
    unit_ranges_.emplace(std::move(ranges));
}

DwarfIndex::Unit* DwarfIndex::unit_of(std::uint64_t address) {
    if (!unit_ranges_) {
        index_units();
    }
    const std::uint64_t* index = unit_ranges_->find(address);
    return index != nullptr ? &units_[*index] : nullptr;
}

/// Null where it is whole, or its other half is not to be had.
const SplitUnit* DwarfIndex::split_of(Unit& unit, Dwarf_Die unit_die) {
    if (!unit.split_looked_for) {
        unit.split_looked_for = true;
        unit.split = split_files_.find(read_skeleton(unit_die, file_));
    }
    return unit.split.get();
}

IntervalMap<DwarfIndex::DieOffset> DwarfIndex::index_functions(Dwarf_Die unit_die, bool nested_too) {
    std::vector<IntervalMap<DieOffset>::Interval> ranges;
    auto walk = [&](auto&& self, Dwarf_Die* parent, int nesting) -> void {
        for_each_child(parent, [&](Dwarf_Die* child) {
            const int tag = dwarf_tag(child);
            if (tag == DW_TAG_subprogram && !collect_ranges(child, dwarf_dieoffset(child), ranges)) {
                return false;
            }
            if ((nested_too || tag == DW_TAG_namespace || tag == DW_TAG_module) && nesting < kMaxNesting) {
                self(self, child, nesting + 1);
            }
            return true;
        });
    };
    walk(walk, &unit_die, 0);
    return IntervalMap<DieOffset>(std::move(ranges));
}

std::optional<DwarfIndex::DieOffset> DwarfIndex::function_at(Unit& unit, Dwarf_Die unit_die, std::uint64_t address) {
    // Most definitions stand at the top of a unit or in a namespace. Some do not (GCC's function for a lambda without captures, nested
    // functions in C, methods in Rust), and to find those means to walk all there is in the unit.
    if (!unit.functions) {
        unit.functions = index_functions(unit_die, false);
    }
    const DieOffset* found = unit.functions->find(address);
    if (found == nullptr) {
        if (!unit.nested) {
            unit.nested = index_functions(unit_die, true);
        }
        found = unit.nested->find(address);
    }
    return found != nullptr ? std::optional(*found) : std::nullopt;
}

std::vector<SourceFrame> DwarfIndex::lookup(std::uint64_t address) {
    std::vector<SourceFrame> frames;
    Unit* unit = unit_of(address);
    Dwarf_Die unit_die;
    if (unit == nullptr || dwarf_offdie(dwarf_, unit->die, &unit_die) == nullptr) {
        return frames;
    }
    std::vector<Dwarf_Die> chain; // outermost first
    Dwarf_Die function;
    const auto* split = split_of(*unit, unit_die);
    Dwarf_Die whole = split != nullptr ? split->die() : unit_die;
    // What an assembler knows of functions it has from the symbols, and those are at hand.
    const bool assembler = dwarf_srclang(&whole) == DW_LANG_Mips_Assembler;
    const auto offset = assembler ? std::nullopt : function_at(*unit, whole, address);
    if (offset && dwarf_offdie(split != nullptr ? split->dwarf() : dwarf_, *offset, &function) != nullptr) {
        chain.push_back(function);
        while (chain.size() <= kMaxInlined && find_inlined(&chain.back(), address, 0, function)) {
            chain.push_back(function);
        }
    }
    frames.resize(std::max<std::size_t>(chain.size(), 1));
    fill_line(&unit_die, address, frames[0]);
    for (std::size_t i = 0; i < chain.size(); ++i) {
        Dwarf_Die* die = &chain[chain.size() - 1 - i];
        fill_names(die, frames[i]);
        if (frames[i].linkage_name == nullptr && frames[i].name != nullptr) {
            frames[i].scope = &scope_of(*die);
        }
        if (i + 1 < chain.size()) {
            fill_call_site(&whole, &unit_die, die, frames[i + 1]);
        }
    }
    if (chain.empty() && frames[0].file == nullptr) {
        frames.clear();
    }
    return frames;
}

} // namespace memtrace
