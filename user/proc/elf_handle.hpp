// What the readers of ELF files share on top of libelf. Foreign bytes: counts are limited.
#pragma once

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/hex.hpp"

namespace memtrace {

#if defined(__x86_64__)
constexpr int kNativeMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kNativeMachine = EM_AARCH64;
#else
#error "unknown architecture"
#endif
constexpr std::size_t kMaxElfHeaders = 100'000; ///< sections, or segments, that are looked at
constexpr std::size_t kMaxBuildIdBytes = 64;
constexpr std::string_view kGnuNotes{"GNU\0", 4}; // the closing zero counts

struct ElfCloser {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfCloser>;

/// The notes of a segment, in libelf's memory; null where they cannot be read.
inline Elf_Data* note_data(Elf* elf, const GElf_Phdr& segment) {
    const auto type = segment.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
    return elf_getdata_rawchunk(elf, static_cast<std::int64_t>(segment.p_offset), segment.p_filesz, type);
}

/// Calls visit(type, owner, description) for each note; the owner's name has its closing zero.
template <typename Visit>
void for_each_note(Elf_Data* data, const Visit& visit) {
    std::size_t offset = 0;
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t description = 0;
    while (data != nullptr && (offset = gelf_getnote(data, offset, &note, &name, &description)) > 0) {
        const auto* bytes = static_cast<const char*>(data->d_buf);
        visit(note.n_type, std::string_view(bytes + name, note.n_namesz), std::string_view(bytes + description, note.n_descsz));
    }
}

/// Hex; empty where the note is no build-id.
inline std::string build_id_of_note(GElf_Word type, std::string_view owner, std::string_view description) {
    const bool is_one = type == NT_GNU_BUILD_ID && owner == kGnuNotes;
    return is_one ? to_hex(description.substr(0, kMaxBuildIdBytes)) : std::string();
}

/// The first section of that name which accepts(header) takes, with its header; null: there is none.
template <typename Accepts>
Elf_Scn* find_section(Elf* elf, const char* wanted, GElf_Shdr& header, const Accepts& accepts) {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) {
        return nullptr;
    }
    Elf_Scn* section = nullptr;
    for (std::size_t seen = 0; seen < kMaxElfHeaders && (section = elf_nextscn(elf, section)) != nullptr; ++seen) {
        if (gelf_getshdr(section, &header) == nullptr || !accepts(header)) {
            continue;
        }
        const char* name = elf_strptr(elf, names, header.sh_name);
        if (name != nullptr && std::strcmp(name, wanted) == 0) {
            return section;
        }
    }
    return nullptr;
}

} // namespace memtrace
