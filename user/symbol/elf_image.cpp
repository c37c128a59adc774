#include "symbol/elf_image.hpp"

#include <elfutils/libdwelf.h>
#include <gelf.h>
#include <sys/stat.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "proc/elf_handle.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMinBuildId = 4; // anything shorter identifies nothing
constexpr std::size_t kMaxBuildId = 64;
constexpr std::uint64_t kMaxReadFile = std::uint64_t{2} << 30;   // of a file that is read, not mapped
constexpr std::uint64_t kMaxDebugBytes = std::uint64_t{4} << 30; // of unpacked debug sections

/// A mapped file that shrinks kills the reader with SIGBUS. So only those are mapped that nobody but root may write to; the
/// others are read, which costs memory for the sections in use.
bool safe_to_map(const struct stat& status) {
    return status.st_uid == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

} // namespace

ElfImage::ElfImage(UniqueFd fd, std::unique_ptr<std::string> bytes, Elf* elf)
    : fd_(std::move(fd)), bytes_(std::move(bytes)), elf_(elf) {
    const void* id = nullptr;
    const ssize_t size = dwelf_elf_gnu_build_id(elf_, &id);
    if (size >= static_cast<ssize_t>(kMinBuildId) && size <= static_cast<ssize_t>(kMaxBuildId)) {
        build_id_.assign(static_cast<const char*>(id), static_cast<std::size_t>(size));
    }
}

ElfImage::~ElfImage() {
    elf_end(elf_);
}

std::unique_ptr<ElfImage> ElfImage::open(UniqueFd fd) {
    elf_version(EV_CURRENT);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return nullptr;
    }
    const bool map = safe_to_map(status);
    if (!map && static_cast<std::uint64_t>(status.st_size) > kMaxReadFile) {
        return nullptr;
    }
    Elf* elf = elf_begin(fd.get(), map ? ELF_C_READ_MMAP : ELF_C_READ, nullptr);
    return own(std::move(fd), nullptr, elf);
}

std::unique_ptr<ElfImage> ElfImage::open_memory(std::string bytes) {
    elf_version(EV_CURRENT);
    auto kept = std::make_unique<std::string>(std::move(bytes));
    Elf* elf = elf_memory(kept->data(), kept->size());
    return own({}, std::move(kept), elf);
}

std::unique_ptr<ElfImage> ElfImage::own(UniqueFd fd, std::unique_ptr<std::string> bytes, Elf* elf) {
    if (elf == nullptr) {
        return nullptr;
    }
    if (elf_kind(elf) != ELF_K_ELF) {
        elf_end(elf);
        return nullptr;
    }
    return std::unique_ptr<ElfImage>(new ElfImage(std::move(fd), std::move(bytes), elf));
}

bool ElfImage::has_symtab() const {
    for (Elf_Scn* scn = elf_nextscn(elf_, nullptr); scn != nullptr; scn = elf_nextscn(elf_, scn)) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) != nullptr && header.sh_type == SHT_SYMTAB) {
            return true;
        }
    }
    return false;
}

template <typename Visit>
void ElfImage::for_each_debug_section(Visit visit) const {
    std::size_t names = 0;
    if (elf_getshdrstrndx(elf_, &names) != 0) {
        return;
    }
    for (Elf_Scn* scn = elf_nextscn(elf_, nullptr); scn != nullptr; scn = elf_nextscn(elf_, scn)) {
        GElf_Shdr header;
        if (gelf_getshdr(scn, &header) == nullptr || header.sh_type == SHT_NOBITS) {
            continue;
        }
        const char* text = elf_strptr(elf_, names, header.sh_name);
        const std::string_view name = text != nullptr ? text : "";
        if (name.starts_with(".debug_") || name.starts_with(".zdebug_")) {
            visit(scn, header, name);
        }
    }
}

bool ElfImage::has_usable_dwarf() const {
    bool found = false;
    std::uint64_t total = 0;
    for_each_debug_section([&](Elf_Scn* scn, const GElf_Shdr& header, std::string_view name) {
        found = found || name.ends_with("debug_info");
        const std::uint64_t size = unpacked_size(scn, header, name);
        total = size > UINT64_MAX - total ? UINT64_MAX : total + size;
    });
    return found && total <= kMaxDebugBytes;
}

std::string_view ElfImage::debug_section(std::string_view wanted, std::uint64_t most) const {
    std::string_view bytes;
    for_each_debug_section([&](Elf_Scn* scn, const GElf_Shdr& header, std::string_view name) {
        const bool is_it = is_gnu_packed(name) ? name.substr(2) == wanted.substr(1) : name == wanted;
        if (is_it && bytes.empty()) {
            bytes = unpacked_bytes(scn, header, name, most);
        }
    });
    return bytes;
}

void ElfImage::terminate_debug_strings() {
    for_each_debug_section([&](Elf_Scn* scn, const GElf_Shdr&, std::string_view name) {
        if (!name.ends_with("_info") && !name.ends_with("_types") && !name.ends_with("_str")) {
            return; // libdw checks the strings in .debug_line
        }
        Elf_Data* views[] = {elf_rawdata(scn, nullptr), elf_getdata(scn, nullptr)};
        for (Elf_Data* data : views) {
            if (data == nullptr || data->d_buf == nullptr || data->d_size == 0 ||
                static_cast<const char*>(data->d_buf)[data->d_size - 1] == '\0') {
                continue;
            }
            // In a std::string the byte behind the end is zero. libelf frees what it allocated by itself, not by d_buf.
            terminated_.push_back(std::make_unique<std::string>(static_cast<const char*>(data->d_buf), data->d_size));
            data->d_buf = terminated_.back()->data();
        }
    });
}

} // namespace memtrace
