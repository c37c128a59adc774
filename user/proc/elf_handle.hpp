// What the readers of ELF files share on top of libelf. Foreign bytes: counts are limited.
#pragma once

#include <elfutils/libdwelf.h>
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

/// Whether a section is packed as it was done before SHF_COMPRESSED.
inline bool is_gnu_packed(std::string_view name) {
    return name.starts_with(".zdebug_");
}

/// How large a section is once it is unpacked; 0 where a packed one does not say. The file's claim.
inline std::uint64_t unpacked_size(Elf_Scn* section, const GElf_Shdr& header, std::string_view name) {
    if ((header.sh_flags & SHF_COMPRESSED) != 0) {
        GElf_Chdr packed;
        return gelf_getchdr(section, &packed) != nullptr ? packed.ch_size : 0;
    }
    if (is_gnu_packed(name)) {
        const ssize_t size = dwelf_scn_gnu_compressed_size(section);
        return size > 0 ? static_cast<std::uint64_t>(size) : header.sh_size;
    }
    return header.sh_size;
}

/// A section's bytes, unpacked, in libelf's memory; empty where they cannot be had, or there are more than `most`.
inline std::string_view unpacked_bytes(Elf_Scn* section, const GElf_Shdr& header, std::string_view name, std::uint64_t most) {
    if (header.sh_type == SHT_NOBITS || header.sh_size > most || unpacked_size(section, header, name) > most) {
        return {};
    }
    if ((header.sh_flags & SHF_COMPRESSED) != 0 && elf_compress(section, 0, 0) < 0) {
        return {};
    }
    if (is_gnu_packed(name) && dwelf_scn_gnu_compressed_size(section) > 0 && elf_compress_gnu(section, 0, 0) < 0) {
        return {};
    }
    const auto* data = elf_getdata(section, nullptr);
    return data != nullptr && data->d_buf != nullptr ? std::string_view(static_cast<const char*>(data->d_buf), data->d_size)
                                                     : std::string_view();
}

} // namespace memtrace
