#include "proc/usdt.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proc/elf_handle.hpp"

namespace memtrace {

namespace {

constexpr std::string_view kOwner{"stapsdt\0", 8}; // the closing zero counts
constexpr GElf_Word kNoteType = 3;
constexpr std::size_t kAddresses = 3;         // of the probe, of .stapsdt.base, of the semaphore
constexpr std::size_t kMaxProbes = 1'000'000; // of one file

/// Up to its zero, which is taken too.
std::optional<std::string> take_string(std::string_view& bytes) {
    const auto end = bytes.find('\0');
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    std::string text(bytes.substr(0, end));
    bytes.remove_prefix(end + 1);
    return text;
}

/// Where the section .stapsdt.base lies, which prelink moves along with all else but does not tell the notes of; 0 = there is none.
std::uint64_t base_address(Elf* elf) {
    GElf_Shdr header;
    return find_section(elf, ".stapsdt.base", header, [](const auto&) { return true; }) != nullptr ? header.sh_addr : 0;
}

} // namespace

std::optional<UsdtNote> parse_usdt_note(std::string_view description) {
    std::uint64_t address[kAddresses];
    if (description.size() < sizeof(address)) {
        return std::nullopt;
    }
    std::memcpy(address, description.data(), sizeof(address));
    description.remove_prefix(sizeof(address));
    auto provider = take_string(description);
    auto name = provider ? take_string(description) : std::nullopt;
    auto arguments = name ? take_string(description) : std::nullopt;
    if (!arguments || provider->empty() || name->empty()) {
        return std::nullopt;
    }
    return UsdtNote{{std::move(*provider), std::move(*name), std::move(*arguments), address[0], address[2]}, address[1]};
}

Result<std::vector<UsdtProbe>> read_usdt_probes(const std::string& path) {
    elf_version(EV_CURRENT);
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        return fail_errno("cannot open " + path, errno);
    }
    const ElfHandle elf(elf_begin(fd.get(), ELF_C_READ, nullptr));
    GElf_Ehdr file_header;
    if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF || gelf_getehdr(elf.get(), &file_header) == nullptr) {
        return fail(path + " is no ELF file");
    }
    std::vector<UsdtProbe> out;
    if (gelf_getclass(elf.get()) != ELFCLASS64 || file_header.e_machine != kNativeMachine) {
        return out;
    }
    GElf_Shdr header;
    auto* section = find_section(elf.get(), ".note.stapsdt", header, [](const auto& it) { return it.sh_type == SHT_NOTE; });
    const auto base = base_address(elf.get());
    for_each_note(section != nullptr ? elf_getdata(section, nullptr) : nullptr,
                  [&](GElf_Word type, std::string_view owner, std::string_view description) {
                      auto note = type == kNoteType && owner == kOwner ? parse_usdt_note(description) : std::nullopt;
                      if (!note || out.size() == kMaxProbes) {
                          return;
                      }
                      const auto moved = base != 0 && note->base != 0 ? base - note->base : 0;
                      note->probe.address += moved;
                      note->probe.semaphore += note->probe.semaphore != 0 ? moved : 0;
                      out.push_back(std::move(note->probe));
                  });
    return out;
}

std::vector<UsdtObject> find_usdt_objects(std::int32_t pid, const std::vector<Mapping>& mappings, std::string_view provider,
                                          std::set<FileIdentity>& seen) {
    std::vector<UsdtObject> out;
    for (const auto& mapping : mappings) {
        if (!mapping.executable || mapping.file == FileIdentity{} || seen.contains(mapping.file)) {
            continue;
        }
        auto file = open_mapped(pid, mapping);
        if (!file) {
            continue; // unmapped by now, or not ours to read
        }
        seen.insert(mapping.file);
        auto probes = read_usdt_probes(path_of(*file));
        if (!probes) {
            continue;
        }
        std::erase_if(*probes, [&](const auto& probe) { return probe.provider != provider; });
        if (!probes->empty()) {
            out.push_back({mapping.path, std::move(*file), std::move(*probes)});
        }
    }
    return out;
}

} // namespace memtrace
