#include "proc/elf_file.hpp"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace memtrace {

namespace {

constexpr std::size_t kMaxSections = 100'000;
constexpr std::size_t kMaxBuildId = 64;

#if defined(__x86_64__)
constexpr int kNativeMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kNativeMachine = EM_AARCH64;
#else
#error "unknown architecture"
#endif

struct ElfCloser {
    void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfCloser>;

std::string to_hex(const unsigned char* bytes, std::size_t count) {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text += digits[bytes[i] >> 4];
        text += digits[bytes[i] & 15];
    }
    return text;
}

void read_notes(Elf_Data* data, ElfFile& out) {
    std::size_t offset = 0;
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t description = 0;
    while (data != nullptr && (offset = gelf_getnote(data, offset, &note, &name, &description)) > 0) {
        const auto* bytes = static_cast<const char*>(data->d_buf);
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(bytes + name, "GNU", 4) == 0) {
            out.build_id = to_hex(static_cast<const unsigned char*>(data->d_buf) + description,
                                  std::min<std::size_t>(note.n_descsz, kMaxBuildId));
        }
        if (note.n_namesz == 4 && std::memcmp(bytes + name, "Go\0", 4) == 0) {
            out.is_go = true;
        }
    }
}

void read_segments(Elf* elf, ElfFile& out) {
    std::size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0) {
        return;
    }
    for (std::size_t i = 0; i < std::min(count, kMaxSections); ++i) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr) {
            break;
        }
        if (header.p_type == PT_LOAD) {
            out.segments.push_back({header.p_offset, header.p_filesz, header.p_vaddr, (header.p_flags & PF_X) != 0});
        } else if (header.p_type == PT_DYNAMIC) {
            out.is_dynamic = true;
        } else if (header.p_type == PT_NOTE) {
            const auto type = header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
            read_notes(elf_getdata_rawchunk(elf, static_cast<int64_t>(header.p_offset), header.p_filesz, type), out);
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
    while ((section = elf_nextscn(elf, section)) != nullptr && ++seen < kMaxSections) {
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
