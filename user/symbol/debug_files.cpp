#include "symbol/debug_files.hpp"

#include <elfutils/libdwelf.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/hex.hpp"
#include "symbol/safe_open.hpp"

namespace memtrace {
namespace {

constexpr off_t kMaxChecksummed = off_t{8} << 30; // reading more would hold up the report

using Accepts = std::function<bool(const ElfImage&)>;

/// Paths to try below a root: as they are, and below each of its debug directories.
struct Places {
    std::vector<std::string> plain;
    std::vector<std::string> in_debug_directories;
};

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool same_file(const ElfImage& a, const ElfImage& b) {
    struct stat one{};
    struct stat other{};
    return ::fstat(a.fd(), &one) == 0 && ::fstat(b.fd(), &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// CRC-32 of a whole file, as .gnu_debuglink has it.
std::optional<std::uint32_t> checksum(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0 || status.st_size > kMaxChecksummed) {
        return std::nullopt;
    }
    std::vector<unsigned char> buffer(std::size_t{1} << 16);
    uLong crc = ::crc32(0, nullptr, 0);
    off_t offset = 0;
    for (;;) {
        const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), offset);
        if (count < 0) {
            return std::nullopt;
        }
        if (count == 0) {
            return static_cast<std::uint32_t>(crc);
        }
        crc = ::crc32(crc, buffer.data(), static_cast<uInt>(count));
        offset += count;
    }
}

/// The first of `places` below the first of `roots` that is an acceptable ELF file.
DebugFile find_first(const DebugRoots& roots, const Places& places, const Accepts& accepts) {
    for (const auto& root : roots) {
        std::vector<std::string> paths = places.plain;
        for (const auto& directory : root->debug_directories) {
            for (const auto& path : places.in_debug_directories) {
                paths.push_back(directory + path);
            }
        }
        for (const auto& path : paths) {
            auto fd = open_below(root->directory, path);
            if (!fd) {
                continue;
            }
            auto image = ElfImage::open(std::move(*fd));
            if (image && accepts(*image)) {
                return {std::move(image), path};
            }
        }
    }
    return {};
}

DebugFile find_by_link(const DebugRoots& roots, const std::string& module_path, const ElfImage& main) {
    GElf_Word crc = 0;
    const char* link = dwelf_elf_gnu_debuglink(main.elf(), &crc);
    // A link is a bare file name: one with a directory in it is not objcopy's work.
    if (link == nullptr || *link == '\0' || std::string_view(link).find('/') != std::string_view::npos) {
        return {};
    }
    const std::string name = link;
    const std::string directory = directory_of(module_path);
    const Places places{{directory + "/" + name, directory + "/.debug/" + name}, {directory + "/" + name}};
    return find_first(roots, places, [&](const ElfImage& found) {
        if (same_file(found, main)) {
            return false;
        }
        if (!found.build_id().empty() && !main.build_id().empty()) {
            return found.build_id() == main.build_id();
        }
        return checksum(found.fd()) == crc;
    });
}

} // namespace

std::string build_id_path(const std::string& build_id) {
    const auto hex = to_hex(build_id);
    return "/.build-id/" + hex.substr(0, 2) + "/" + hex.substr(2) + ".debug";
}

DebugFile find_debug_file(const DebugRoots& roots, const std::string& module_path, const ElfImage& main) {
    if (!main.build_id().empty()) {
        auto found = find_first(roots, {{}, {build_id_path(main.build_id())}}, [&](const ElfImage& file) {
            return file.build_id().empty() || file.build_id() == main.build_id();
        });
        if (found.image) {
            return found;
        }
    }
    return find_by_link(roots, module_path, main);
}

DebugFile find_alternate_file(const DebugRoots& roots, const std::string& debug_path, const std::string& link_name,
                              const std::string& build_id) {
    if (build_id.size() < 2) {
        return {};
    }
    const std::string named = link_name.starts_with('/') ? link_name : directory_of(debug_path) + "/" + link_name;
    return find_first(roots, {{named}, {build_id_path(build_id)}},
                      [&](const ElfImage& file) { return file.build_id() == build_id; });
}

DebugFile find_split_file(const DebugRoots& roots, const std::string& path, const std::string& directory, const std::string& name,
                          const std::function<bool(const ElfImage&)>& accepts) {
    const auto beside = directory_of(path) + "/";
    const auto file = name.substr(name.rfind('/') + 1); // all of it where there is no slash
    const auto compiled = name.starts_with('/') ? name : directory + "/" + name;
    return find_first(roots, {{beside + name, beside + file, compiled}, {}}, accepts);
}

DebugFile find_packed_file(const DebugRoots& roots, const std::string& path) {
    return find_first(roots, {{path + ".dwp"}, {}}, [](const ElfImage&) { return true; });
}

} // namespace memtrace
