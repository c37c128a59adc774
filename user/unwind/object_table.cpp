#include "unwind/object_table.hpp"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

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

/// A section of the file, null where there is none.
struct Section {
    const char* name = "";
    Elf_Scn* handle = nullptr;
    GElf_Shdr header{};
    [[nodiscard]] SectionPlace place() const { return {header.sh_addr, header.sh_size}; }
    [[nodiscard]] std::string_view bytes() const {
        return handle != nullptr ? unpacked_bytes(handle, header, name, kMaxFrameSection) : std::string_view();
    }
};

/// The first section that has one of the names.
Section find(Elf* elf, std::initializer_list<const char*> names) {
    for (const auto* name : names) {
        Section section{name};
        section.handle = find_section(elf, name, section.header,
                                      [](const GElf_Shdr& header) { return header.sh_type != SHT_NOBITS && header.sh_size > 0; });
        if (section.handle != nullptr) {
            return section;
        }
    }
    return {};
}

Section eh_frame_of(Elf* elf) {
    return find(elf, {".eh_frame"});
}
Section debug_frame_of(Elf* elf) {
    return find(elf, {".debug_frame", ".zdebug_frame"});
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

ElfHandle UnwindObject::open() const {
    elf_version(EV_CURRENT);
    auto* image = const_cast<char*>(image_.data()); // only read: nothing here changes a file
    return ElfHandle(fd_ >= 0 ? elf_begin(fd_, ELF_C_READ, nullptr) : elf_memory(image, image_.size()));
}

Result<UnwindObject> UnwindObject::read(UnwindObject object) {
    const auto elf = object.open();
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
    object.identity_.eh_frame = eh_frame_of(elf.get()).place();
    object.identity_.debug_frame = debug_frame_of(elf.get()).place();
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
    if (identity_.eh_frame.size == 0 && identity_.debug_frame.size == 0) {
        return std::nullopt;
    }
    const auto elf = open();
    if (elf == nullptr) {
        return std::nullopt;
    }
    std::uint64_t begin = ~std::uint64_t{0};
    std::uint64_t end = 0;
    for (const auto& segment : segments_) {
        begin = std::min(begin, segment.address);
        end = std::max(end, segment.address + segment.file_size);
    }
    const auto eh_frame = eh_frame_of(elf.get());
    const auto debug_frame = debug_frame_of(elf.get());
    return build_table({eh_frame.bytes(), eh_frame.header.sh_addr, false, begin, end},
                       {debug_frame.bytes(), debug_frame.header.sh_addr, true, begin, end});
}

} // namespace memtrace
