// One file of code with all that names its addresses: symbols, separate debug file, DWARF. Opened from a descriptor, parsed at the
// first resolve(), kept. Processes that map the same file share one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/events.hpp"
#include "symbol/code_map.hpp"
#include "symbol/debug_files.hpp"
#include "symbol/dwarf_index.hpp"
#include "symbol/symbol_table.hpp"

namespace memtrace {

class ModuleImage {
public:
    /// `fd` is an open regular file, `path` its name in the process, `roots` where its debug files may lie. Parses nothing.
    ModuleImage(UniqueFd fd, std::string path, DebugRoots roots);

    [[nodiscard]] const std::string& path() const { return path_; }

    /// Raw bytes of the build-id under which a debug file could be had elsewhere: empty where there is one, where nothing has been
    /// looked up yet, and where the file has no build-id.
    [[nodiscard]] std::string missing_debug_file() const;
    /// Takes a debug file from elsewhere, under `path`. False, and nothing changes, where it is not the one that is missing. What was
    /// resolved before is looked up anew.
    bool adopt_debug_file(UniqueFd fd, const std::string& path);

    /// See Symbolizer. `address` is a return address. The reference holds until the next call.
    const std::vector<SymbolLine>& resolve(std::uint64_t address);
    bool follows_call(std::uint64_t address);

private:
    void load();
    void read_names();
    std::vector<SymbolLine> look_up(std::uint64_t address);

    UniqueFd fd_;
    std::string path_;
    DebugRoots roots_;
    bool loaded_ = false;
    std::unique_ptr<CodeMap> code_; ///< made when first needed; before dwarf_, which refers to it
    std::unique_ptr<ElfImage> main_;
    DebugFile debug_;
    std::unique_ptr<ElfImage> mini_; ///< main_'s .gnu_debugdata, where nothing else has a full symbol table
    SymbolTable symbols_;
    std::unique_ptr<DwarfIndex> dwarf_; ///< of debug_ or main_: destroyed before them
    std::unordered_map<std::uint64_t, std::vector<SymbolLine>> resolved_;
    std::unordered_map<std::uint64_t, bool> calls_;
};

} // namespace memtrace
