#include "symbol/symbol_table.hpp"

#include <gelf.h>

#include <algorithm>
#include <cstring>

namespace memtrace {
namespace {

constexpr std::size_t kMaxName = 65536;         // a longer one is left out
constexpr std::size_t kMaxSections = 1u << 20;  // larger section tables do not come from a linker
constexpr std::size_t kMaxSymbols = 32'000'000; // of all tables of a module

unsigned leading_underscores(std::string_view name) {
    const auto first = name.find_first_not_of('_');
    return static_cast<unsigned>(first == std::string_view::npos ? name.size() : first);
}

/// The string at `offset` of a string table, without the version that ld puts behind an '@'. Empty where there is none.
std::string_view name_at(const Elf_Data* strings, std::size_t offset) {
    if (strings == nullptr || strings->d_buf == nullptr || offset >= strings->d_size) {
        return {};
    }
    const char* start = static_cast<const char*>(strings->d_buf) + offset;
    const std::size_t room = std::min(strings->d_size - offset, kMaxName);
    const void* end = std::memchr(start, '\0', room);
    if (end == nullptr) {
        return {};
    }
    std::string_view name(start, static_cast<std::size_t>(static_cast<const char*>(end) - start));
    const auto version = name.find('@', 1);
    return name.substr(0, version);
}

} // namespace

std::vector<SymbolTable::Section> SymbolTable::code_sections(Elf* elf) {
    std::vector<Section> sections;
    Elf_Scn* scn = nullptr;
    while (sections.size() < kMaxSections && (scn = elf_getscn(elf, sections.size())) != nullptr) {
        GElf_Shdr header;
        Section section;
        if (gelf_getshdr(scn, &header) != nullptr && (header.sh_flags & SHF_EXECINSTR) != 0 &&
            header.sh_size <= UINT64_MAX - header.sh_addr) {
            section = {header.sh_addr, header.sh_addr + header.sh_size};
        }
        sections.push_back(section);
    }
    return sections;
}

void SymbolTable::add(Elf* elf) {
    const auto sections = code_sections(elf);
    for (Elf_Scn* scn = elf_nextscn(elf, nullptr); scn != nullptr; scn = elf_nextscn(elf, scn)) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) != nullptr && (header.sh_type == SHT_SYMTAB || header.sh_type == SHT_DYNSYM)) {
            add_section(elf, scn, header.sh_link, sections);
        }
    }
}

void SymbolTable::add_section(Elf* elf, Elf_Scn* section, std::size_t strings, const std::vector<Section>& sections) {
    Elf_Data* data = elf_getdata(section, nullptr);
    Elf_Scn* string_section = elf_getscn(elf, strings);
    const Elf_Data* names = string_section != nullptr ? elf_getdata(string_section, nullptr) : nullptr;
    const std::size_t entry_size = gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
    if (data == nullptr || data->d_buf == nullptr || names == nullptr || entry_size == 0) {
        return;
    }
    const std::size_t count = std::min<std::size_t>(data->d_size / entry_size, INT32_MAX);
    for (std::size_t i = 0; i < count && entries_.size() < kMaxSymbols; ++i) {
        GElf_Sym symbol;
        if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) {
            break;
        }
        const unsigned type = GELF_ST_TYPE(symbol.st_info);
        const bool function = type == STT_FUNC || type == STT_GNU_IFUNC;
        // Absolute symbols and those of a section that is not there have no place to be in.
        if ((!function && type != STT_NOTYPE) || symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= sections.size()) {
            continue;
        }
        const Section& home = sections[symbol.st_shndx];
        if (symbol.st_value < home.start || symbol.st_value >= home.end) {
            continue;
        }
        const auto name = name_at(names, symbol.st_name);
        if (name.empty() || (!function && name.front() == '$')) { // $x, $d: ARM's marks of code and data
            continue;
        }
        const unsigned binding = GELF_ST_BIND(symbol.st_info);
        entries_.push_back({{name, symbol.st_value},
                            std::min(symbol.st_size, home.end - symbol.st_value),
                            home.end,
                            !function,
                            binding != STB_LOCAL,
                            binding == STB_WEAK,
                            leading_underscores(name)});
    }
}

bool SymbolTable::better(const Entry& a, const Entry& b) {
    if (a.exported != b.exported) {
        return a.exported;
    }
    if (a.underscores != b.underscores) {
        return a.underscores < b.underscores;
    }
    if (a.weak != b.weak) {
        return b.weak;
    }
    if (a.symbol.name.size() != b.symbol.name.size()) {
        return a.symbol.name.size() < b.symbol.name.size();
    }
    return a.symbol.name < b.symbol.name;
}

IntervalMap<std::uint32_t> SymbolTable::sized_map(bool labels) const {
    std::vector<IntervalMap<std::uint32_t>::Interval> ranges;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
        const Entry& entry = entries_[i];
        if (entry.label == labels && entry.size != 0) {
            ranges.push_back({entry.symbol.start, entry.symbol.start + entry.size, i});
        }
    }
    return IntervalMap<std::uint32_t>(std::move(ranges));
}

IntervalMap<std::uint32_t> SymbolTable::unsized_map(bool labels, const std::vector<std::uint64_t>& cuts) const {
    std::vector<IntervalMap<std::uint32_t>::Interval> ranges;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
        const Entry& entry = entries_[i];
        // A mark inside a function with a size is not the beginning of another.
        if (entry.label != labels || entry.size != 0 || maps_[0].find(entry.symbol.start) != nullptr) {
            continue;
        }
        const auto next = std::upper_bound(cuts.begin(), cuts.end(), entry.symbol.start);
        const std::uint64_t end = next == cuts.end() ? entry.limit : std::min(*next, entry.limit);
        ranges.push_back({entry.symbol.start, end, i});
    }
    return IntervalMap<std::uint32_t>(std::move(ranges));
}

void SymbolTable::finish() {
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
        if (a.symbol.start != b.symbol.start) {
            return a.symbol.start < b.symbol.start;
        }
        return better(b, a) || (!better(a, b) && a.size < b.size);
    });
    // .dynsym repeats most of what .symtab has.
    const auto same = [](const Entry& a, const Entry& b) {
        return a.symbol.start == b.symbol.start && a.size == b.size && a.label == b.label && a.symbol.name == b.symbol.name;
    };
    entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
    entries_.shrink_to_fit();
    // Where an unsized function ends at the latest. Local labels are mostly jump targets within one.
    std::vector<std::uint64_t> cuts;
    std::vector<std::uint64_t> all_cuts;
    for (const auto& entry : entries_) {
        if (!entry.label || entry.exported) {
            cuts.push_back(entry.symbol.start);
        }
        all_cuts.push_back(entry.symbol.start);
    }
    maps_[0] = sized_map(false);
    maps_[1] = unsized_map(false, cuts);
    maps_[2] = sized_map(true);
    maps_[3] = unsized_map(true, all_cuts);
}

const Symbol* SymbolTable::find(std::uint64_t address) const {
    for (const auto& map : maps_) {
        if (const std::uint32_t* index = map.find(address)) {
            return &entries_[*index].symbol;
        }
    }
    return nullptr;
}

} // namespace memtrace
