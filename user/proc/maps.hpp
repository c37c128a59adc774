// The mappings of a process, from /proc/PID/maps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

/// Which file: the same file has the same identity however it is named.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0; ///< 0 = no file
    friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

struct Mapping {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t file_offset = 0;
    bool readable = false;
    bool writable = false;
    bool executable = false;
    FileIdentity file;
    std::string
        path; ///< as the kernel prints it, but below the process's own root (read_maps), " (deleted)" cut; "[heap]" and the like; may be empty
};

/// Parses the text of a maps file; lines that make no sense are left out.
std::vector<Mapping> parse_maps(std::string_view text);
/// Those of a process, with paths as it sees them itself.
Result<std::vector<Mapping>> read_maps(std::int32_t pid);

/// False: a static program's, which maps one file with code; a dynamic one maps its linker too, from the first instruction on.
bool has_linker(const std::vector<Mapping>& mappings);

/// A path by which the very file of a mapping can be opened from here, whatever namespace the process is in and whether or not
/// the file has been deleted: /proc/PID/map_files/START-END.
std::string map_files_path(std::int32_t pid, const Mapping& mapping);

/// Opens the very file of a mapping. The process runs on meanwhile: what lies at those addresses by now may be another file, which
/// is then not taken for this one. Fails where it has been unmapped and its path leads elsewhere.
Result<UniqueFd> open_mapped(std::int32_t pid, const Mapping& mapping);

/// A path for those who take no descriptor.
std::string path_of(const UniqueFd& fd);

} // namespace memtrace
