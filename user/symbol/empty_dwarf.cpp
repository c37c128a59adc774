#include "symbol/empty_dwarf.hpp"

#include <libelf.h>

#include <string>

#include "symbol/small_elf.hpp"

namespace memtrace {

Dwarf* empty_dwarf() {
    static std::string file = small_elf({{".debug_line", {"\0", 1}}}); // libdw wants at least one section that it knows
    static Dwarf* const dwarf = [] {
        elf_version(EV_CURRENT);
        Elf* elf = elf_memory(file.data(), file.size());
        return elf != nullptr ? dwarf_begin_elf(elf, DWARF_C_READ, nullptr) : nullptr;
    }();
    return dwarf;
}

} // namespace memtrace
