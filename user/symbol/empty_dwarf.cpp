#include "symbol/empty_dwarf.hpp"

#include <elf.h>
#include <libelf.h>

#include <cstddef>
#include <cstring>

namespace memtrace {
namespace {

constexpr char kNames[] = "\0.shstrtab\0.debug_line"; // libdw wants at least one section that it knows

/// The whole file: three sections, two of which are the bytes of kNames.
struct EmptyFile {
    Elf64_Ehdr header{};
    Elf64_Shdr sections[3]{};
    char names[sizeof(kNames)]{};

    EmptyFile() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_DYN;
        header.e_version = EV_CURRENT;
        header.e_ehsize = sizeof(Elf64_Ehdr);
        header.e_shoff = offsetof(EmptyFile, sections);
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = 3;
        header.e_shstrndx = 1;
        std::memcpy(names, kNames, sizeof(kNames));
        describe(sections[1], SHT_STRTAB, 1);
        describe(sections[2], SHT_PROGBITS, sizeof("\0.shstrtab"));
    }

    static void describe(Elf64_Shdr& section, Elf64_Word type, Elf64_Word name) {
        section.sh_name = name;
        section.sh_type = type;
        section.sh_offset = offsetof(EmptyFile, names);
        section.sh_size = sizeof(kNames);
        section.sh_addralign = 1;
    }
};

} // namespace

Dwarf* empty_dwarf() {
    static EmptyFile file;
    static Dwarf* const dwarf = [] {
        elf_version(EV_CURRENT);
        Elf* elf = elf_memory(reinterpret_cast<char*>(&file), sizeof(file));
        return elf != nullptr ? dwarf_begin_elf(elf, DWARF_C_READ, nullptr) : nullptr;
    }();
    return dwarf;
}

} // namespace memtrace
