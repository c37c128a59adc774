#include "unwind/object_table.hpp"

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "proc/elf_file.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxHeaders = 100'000;
constexpr std::uint64_t kMaxNotes = 1 << 16;
constexpr std::size_t kMaxBuildId = 64;

struct ElfCloser {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfCloser>;

#if defined(__x86_64__)
constexpr bool kSupported = true;
#else
constexpr bool kSupported = false;
#endif

std::string to_hex(std::string_view bytes) {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    for (const char byte : bytes) {
        text += digits[static_cast<unsigned char>(byte) >> 4];
        text += digits[static_cast<unsigned char>(byte) & 15];
    }
    return text;
}

std::string build_id_in(Elf* elf, const GElf_Phdr& header) {
    if (header.p_filesz > kMaxNotes) {
        return {};
    }
    const auto type = header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
    Elf_Data* data = elf_getdata_rawchunk(elf, static_cast<std::int64_t>(header.p_offset), header.p_filesz, type);
    std::size_t offset = 0;
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t description = 0;
    while (data != nullptr && (offset = gelf_getnote(data, offset, &note, &name, &description)) > 0) {
        const auto* bytes = static_cast<const char*>(data->d_buf);
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(bytes + name, "GNU", 4) == 0) {
            return to_hex({bytes + description, std::min<std::size_t>(note.n_descsz, kMaxBuildId)});
        }
    }
    return {};
}

struct FoundSection {
    GElf_Shdr header{};
    bool found = false;
};

/// A section by name, with bytes in the file that need no unpacking.
FoundSection find_section(Elf* elf, const char* wanted) {
    FoundSection out;
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0) {
        return out;
    }
    Elf_Scn* section = nullptr;
    for (std::size_t seen = 0; seen < kMaxHeaders && (section = elf_nextscn(elf, section)) != nullptr; ++seen) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr || header.sh_type == SHT_NOBITS ||
            (header.sh_flags & SHF_COMPRESSED) != 0) {
            continue;
        }
        const char* name = elf_strptr(elf, names, header.sh_name);
        if (name != nullptr && std::strcmp(name, wanted) == 0 && header.sh_size > 0) {
            return {header, true};
        }
    }
    return out;
}

} // namespace

Result<UnwindObject> UnwindObject::from_file(int fd) {
    UnwindObject object;
    object.fd_ = fd;
    return read(std::move(object));
}

Result<UnwindObject> UnwindObject::from_memory(std::string image) {
    UnwindObject object;
    object.image_ = std::move(image);
    return read(std::move(object));
}

Result<UnwindObject> UnwindObject::read(UnwindObject object) {
    elf_version(EV_CURRENT);
    const ElfHandle elf(object.fd_ >= 0 ? elf_begin(object.fd_, ELF_C_READ, nullptr)
                                        : elf_memory(object.image_.data(), object.image_.size()));
    GElf_Ehdr header;
    if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF || gelf_getehdr(elf.get(), &header) == nullptr ||
        gelf_getclass(elf.get()) != ELFCLASS64 || header.e_machine != EM_X86_64 || !kSupported) {
        return fail("no object that can be unwound");
    }
    std::size_t count = 0;
    if (elf_getphdrnum(elf.get(), &count) != 0) {
        count = 0;
    }
    for (std::size_t i = 0; i < std::min(count, kMaxHeaders); ++i) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf.get(), static_cast<int>(i), &segment) == nullptr) {
            break;
        }
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) {
            object.segments_.push_back({segment.p_offset, segment.p_filesz, segment.p_vaddr});
        } else if (segment.p_type == PT_NOTE && object.identity_.build_id.empty()) {
            object.identity_.build_id = build_id_in(elf.get(), segment);
        }
    }
    auto section = find_section(elf.get(), ".eh_frame");
    if (!section.found) {
        section = find_section(elf.get(), ".debug_frame");
        object.identity_.is_debug_frame = section.found;
    }
    if (section.found && section.header.sh_size <= kMaxFrameSection) {
        object.identity_.section_address = section.header.sh_addr;
        object.identity_.section_size = section.header.sh_size;
        object.section_offset_ = section.header.sh_offset;
    }
    return object;
}

std::optional<std::uint64_t> UnwindObject::linked_address(std::uint64_t file_offset) const {
    // A mapping begins on a page, which may be before the segment does.
    constexpr std::uint64_t kPage = 4096;
    for (const auto& segment : segments_) {
        const auto begin = segment.file_offset & ~(kPage - 1);
        if (file_offset >= begin && file_offset < segment.file_offset + segment.file_size) {
            return file_offset - segment.file_offset + segment.address; // modulo 2^64
        }
    }
    return std::nullopt;
}

std::optional<UnwindTable> UnwindObject::build() const {
    if (identity_.section_size == 0) {
        return std::nullopt;
    }
    if (fd_ >= 0) {
        auto read = read_bytes(fd_, section_offset_, identity_.section_size);
        if (!read || read->size() != identity_.section_size) {
            return std::nullopt;
        }
        return build_table(
            {{reinterpret_cast<const char*>(read->data()), read->size()}, identity_.section_address, identity_.is_debug_frame});
    }
    if (section_offset_ > image_.size() || image_.size() - section_offset_ < identity_.section_size) {
        return std::nullopt;
    }
    return build_table({std::string_view(image_).substr(section_offset_, identity_.section_size), identity_.section_address,
                        identity_.is_debug_frame});
}

} // namespace memtrace
