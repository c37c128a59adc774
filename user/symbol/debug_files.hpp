// Separate debug files, found where distributions and objcopy put them: by build-id, and by .gnu_debuglink. Local files only:
// nothing here, and nothing of elfutils that is used here, asks the network.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "symbol/elf_image.hpp"

namespace memtrace {

/// A directory tree as some process sees it, held open.
struct DebugRoot {
    UniqueFd directory;
    std::vector<std::string> debug_directories{"/usr/lib/debug"}; ///< in it: they hold .build-id/ and a tree of paths
};

/// Where to look, in this order: below the process's root, then below the host's; or in a directory that the user names. Shared: modules of one container have one.
using DebugRoots = std::vector<std::shared_ptr<const DebugRoot>>;

/// A file found, and the path below its root that it was found under.
struct DebugFile {
    std::unique_ptr<ElfImage> image;
    std::string path;
};

/// Where a file of that build-id (raw bytes) lies in a debug directory: "/.build-id/ab/cdef.debug".
std::string build_id_path(const std::string& build_id);

/// The separate debug file of `main`, which the process knows as `module_path`. A file whose build-id is not that of `main` is
/// none; where one of the two has no build-id, the checksum in .gnu_debuglink decides. Null image where there is none.
DebugFile find_debug_file(const DebugRoots& roots, const std::string& module_path, const ElfImage& main);

/// The supplementary file that `dwz` moved common parts of debug files to: by build-id, then by the name in .gnu_debugaltlink, which
/// may be relative to `debug_path`. The build-id must match.
DebugFile find_alternate_file(const DebugRoots& roots, const std::string& debug_path, const std::string& link_name,
                              const std::string& build_id);

/// The .dwo file `name` of a program that was found at `path`: beside it, or below `directory`, where it was compiled. The first that
/// `accepts`.
DebugFile find_split_file(const DebugRoots& roots, const std::string& path, const std::string& directory, const std::string& name,
                          const std::function<bool(const ElfImage&)>& accepts);

/// The file that the program's .dwo files have been packed into: PATH.dwp.
DebugFile find_packed_file(const DebugRoots& roots, const std::string& path);

} // namespace memtrace
