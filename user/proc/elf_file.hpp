// What attaching needs to know of an ELF file: where functions begin, how addresses and file offsets relate, what kind of program
// it is. Foreign bytes: everything is bounds-checked by libelf and by us; a damaged file is an error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

struct ElfSegment {
    std::uint64_t file_offset = 0;
    std::uint64_t file_size = 0;
    std::uint64_t address = 0; ///< virtual, as linked
    bool executable = false;
};

struct ElfFunction {
    std::string name; ///< without a symbol version
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint64_t file_offset = 0;
};

/// Everything read at once; holds no descriptor.
struct ElfFile {
    bool is_64bit = false;
    bool is_native = false;  ///< of this machine's architecture
    bool is_dynamic = false; ///< has a dynamic section: its interface is .dynsym
    bool is_go = false;      ///< built by the Go toolchain
    std::string build_id;    ///< hex
    std::vector<ElfSegment> segments;
    std::vector<ElfFunction> functions; ///< those asked for, in order of file offset

    /// Address as linked of a file offset; the offset itself where no segment holds it.
    [[nodiscard]] std::uint64_t address_of(std::uint64_t file_offset) const;
};

/// Reads the file at `path`. Functions (STT_FUNC, defined; an IFUNC is its resolver, not the function) whose name `wanted` accepts are kept: those of
/// .dynsym, and of .symtab too where `with_symtab`.
Result<ElfFile> read_elf(const std::string& path, const std::function<bool(std::string_view)>& wanted, bool with_symtab);

/// Up to `size` bytes of the file from `file_offset` on; fewer where it ends before that.
Result<std::vector<std::uint8_t>> read_bytes(int fd, std::uint64_t file_offset, std::size_t size);

} // namespace memtrace
