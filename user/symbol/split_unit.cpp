#include "symbol/split_unit.hpp"

#include <dwarf.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/fd.hpp"
#include "base/write_all.hpp"
#include "symbol/packed_units.hpp"
#include "symbol/small_elf.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxName = 4096;
constexpr std::uint64_t kAddressHeader = 8; // size, version, size of an address and of a segment

const char* string_of(Dwarf_Die* die, unsigned attribute) {
    Dwarf_Attribute value;
    const char* text = dwarf_attr(die, attribute, &value) != nullptr ? dwarf_formstring(&value) : nullptr;
    return text != nullptr && ::strnlen(text, kMaxName) < kMaxName ? text : "";
}

/// What .debug_addr has for a unit whose addresses begin at `base`.
std::string_view addresses_at(std::string_view section, std::uint64_t base) {
    if (base < kAddressHeader || base > section.size()) {
        return {};
    }
    ByteReader header(section.substr(base - kAddressHeader));
    const std::uint64_t size = header.read<std::uint32_t>() + sizeof(std::uint32_t); // the header's first field included
    return size <= section.size() - (base - kAddressHeader) ? section.substr(base - kAddressHeader, size) : std::string_view();
}

/// A program with one unit: a skeleton whose other half is in the file at `path`.
std::string skeleton_file(const Skeleton& skeleton, const std::string& path) {
    ByteWriter abbrev;
    abbrev.write<std::uint8_t>(1);
    abbrev.write<std::uint8_t>(DW_TAG_skeleton_unit);
    abbrev.write<std::uint8_t>(DW_CHILDREN_no);
    for (const auto& [attribute, form] :
         {std::pair{DW_AT_low_pc, DW_FORM_addr}, {DW_AT_addr_base, DW_FORM_sec_offset}, {DW_AT_dwo_name, DW_FORM_string}}) {
        abbrev.write(static_cast<std::uint8_t>(attribute)); // all below 128: one byte
        abbrev.write(static_cast<std::uint8_t>(form));
    }
    abbrev.write<std::uint32_t>(0); // no more attributes, no more entries
    ByteWriter unit;
    unit.write<std::uint16_t>(5); // version
    unit.write<std::uint8_t>(DW_UT_skeleton);
    unit.write<std::uint8_t>(sizeof(std::uint64_t)); // of an address
    unit.write<std::uint32_t>(0);                    // where its abbreviations are
    unit.write(skeleton.id);
    unit.write<std::uint8_t>(1); // the entry
    unit.write(skeleton.base);
    unit.write(static_cast<std::uint32_t>(kAddressHeader));
    ByteWriter info;
    info.write(static_cast<std::uint32_t>(unit.data().size() + path.size() + 1));
    return small_elf({{".debug_info", info.data() + unit.data() + path + '\0'},
                      {".debug_abbrev", abbrev.data()},
                      {".debug_addr", skeleton.addresses}});
}

/// A .dwo file's only unit.
std::string copy_of_unit(const ElfImage& file) {
    std::vector<SmallSection> sections;
    std::uint64_t total = 0;
    for (const char* name : {".debug_info.dwo", ".debug_abbrev.dwo", ".debug_str.dwo", ".debug_str_offsets.dwo",
                             ".debug_line.dwo", ".debug_rnglists.dwo"}) {
        const auto bytes = file.debug_section(name, SplitUnit::kMaxBytes);
        total += bytes.size();
        if (!bytes.empty()) {
            sections.push_back({name, bytes});
        }
    }
    return total <= SplitUnit::kMaxBytes ? small_elf(sections) : "";
}

} // namespace

Skeleton read_skeleton(Dwarf_Die die, const ElfImage& program) {
    Skeleton skeleton;
    std::uint8_t type = 0;
    Dwarf_Attribute base;
    Dwarf_Word addresses = 0;
    // Nothing is asked for here that would make libdw look for the other half.
    if (dwarf_cu_info(die.cu, nullptr, &type, nullptr, nullptr, &skeleton.id, nullptr, nullptr) != 0 || type != DW_UT_skeleton ||
        dwarf_attr(&die, DW_AT_addr_base, &base) == nullptr || dwarf_formudata(&base, &addresses) != 0) {
        return {};
    }
    skeleton.addresses = addresses_at(program.debug_section(".debug_addr", SplitUnit::kMaxBytes), addresses);
    if (skeleton.addresses.empty()) {
        return {};
    }
    Dwarf_Addr low = 0;
    skeleton.base = dwarf_lowpc(&die, &low) == 0 ? low : 0;
    skeleton.directory = string_of(&die, DW_AT_comp_dir);
    skeleton.name = string_of(&die, DW_AT_dwo_name);
    return skeleton;
}

SplitUnit::~SplitUnit() {
    dwarf_end(dwarf_);
    elf_end(elf_);
}

std::unique_ptr<SplitUnit> SplitUnit::join(const Skeleton& skeleton, const std::string& copy) {
    const UniqueFd fd(::memfd_create("memtrace-split", MFD_CLOEXEC));
    if (copy.empty() || !fd || !write_all(fd.get(), copy)) {
        return nullptr;
    }
    std::unique_ptr<SplitUnit> unit(new SplitUnit(skeleton_file(skeleton, "/proc/self/fd/" + std::to_string(fd.get()))));
    unit->elf_ = elf_memory(unit->file_.data(), unit->file_.size());
    unit->dwarf_ = unit->elf_ != nullptr ? dwarf_begin_elf(unit->elf_, DWARF_C_READ, nullptr) : nullptr;
    Dwarf_CU* found = nullptr;
    Dwarf_Die top;
    // libdw opens the file now, compares the ids, and lets go of the descriptor.
    const bool joined = unit->dwarf_ != nullptr &&
                        dwarf_get_units(unit->dwarf_, nullptr, &found, nullptr, nullptr, &top, &unit->die_) == 0 &&
                        unit->die_.cu != nullptr;
    return joined ? std::move(unit) : nullptr;
}

SplitFiles::SplitFiles(std::string path, DebugRoots roots) : path_(std::move(path)), roots_(std::move(roots)) {}

std::unique_ptr<SplitUnit> SplitFiles::find(const Skeleton& skeleton) {
    std::unique_ptr<SplitUnit> unit;
    const auto take = [&](const std::string& copy) {
        unit = copy.size() <= budget_ ? SplitUnit::join(skeleton, copy) : nullptr;
        budget_ -= unit ? copy.size() : 0;
        return unit != nullptr;
    };
    if (skeleton.name.empty()) {
        return nullptr;
    }
    if (!packed_looked_for_) {
        packed_looked_for_ = true;
        packed_ = find_packed_file(roots_, path_).image;
    }
    if (packed_ && take(copy_of_packed_unit(*packed_, skeleton.id, SplitUnit::kMaxBytes))) {
        return unit;
    }
    (void)find_split_file(roots_, path_, skeleton.directory, skeleton.name,
                          [&](const ElfImage& file) { return take(copy_of_unit(file)); });
    return unit;
}

} // namespace memtrace
