#include "proc/elf_file.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proc/elf_handle.hpp"

namespace memtrace {

namespace {

constexpr std::string_view kGoNotes{"Go\0\0", 4}; // padded

void read_notes(Elf_Data* data, ElfFile& out) {
    for_each_note(data, [&](GElf_Word type, std::string_view owner, std::string_view description) {
        if (auto build_id = build_id_of_note(type, owner, description); !build_id.empty()) {
            out.build_id = std::move(build_id);
        }
        out.is_go = out.is_go || owner == kGoNotes;
    });
}

void read_segments(Elf* elf, ElfFile& out) {
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) {
        return;
    }
    for (std::size_t i = 0; i < std::min(count, kMaxElfHeaders); ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr) {
            break;
        }
        if (header.p_type == PT_LOAD) {
            out.segments.push_back({header.p_offset, header.p_filesz, header.p_vaddr, (header.p_flags & PF_X) != 0});
        } else if (header.p_type == PT_DYNAMIC) {
            out.is_dynamic = true;
        } else if (header.p_type == PT_NOTE) {
            read_notes(note_data(elf, header), out);
        }
    }
}

void read_symbols(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, const std::function<bool(std::string_view)>& wanted,
                  ElfFile& out) {
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr || header.sh_entsize == 0) {
        return;
    }
    const std::size_t count = data->d_size / header.sh_entsize;
    for (std::size_t i = 0; i < count; ++i) {
        GElf_Sym symbol;
        if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) {
            return;
        }
        const auto type = GELF_ST_TYPE(symbol.st_info);
        if (type != STT_FUNC || symbol.st_shndx == SHN_UNDEF || symbol.st_value == 0) {
            continue;
        }
        const char* text = elf_strptr(elf, header.sh_link, symbol.st_name);
        if (text == nullptr) {
            continue;
        }
        std::string_view name = text;
        name = name.substr(0, name.find('@'));
        if (!wanted(name)) {
            continue;
        }
        for (const auto& segment : out.segments) {
            if (segment.executable && symbol.st_value >= segment.address &&
                symbol.st_value - segment.address < segment.file_size) {
                out.functions.push_back({std::string(name), symbol.st_value, symbol.st_size,
                                         symbol.st_value - segment.address + segment.file_offset});
                break;
            }
        }
    }
}

void read_sections(Elf* elf, const std::function<bool(std::string_view)>& wanted, bool with_symtab, ElfFile& out) {
    std::size_t names = 0;
    const bool named = elf_getshdrstrndx(elf, &names) == 0;
    Elf_Scn* section = nullptr;
    std::size_t seen = 0;
    while ((section = elf_nextscn(elf, section)) != nullptr && ++seen < kMaxElfHeaders) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == nullptr) {
            continue;
        }
        const char* name = named ? elf_strptr(elf, names, header.sh_name) : nullptr;
        if (name != nullptr && (std::strcmp(name, ".gopclntab") == 0 || std::strcmp(name, ".go.buildinfo") == 0)) {
            out.is_go = true;
        }
        if (header.sh_type == SHT_DYNSYM || (with_symtab && header.sh_type == SHT_SYMTAB)) {
            read_symbols(elf, section, header, wanted, out);
        }
    }
}

} // namespace

std::uint64_t ElfFile::address_of(std::uint64_t file_offset) const {
    for (const auto& segment : segments) {
        if (segment.executable && file_offset >= segment.file_offset && file_offset - segment.file_offset < segment.file_size) {
            return file_offset - segment.file_offset + segment.address;
        }
    }
    return file_offset;
}

Result<ElfFile> read_elf(const std::string& path, const std::function<bool(std::string_view)>& wanted, bool with_symtab) {
    elf_version(EV_CURRENT);
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        return fail_errno("cannot open " + path, errno);
    }
    const ElfHandle elf(elf_begin(fd.get(), ELF_C_READ, nullptr));
    GElf_Ehdr header;
    if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF || gelf_getehdr(elf.get(), &header) == nullptr) {
        return fail(path + " is no ELF file");
    }
    ElfFile out;
    out.is_64bit = gelf_getclass(elf.get()) == ELFCLASS64;
    out.is_native = header.e_machine == kNativeMachine && out.is_64bit;
    read_segments(elf.get(), out);
    read_sections(elf.get(), wanted, with_symtab, out);
    std::sort(out.functions.begin(), out.functions.end(),
              [](const auto& a, const auto& b) { return std::tie(a.file_offset, a.name) < std::tie(b.file_offset, b.name); });
    return out;
}

Result<std::vector<std::uint8_t>> read_bytes(int fd, std::uint64_t file_offset, std::size_t size) {
    std::vector<std::uint8_t> bytes(size);
    std::size_t filled = 0;
    while (filled < size) {
        const auto count = ::pread(fd, bytes.data() + filled, size - filled, static_cast<off_t>(file_offset + filled));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fail_errno("cannot read a file's code", errno);
        }
        if (count == 0) {
            break;
        }
        filled += static_cast<std::size_t>(count);
    }
    bytes.resize(filled);
    return bytes;
}

} // namespace memtrace
