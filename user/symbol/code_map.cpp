#include "symbol/code_map.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "symbol/x86_call.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxSegments = 512; // a linker writes about a dozen

bool read_at(int fd, std::uint64_t offset, void* out, std::size_t size) {
    return offset <= INT64_MAX && ::pread(fd, out, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

} // namespace

CodeMap::CodeMap(int fd) : fd_(fd) {
    Elf64_Ehdr header{};
    if (!read_at(fd, 0, &header, sizeof(header)) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_phentsize != sizeof(Elf64_Phdr)) {
        return;
    }
    is_x86_64_ = header.e_machine == EM_X86_64;
    std::vector<Elf64_Phdr> table(std::min<std::size_t>(header.e_phnum, kMaxSegments));
    if (!read_at(fd, header.e_phoff, table.data(), table.size() * sizeof(Elf64_Phdr))) {
        return;
    }
    for (const auto& entry : table) {
        // What would wrap around the address space is damage.
        if (entry.p_type == PT_LOAD && (entry.p_flags & PF_X) != 0 && entry.p_memsz <= UINT64_MAX - entry.p_vaddr) {
            segments_.push_back({entry.p_vaddr, entry.p_memsz, entry.p_offset, std::min(entry.p_filesz, entry.p_memsz)});
        }
    }
}

const CodeMap::Segment* CodeMap::segment_of(std::uint64_t address) const {
    for (const auto& segment : segments_) {
        if (address >= segment.address && address - segment.address < segment.memory_size) {
            return &segment;
        }
    }
    return nullptr;
}

std::optional<std::size_t> CodeMap::read_before(std::uint64_t address, std::span<std::uint8_t> out) const {
    const Segment* segment = address == 0 ? nullptr : segment_of(address - 1);
    if (segment == nullptr || address - segment->address > segment->file_size) {
        return std::nullopt;
    }
    const std::uint64_t end = address - segment->address;
    const std::size_t count = std::min<std::uint64_t>(end, out.size());
    if (segment->file_offset > INT64_MAX - end || !read_at(fd_, segment->file_offset + end - count, out.data(), count)) {
        return std::nullopt;
    }
    return count;
}

bool CodeMap::call_may_end_at(std::uint64_t address) const {
    std::uint8_t bytes[kLongestCall];
    if (!is_x86_64_) {
        return true;
    }
    auto count = read_before(address, bytes);
    if (!count) {
        return true;
    }
    std::span<const std::uint8_t> code(bytes, *count);
    if (auto displacement = direct_call_before(code)) {
        // A direct call stays within its file (other files are reached by way of its own PLT), which an E8 that is by chance five
        // bytes ahead mostly does not.
        if (contains(address + static_cast<std::uint64_t>(static_cast<std::int64_t>(*displacement)))) {
            return true;
        }
    }
    return indirect_call_before(code);
}

} // namespace memtrace
