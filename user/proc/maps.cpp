#include "proc/maps.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <set>

#include "proc/process.hpp"

namespace memtrace {

namespace {

/// Takes the text up to the next blank; `rest` begins after it.
std::string_view take_field(std::string_view& rest) {
    const auto begin = rest.find_first_not_of(' ');
    if (begin == std::string_view::npos) {
        rest = {};
        return {};
    }
    rest.remove_prefix(begin);
    const auto field = rest.substr(0, rest.find(' '));
    rest.remove_prefix(field.size());
    return field;
}

bool parse_number(std::string_view text, int base, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return error == std::errc() && end == text.data() + text.size();
}

bool parse_pair(std::string_view text, char separator, std::uint64_t& first, std::uint64_t& second) {
    const auto at = text.find(separator);
    return at != std::string_view::npos && parse_number(text.substr(0, at), 16, first) &&
           parse_number(text.substr(at + 1), 16, second);
}

bool parse_line(std::string_view line, Mapping& mapping) {
    std::uint64_t major = 0;
    std::uint64_t minor = 0;
    if (!parse_pair(take_field(line), '-', mapping.start, mapping.end) || mapping.end <= mapping.start) {
        return false;
    }
    const auto permissions = take_field(line);
    if (permissions.size() >= 3) {
        mapping.readable = permissions[0] == 'r';
        mapping.writable = permissions[1] == 'w';
        mapping.executable = permissions[2] == 'x';
    }
    if (!parse_number(take_field(line), 16, mapping.file_offset) || !parse_pair(take_field(line), ':', major, minor) ||
        !parse_number(take_field(line), 10, mapping.file.inode)) {
        return false;
    }
    mapping.file.device = makedev(major, minor);
    const auto begin = line.find_first_not_of(' ');
    mapping.path = begin == std::string_view::npos ? "" : line.substr(begin);
    constexpr std::string_view kDeleted = " (deleted)";
    if (mapping.path.ends_with(kDeleted)) {
        mapping.path.resize(mapping.path.size() - kDeleted.size());
    }
    return true;
}

/// The identity of an open file as maps files tell it: stat() gives other devices on btrfs and overlayfs. Hence a mapping of our own.
FileIdentity identity_of(const UniqueFd& fd) {
    const auto length = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const address = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) {
        return {};
    }
    FileIdentity identity;
    if (const auto mappings = read_maps(::getpid())) {
        for (const auto& mapping : *mappings) {
            const auto at = reinterpret_cast<std::uint64_t>(address);
            if (at >= mapping.start && at < mapping.end) {
                identity = mapping.file;
            }
        }
    }
    ::munmap(address, length);
    return identity;
}

bool is_regular(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

} // namespace

std::vector<Mapping> parse_maps(std::string_view text) {
    std::vector<Mapping> mappings;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        Mapping mapping;
        if (parse_line(line, mapping)) {
            mappings.push_back(std::move(mapping));
        }
    }
    return mappings;
}

Result<std::vector<Mapping>> read_maps(std::int32_t pid) {
    const auto text = read_file("/proc/" + std::to_string(pid) + "/maps");
    if (!text) {
        return tl::unexpected(text.error());
    }
    auto mappings = parse_maps(*text);
    const RootPrefix root(pid);
    for (auto& mapping : mappings) {
        root.strip(mapping.path);
    }
    return mappings;
}

bool has_linker(const std::vector<Mapping>& mappings) {
    std::set<FileIdentity> files;
    for (const auto& mapping : mappings) {
        if (mapping.executable && mapping.file != FileIdentity{}) {
            files.insert(mapping.file);
        }
    }
    return files.size() != 1;
}

std::string map_files_path(std::int32_t pid, const Mapping& mapping) {
    char path[96];
    std::snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, static_cast<unsigned long>(mapping.start),
                  static_cast<unsigned long>(mapping.end));
    return path;
}

Result<UniqueFd> open_mapped(std::int32_t pid, const Mapping& mapping) {
    for (const auto& path : {map_files_path(pid, mapping), "/proc/" + std::to_string(pid) + "/root" + mapping.path}) {
        if (!is_regular(path)) {
            continue;
        }
        UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (fd && identity_of(fd) == mapping.file) {
            return fd;
        }
    }
    return fail("cannot open " + mapping.path + ", which process " + std::to_string(pid) + " had mapped");
}

std::string path_of(const UniqueFd& fd) {
    return "/proc/self/fd/" + std::to_string(fd.get());
}

} // namespace memtrace
