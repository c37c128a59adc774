// A directory with programs, libraries and debug files of another machine, or of an earlier build: names for what was traced there.
// Any of these is found in it:
//
//   .build-id/ab/cdef.debug  usr/lib/debug/.build-id/ab/cdef.debug     debug files, as packages and servers lay them out
//   usr/bin/server                                                     the file under the path that the process knew it by
//   any/where/it.lies                                                  any ELF file with the right build-id
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "symbol/debug_files.hpp"

namespace memtrace {

/// One thread. Reads the tree once, when neither a build-id's own place nor the path has what is wanted, or when told to.
class SymbolDirectory {
public:
    static Result<SymbolDirectory> open(const std::string& path);

    struct Found {
        UniqueFd fd;         ///< none: nothing here is of that build
        std::string path;    ///< in the directory
        bool lines = false;  ///< it has debug information
        std::string refused; ///< a sentence on a file that lies where it should and is of another build; only where there is none
    };
    /// The file that says most of the code of a module: one with debug information before one with symbols before any other. `build_id` in
    /// hex; empty where the module has none, and then only a file under its path that has none either is taken.
    Found find(const std::string& module_path, const std::string& build_id);
    /// Opens each file of the tree: what find() would do at some time, for who cannot wait then.
    void read_tree();

    /// Where the separate debug file of what was found may lie: for ModuleFile::symbols.
    [[nodiscard]] std::shared_ptr<const DebugRoot> root() const { return root_; }

private:
    SymbolDirectory(std::string path, std::shared_ptr<const DebugRoot> root) : path_(std::move(path)), root_(std::move(root)) {}

    std::string path_;
    std::shared_ptr<const DebugRoot> root_;
    bool tree_read_ = false;
    std::multimap<std::string, std::string> by_build_id_; ///< raw bytes -> path in the directory
};

} // namespace memtrace
