#include "unwind/object_table.hpp"

#include <algorithm>
#include <utility>

#include "proc/elf_file.hpp"
#include "proc/elf_handle.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kMaxNotes = 1 << 16;

#if defined(__x86_64__)
constexpr bool kSupported = true;
#else
constexpr bool kSupported = false;
#endif

std::string build_id_in(Elf* elf, const GElf_Phdr& segment) {
    std::string found;
    for_each_note(segment.p_filesz <= kMaxNotes ? note_data(elf, segment) : nullptr,
                  [&](GElf_Word type, std::string_view owner, std::string_view description) {
                      found = found.empty() ? build_id_of_note(type, owner, description) : found;
                  });
    return found;
}

/// Bytes in the file that need no unpacking.
bool is_plain(const GElf_Shdr& header) {
    return header.sh_type != SHT_NOBITS && (header.sh_flags & SHF_COMPRESSED) == 0 && header.sh_size > 0;
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
    for (std::size_t i = 0; i < std::min(count, kMaxElfHeaders); ++i) {
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
    GElf_Shdr section;
    const bool has_eh_frame = find_section(elf.get(), ".eh_frame", section, is_plain) != nullptr;
    object.identity_.is_debug_frame = !has_eh_frame && find_section(elf.get(), ".debug_frame", section, is_plain) != nullptr;
    if ((has_eh_frame || object.identity_.is_debug_frame) && section.sh_size <= kMaxFrameSection) {
        object.identity_.section_address = section.sh_addr;
        object.identity_.section_size = section.sh_size;
        object.section_offset_ = section.sh_offset;
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
