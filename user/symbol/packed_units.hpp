// Units in a .dwp file, which many .dwo files have been packed into. DWARF 5, section 7.3.5. Foreign bytes: all is checked.
#pragma once

#include <cstdint>
#include <string>

#include "symbol/elf_image.hpp"

namespace memtrace {

/// A .dwo file with the unit of that id alone, and the strings that it uses. Empty: there is none, or more than `most` bytes of it, or the
/// file is no .dwp.
std::string copy_of_packed_unit(const ElfImage& file, std::uint64_t id, std::uint64_t most);

} // namespace memtrace
