#include "symbol/packed_units.hpp"

#include <bit>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "symbol/small_elf.hpp"

namespace memtrace {
namespace {

/// Sections that a unit has a part of, by their number in the index.
constexpr std::pair<std::uint32_t, const char*> kSections[] = {{1, ".debug_info.dwo"},
                                                               {3, ".debug_abbrev.dwo"},
                                                               {4, ".debug_line.dwo"},
                                                               {6, ".debug_str_offsets.dwo"},
                                                               {8, ".debug_rnglists.dwo"}};
constexpr std::uint32_t kStringOffsets = 6;
constexpr const char* kStrings = ".debug_str.dwo";
constexpr std::uint64_t kMaxColumns = 16;
constexpr std::uint64_t kMaxPackedBytes = std::uint64_t{2} << 30; // of a section of all units

/// .debug_cu_index:
///
///   version u16, zero u16, columns u32, units u32, slots u32
///   ids     u64 for each slot: a hash table
///   rows    u32 for each slot, from 1; 0: nothing is there
///   columns u32 each: number of the section
///   offsets u32 for each unit and column
///   sizes   the same
class Index {
public:
    static std::optional<Index> read(std::string_view bytes) {
        ByteReader head(bytes);
        const auto version = head.read<std::uint16_t>();
        head.read<std::uint16_t>();
        Index index;
        index.columns_ = head.read<std::uint32_t>();
        index.units_ = head.read<std::uint32_t>();
        index.slots_ = head.read<std::uint32_t>();
        const auto cells = index.units_ * index.columns_; // of 32 bits each, and no more columns than that: no overflow
        if (head.failed() || version != 5 || index.columns_ > kMaxColumns || !std::has_single_bit(index.slots_) ||
            head.remaining() < 12 * index.slots_ + 4 * index.columns_ + 8 * cells) {
            return std::nullopt;
        }
        const auto rest = bytes.substr(bytes.size() - head.remaining());
        index.ids_ = rest;
        index.rows_ = rest.substr(8 * index.slots_);
        index.sections_ = index.rows_.substr(4 * index.slots_);
        index.offsets_ = index.sections_.substr(4 * index.columns_);
        index.sizes_ = index.offsets_.substr(4 * cells);
        return index;
    }

    /// From 1; 0: there is none.
    [[nodiscard]] std::uint32_t row_of(std::uint64_t id) const {
        const auto mask = slots_ - 1;
        auto slot = id & mask;
        for (std::uint64_t tried = 0; tried < slots_; ++tried, slot = (slot + ((id >> 32 & mask) | 1)) & mask) {
            const auto row = word(rows_, slot);
            if (row == 0 || row > units_) {
                return 0;
            }
            if (ByteReader(ids_.substr(8 * slot)).read<std::uint64_t>() == id) {
                return row;
            }
        }
        return 0;
    }
    /// What of a section is the unit's.
    [[nodiscard]] std::string_view part(std::uint32_t row, std::uint32_t section, std::string_view bytes) const {
        for (std::uint64_t column = 0; column < columns_; ++column) {
            const auto cell = (row - 1) * columns_ + column;
            const std::uint64_t offset = word(offsets_, cell);
            const std::uint64_t size = word(sizes_, cell);
            if (word(sections_, column) == section) {
                return offset <= bytes.size() && size <= bytes.size() - offset ? bytes.substr(offset, size) : std::string_view();
            }
        }
        return {};
    }

private:
    static std::uint32_t word(std::string_view table, std::uint64_t at) {
        return ByteReader(table.substr(4 * at)).read<std::uint32_t>();
    }

    std::uint64_t columns_ = 0;
    std::uint64_t units_ = 0;
    std::uint64_t slots_ = 0;
    std::string_view ids_, rows_, sections_, offsets_, sizes_;
};

/// The strings of one unit, which .debug_str_offsets refers to, out of those of all units. False: they make no sense, or are too many.
bool take_strings(std::string_view all, std::string& offsets, std::string& strings, std::uint64_t most) {
    constexpr std::size_t kHeader = 8;
    std::unordered_map<std::uint32_t, std::uint32_t> known;
    for (std::size_t at = kHeader; at + sizeof(std::uint32_t) <= offsets.size(); at += sizeof(std::uint32_t)) {
        std::uint32_t offset = 0;
        std::memcpy(&offset, offsets.data() + at, sizeof(offset));
        const auto end = all.find('\0', offset);
        if (end == std::string_view::npos) {
            return false;
        }
        const auto [entry, fresh] = known.try_emplace(offset, static_cast<std::uint32_t>(strings.size()));
        if (fresh) {
            if (end + 1 - offset > most - strings.size()) {
                return false;
            }
            strings.append(all.substr(offset, end + 1 - offset));
        }
        std::memcpy(offsets.data() + at, &entry->second, sizeof(entry->second));
    }
    return true;
}

} // namespace

std::string copy_of_packed_unit(const ElfImage& file, std::uint64_t id, std::uint64_t most) {
    const auto index = Index::read(file.debug_section(".debug_cu_index", kMaxPackedBytes));
    const auto row = index ? index->row_of(id) : 0;
    if (row == 0) {
        return "";
    }
    std::vector<SmallSection> sections;
    std::string offsets;
    std::string strings;
    std::uint64_t total = 0;
    for (const auto& [number, name] : kSections) {
        auto bytes = index->part(row, number, file.debug_section(name, kMaxPackedBytes));
        total += bytes.size();
        if (total > most) {
            return "";
        }
        if (number == kStringOffsets) {
            offsets = bytes;
            if (!take_strings(file.debug_section(kStrings, kMaxPackedBytes), offsets, strings, most - total)) {
                return "";
            }
            bytes = offsets;
        }
        if (!bytes.empty()) {
            sections.push_back({name, bytes});
        }
    }
    sections.push_back({kStrings, strings});
    return small_elf(sections);
}

} // namespace memtrace
