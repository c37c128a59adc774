// The functions that the symbol tables of a module name, by address: built once, then binary search. Names are views into the ELF
// files the table was built from, which must outlive it.
//
//   sized functions      [start, start + size): an address behind the end belongs to nobody
//   unsized functions    to the next function or the end of the section; only where no sized one is
//   labels               NOTYPE symbols in code, as hand-written assembly has them; only where nothing else is
//
// Of several names for one range the choice is always the same: an exported one before a local one, then the one with the fewest
// leading underscores (malloc before __libc_malloc), strong before weak, shorter before longer, then by the alphabet.
#pragma once

#include <libelf.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "symbol/interval_map.hpp"

namespace memtrace {

struct Symbol {
    std::string_view name; ///< as in the file, without a version
    std::uint64_t start = 0;
};

class SymbolTable {
public:
    /// Takes over the function symbols of .symtab and .dynsym of `elf`. What is damaged is left out.
    void add(Elf* elf);

    /// Call once, after the last add().
    void finish();

    /// The symbol that `address` lies in, or null.
    [[nodiscard]] const Symbol* find(std::uint64_t address) const;

private:
    struct Entry {
        Symbol symbol;
        std::uint64_t size = 0;  ///< cut at the end of the section
        std::uint64_t limit = 0; ///< end of the section
        bool label = false;
        bool exported = false;
        bool weak = false;
        unsigned underscores = 0;
    };
    struct Section {
        std::uint64_t start = 0;
        std::uint64_t end = 0; ///< equal to start where there is no code
    };

    static std::vector<Section> code_sections(Elf* elf);
    void add_section(Elf* elf, Elf_Scn* section, std::size_t strings, const std::vector<Section>& sections);
    static bool better(const Entry& a, const Entry& b);
    [[nodiscard]] IntervalMap<std::uint32_t> sized_map(bool labels) const;
    [[nodiscard]] IntervalMap<std::uint32_t> unsized_map(bool labels, const std::vector<std::uint64_t>& cuts) const;

    std::vector<Entry> entries_;         ///< after finish(): by start, the best of each start last
    IntervalMap<std::uint32_t> maps_[4]; ///< indices of entries_: sized, unsized functions, sized, unsized labels
};

} // namespace memtrace
