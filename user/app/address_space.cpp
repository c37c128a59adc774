#include "app/address_space.hpp"

#include <algorithm>
#include <iterator>

namespace memtrace {

void AddressSpace::learn(std::int32_t pid, const std::vector<Mapping>& mappings, const NewModule& new_module) {
    std::vector<Range> ranges;
    for (const auto& mapping : mappings) {
        if (!mapping.executable) {
            continue;
        }
        const Module* module = nullptr;
        if (mapping.file.inode != 0) {
            auto known = modules_.find(mapping.file);
            if (known == modules_.end()) {
                const auto file = open_mapped(pid, mapping);
                if (!file) {
                    continue; // unmapped by now
                }
                const auto elf = read_elf(path_of(*file), [](std::string_view) { return false; }, false);
                const Module fresh{new_module(mapping, path_of(*file), elf ? &*elf : nullptr),
                                   elf ? elf->segments : std::vector<ElfSegment>()};
                known = modules_.emplace(mapping.file, fresh).first;
            }
            module = &known->second;
        }
        ranges.push_back({mapping.start, mapping.end, mapping.file_offset, module});
    }
    for (const auto& old : ranges_) {
        const bool covered = std::any_of(ranges.begin(), ranges.end(),
                                         [&](const Range& now) { return old.start < now.end && now.start < old.end; });
        if (!covered) {
            ranges.push_back(old);
        }
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
    ranges_ = std::move(ranges);
}

std::uint64_t AddressSpace::linked_address(const Module& module, std::uint64_t file_offset) {
    for (const auto& segment : module.segments) {
        // Up to and with the end: a return address may lie right behind the last instruction.
        if (segment.executable && file_offset >= segment.file_offset && file_offset - segment.file_offset <= segment.file_size) {
            return file_offset - segment.file_offset + segment.address;
        }
    }
    return file_offset;
}

std::optional<Frame> AddressSpace::locate(std::uint64_t address) const {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                        [](std::uint64_t value, const Range& range) { return value < range.start; });
    if (after == ranges_.begin() || address >= std::prev(after)->end) {
        return std::nullopt;
    }
    const auto& range = *std::prev(after);
    if (range.module == nullptr) {
        return Frame{ModuleId{}, address};
    }
    return Frame{range.module->id, linked_address(*range.module, address - range.start + range.file_offset)};
}

} // namespace memtrace
