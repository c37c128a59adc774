// An ELF file opened with libelf: owner of its descriptor and handle.
#pragma once

#include <libelf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace memtrace {

class ElfImage {
public:
    /// Takes the descriptor of a regular file. Null where it is no ELF file that libelf can open.
    static std::unique_ptr<ElfImage> open(UniqueFd fd);

    /// An ELF file in memory; fd() is -1.
    static std::unique_ptr<ElfImage> open_memory(std::string bytes);

    ElfImage(const ElfImage&) = delete;
    ElfImage& operator=(const ElfImage&) = delete;
    ~ElfImage();

    [[nodiscard]] Elf* elf() const { return elf_; }
    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Raw bytes; empty where the file has none.
    [[nodiscard]] const std::string& build_id() const { return build_id_; }

    /// True where the file has a full symbol table, not only that of its dynamic interface.
    [[nodiscard]] bool has_symtab() const;

    /// True where there are lines to be had from this file's own DWARF, and reading it is not out of all proportion.
    [[nodiscard]] bool has_usable_dwarf() const;

    /// A section by its name, ".debug_...", unpacked; empty where there is none, or more than `most` bytes. Where libdw reads the file too, call
    /// it after dwarf_begin_elf().
    [[nodiscard]] std::string_view debug_section(std::string_view wanted, std::uint64_t most) const;

    /// Call after dwarf_begin_elf(), which unpacks sections, and before anything else of libdw: it trusts that strings end before
    /// their section does. Sections that do not end in a zero byte get one behind their end.
    void terminate_debug_strings();

private:
    ElfImage(UniqueFd fd, std::unique_ptr<std::string> bytes, Elf* elf);
    static std::unique_ptr<ElfImage> own(UniqueFd fd, std::unique_ptr<std::string> bytes, Elf* elf);
    template <typename Visit>
    void for_each_debug_section(Visit visit) const; ///< visit(section, header, name)

    UniqueFd fd_;
    std::unique_ptr<std::string> bytes_; ///< of a file in memory
    Elf* elf_;
    std::string build_id_;
    std::vector<std::unique_ptr<std::string>> terminated_; ///< copies of sections, in place of those in the file
};

} // namespace memtrace
