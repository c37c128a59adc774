#include "symbol/small_elf.hpp"

#include <elf.h>

#include <cstring>

namespace memtrace {
namespace {

void pad(std::string& out) {
    constexpr std::size_t kAlign = 8;
    out.append(kAlign - out.size() % kAlign, '\0'); // one byte at least
}

template <typename T>
std::string_view raw(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

} // namespace

std::string small_elf(const std::vector<SmallSection>& sections) {
    std::string out(sizeof(Elf64_Ehdr), '\0');
    std::string names(1, '\0');
    std::string headers(sizeof(Elf64_Shdr), '\0'); // the first is none
    const auto add = [&](std::string_view name, Elf64_Word type, std::string_view bytes) {
        Elf64_Shdr header{};
        header.sh_name = static_cast<Elf64_Word>(names.size() - name.size() - 1); // its name has been added already
        header.sh_type = type;
        header.sh_offset = out.size();
        header.sh_size = bytes.size();
        header.sh_addralign = 1;
        headers += raw(header);
        out += bytes;
        pad(out);
    };
    pad(out);
    for (const auto& section : sections) {
        names.append(section.name).push_back('\0');
        add(section.name, SHT_PROGBITS, section.bytes);
    }
    constexpr std::string_view kNames = ".shstrtab";
    names.append(kNames).push_back('\0');
    add(kNames, SHT_STRTAB, names);
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_DYN;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_shoff = out.size();
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = static_cast<Elf64_Half>(sections.size() + 2);
    header.e_shstrndx = static_cast<Elf64_Half>(sections.size() + 1);
    std::memcpy(out.data(), &header, sizeof(header));
    return out + headers;
}

} // namespace memtrace
